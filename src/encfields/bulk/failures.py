"""Classifies a database's errors: wait and retry, quarantine the row, or stop.

Messages are our own, because a driver's can quote the row's values.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from enum import Enum
from functools import wraps
from threading import Event
from typing import Any, NamedTuple, ParamSpec, TypeVar

from sqlalchemy.exc import (
    ArgumentError,
    DatabaseError,
    DataError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    InternalError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout

from encfields.bulk.error_codes import (
    CLIENTS_NUMBERS,
    LOCK_WAITS,
    MISSING,
    OUTAGE_STATES,
    REFUSAL_STATES,
    REFUSALS,
    advice_on,
    may_pass,
)
from encfields.bulk.errors import DatabaseUnavailableError, ReencryptionError
from encfields.bulk.runs.tables import metadata
from encfields.errors import EncFieldsError, KeyUnavailableError
from encfields.keys.cache.outages import is_outage
from encfields.keys.sql.failures import (
    NOT_ALLOWED,
    error_number,
    first_line,
    is_denied,
    is_read_only,
    sql_state,
)

_P = ParamSpec("_P")
_R = TypeVar("_R")

log = logging.getLogger("encfields.bulk")

_MISSING_ON_SQLITE = ("no such table", "no such column")
"""Message prefixes of the same on SQLite, which raises one class for these and a full disk."""

_FAULT_ON_SQLITE = "SQLITE_ERROR"
"""What SQLite calls them. What may pass (locks, disks, interrupts) has names of its own."""

_LOCKED_ON_SQLITE = ("SQLITE_BUSY", "SQLITE_LOCKED")

_RUN_TABLES = ", ".join(table.name for table in metadata.sorted_tables)

_GRANTS = (
    "the database user lacks rights that a run needs: SELECT and UPDATE on the run's table, SELECT "
    "on the key table, CREATE for the first run of a database, and: GRANT SELECT, INSERT, UPDATE, "
    f"DELETE ON {_RUN_TABLES} TO ..."
)


def is_transient(error: Exception) -> bool:
    """Whether retrying later can help: the database or KMS is unreachable, busy, or full."""
    if isinstance(error, KeyUnavailableError):
        return is_outage(error)
    if isinstance(error, ConnectionError | TimeoutError | PoolTimeout):
        return True
    return (
        isinstance(error, DBAPIError)
        and not refuses_row(error)
        and not is_denied(error)
        and not is_missing(error)
        and (error.connection_invalidated or _may_pass(error))
    )


def _may_pass(error: DBAPIError) -> bool:
    passes = may_pass(code_of(error.orig))
    if passes is not None:
        return passes
    if getattr(error.orig, "sqlite_errorname", None) == _FAULT_ON_SQLITE:
        return False
    return isinstance(error, InterfaceError | InternalError) or is_operational(error)


def is_missing(error: DBAPIError) -> bool:
    """Whether a statement's table or column is missing. MySQL, MariaDB and SQLite raise the same
    class for that as for a server that is down."""
    if "sqlite" in type(error.orig).__module__:
        return str(error.orig).startswith(_MISSING_ON_SQLITE)
    return code_of(error.orig) in MISSING


def is_operational(error: DBAPIError) -> bool:
    """Whether an error is about the server and not the statement, whatever its class."""
    # MySQL Connector/Python raises plain DatabaseError for a lock wait.
    return (
        isinstance(error, OperationalError)
        or type(error) is DatabaseError
        or (sql_state(error.orig) or "").startswith(OUTAGE_STATES)
    )


def refuses_row(error: DBAPIError) -> bool:
    """Whether a constraint, a column's type or a trigger refused the row."""
    return (
        isinstance(error, IntegrityError | DataError)
        or code_of(error.orig) in REFUSALS
        or (sql_state(error.orig) or "").startswith(REFUSAL_STATES)
    )


def is_lock_wait(error: DBAPIError) -> bool:
    """Whether a statement gave up waiting for a lock."""
    return code_of(error.orig) in LOCK_WAITS


def translated(error: Exception) -> EncFieldsError:
    """The error in this library's words: a driver's text can hold values of a row."""
    if isinstance(error, EncFieldsError):
        return error
    code, text = code_of(getattr(error, "orig", None) or error), _described(error)
    if code in NOT_ALLOWED:
        return ReencryptionError(f"{_GRANTS} ({text})", reason="denied")
    if isinstance(error, DBAPIError) and is_read_only(error):
        return DatabaseUnavailableError(
            "the database accepts no writes: it is a replica, or transactions are read-only "
            f"({text}). Nothing is lost; start the run on the primary, as a user who may write",
            reason="read-only",
        )
    if isinstance(error, DBAPIError) and is_missing(error):
        return ReencryptionError(
            "a table or column that the run needs is no longer there: it was dropped or renamed "
            f"since the run began, or one of {_RUN_TABLES} was ({text}). Put it back and start the "
            "run again, or end the run with abandon()",
            reason="missing",
        )
    if is_transient(error):
        return DatabaseUnavailableError(
            f"the database rejected the run's statements: {text}. Nothing is lost; start the "
            "run again and it continues where it stopped",
            reason="database",
        )
    return ReencryptionError(f"the database refused a statement: {text}", reason="database")


def _translated_outside_runs(error: Exception) -> EncFieldsError:
    text = _described(error)
    if isinstance(error, DBAPIError) and is_denied(error):
        return ReencryptionError(
            f"the database user lacks a right that this needs ({text})", reason="denied"
        )
    if isinstance(error, DBAPIError) and is_missing(error):
        return ReencryptionError(
            f"a table or column that this needs is not there, or not any more ({text})",
            reason="missing",
        )
    locked = str(getattr(getattr(error, "orig", None), "sqlite_errorname", None))
    if locked.startswith(_LOCKED_ON_SQLITE):
        return DatabaseUnavailableError(
            f"another transaction holds SQLite's lock: database is locked ({text}); wait, and "
            "start it again",
            reason="throttled",
        )
    if is_transient(error):
        return DatabaseUnavailableError(
            f"the database is out of reach, or rejected a statement: {text}. No value is lost; "
            "check that the server runs and can be reached, and start it again",
            reason="database",
        )
    return ReencryptionError(f"the database refused a statement: {text}", reason="database")


def raises_no_drivers_errors(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Decorator of what asks the database outside a run: it raises errors of this library alone.

    A driver's error can hold values of a row, in its text and its parameters.
    """

    @wraps(function)
    def door(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return function(*args, **kwargs)
        except (SQLAlchemyError, OSError) as error:
            failure = _translated_outside_runs(error)
        raise failure

    return door


def _described(error: Exception) -> str:
    """A driver's error by class and code, and what to do about it if the code tells."""
    advice = advice_on(code_of(getattr(error, "orig", None) or error))
    return _without_text(error) + (f", {advice}" if advice else "")


def _without_text(error: Exception) -> str:
    """A driver's error by class and code, without its text, unless it is of a connection alone."""
    original = getattr(error, "orig", None) or error
    code = code_of(original)
    name = f"{type(original).__name__}{f' ({code})' if code else ''}"
    # The server, which alone knows values, gives each of its errors a code.
    is_of_client = not code or code in CLIENTS_NUMBERS
    is_of_connection = isinstance(error, DBAPIError) and error.statement is None and is_of_client
    # An engine or a driver that SQLAlchemy cannot use so: no statement was sent.
    if is_of_connection or isinstance(error, ArgumentError):
        return f"{name}: {first_line(original)}"
    return name


def code_of(original: Any) -> int | str | None:
    """The server's code in a driver's error."""
    # MariaDB's number says more than its SQLSTATE, which is "general error" for a full disk.
    return error_number(original) or sql_state(original)


class TranslatedFailure(NamedTuple):
    """A failure without the driver's error, whose text and parameters can hold values.

    Make it inside the ``except`` block and raise its error after the block: an exception keeps the
    one being handled when it is raised.

    :param error: the error in this library's words. :param is_transient: whether to retry.
    :param cause: the driver's class and code; empty if no driver raised it.
    """

    error: EncFieldsError
    is_transient: bool
    cause: str = ""

    @classmethod
    def of(cls, error: Exception) -> TranslatedFailure:
        """Translate an error."""
        cause = "" if isinstance(error, EncFieldsError) else _without_text(error)
        return cls(translated(error), is_transient(error), cause)


MAX_PAUSE = 5.0
"""Longest pause between two attempts, in seconds."""

QUIET_SECONDS = 2.0
"""Seconds before an outage is logged: a cut connection is usually back at once."""


class Patience:
    """Waits out an outage with growing pauses, up to a limit, and logs it once.

    :param seconds: how long an outage may last. :param stop: ends a wait at once.
    :param database: where the database is, for the log; ``None`` if unknown.
    """

    def __init__(self, seconds: float, stop: Event, database: str | None = None) -> None:
        self._seconds = seconds
        self._stop = stop
        self._database = "the database" if database is None else f"the database ({database})"
        self._since: float | None = None
        self._tries = 0
        self._has_warned = False

    def over(self) -> None:
        """Something worked again."""
        self._since, self._tries, self._has_warned = None, 0, False

    def wait(self, failure: TranslatedFailure) -> None:
        """Wait before another attempt. Do not call it inside an ``except`` block.

        :raises EncFieldsError: the failure's error, if it is not transient or lasted too long.
        """
        now = time.monotonic()
        self._since = now if self._since is None else self._since
        if not failure.is_transient or now - self._since >= self._seconds:
            raise failure.error
        if now - self._since >= QUIET_SECONDS and not self._has_warned:
            self._has_warned = True
            of_keys = isinstance(failure.error, KeyUnavailableError)
            log.warning(
                "waiting for %s, %g seconds at most: %s",
                "the keys" if of_keys else self._database,
                self._seconds,
                failure.cause or failure.error,
            )
        pause = min(0.05 * 2**self._tries, MAX_PAUSE)
        self._tries += 1
        # Jitter, so that workers that failed together do not retry together.
        self._stop.wait(pause * random.uniform(0.5, 1.0))  # noqa: S311


class Refusal(Enum):
    """Why a database refused a row, in words that hold nothing of the row.

    Each value is a stable reason word and its explanation.
    """

    UNIQUE = "not-unique", "another row has the same value, and an index or constraint is unique"
    NULL = "not-null", "a column of the row must not be NULL"
    FOREIGN_KEY = "foreign-key", "a foreign key of the row refers to no row, or others refer to it"
    CHECK = "check", "a CHECK constraint of the table does not hold for the row"
    TRIGGER = "trigger", "a trigger of the table refuses the change of the row"
    ALTERED = (
        "altered",
        "a trigger or rule of the table, a column that pads or rounds, or a server that is not "
        "strict changes what is written to the row, so the row was left as it was",
    )
    VALUE = "value", "a column does not accept the value: its type or its length"
    UNKNOWN = "refused", "the database refuses the row: a constraint, a column's type or a trigger"

    @property
    def reason(self) -> str:
        """Stable word for machines."""
        return str(self.value[0])

    @property
    def words(self) -> str:
        """Explanation for people."""
        return str(self.value[1])


_BY_CODE: dict[int | str, Refusal] = {
    "23505": Refusal.UNIQUE,
    "23P01": Refusal.UNIQUE,
    "23502": Refusal.NULL,
    "23503": Refusal.FOREIGN_KEY,
    "23514": Refusal.CHECK,
    "P0001": Refusal.TRIGGER,
    1022: Refusal.UNIQUE,
    1062: Refusal.UNIQUE,
    1586: Refusal.UNIQUE,
    1048: Refusal.NULL,
    1364: Refusal.NULL,
    1216: Refusal.FOREIGN_KEY,
    1217: Refusal.FOREIGN_KEY,
    1451: Refusal.FOREIGN_KEY,
    1452: Refusal.FOREIGN_KEY,
    3819: Refusal.CHECK,
    4025: Refusal.CHECK,
    1644: Refusal.TRIGGER,
    "54000": Refusal.VALUE,
    1118: Refusal.VALUE,
    1713: Refusal.VALUE,
}
"""By PostgreSQL's SQLSTATE, and by MariaDB's and MySQL's numbers."""

_OF_VALUES = "22"
"""SQLSTATE prefix of a refused value, for which pg8000 has no class."""

_BY_SQLITE: dict[str, Refusal] = {
    "SQLITE_CONSTRAINT_UNIQUE": Refusal.UNIQUE,
    "SQLITE_CONSTRAINT_PRIMARYKEY": Refusal.UNIQUE,
    "SQLITE_CONSTRAINT_ROWID": Refusal.UNIQUE,
    "SQLITE_CONSTRAINT_NOTNULL": Refusal.NULL,
    "SQLITE_CONSTRAINT_FOREIGNKEY": Refusal.FOREIGN_KEY,
    "SQLITE_CONSTRAINT_CHECK": Refusal.CHECK,
    "SQLITE_CONSTRAINT_TRIGGER": Refusal.TRIGGER,
    "SQLITE_CONSTRAINT_DATATYPE": Refusal.VALUE,
}
"""By ``sqlite_errorname``."""


def refusal_of(error: DBAPIError) -> Refusal:
    """Why the database refused a row."""
    code = code_of(error.orig)
    known = _BY_SQLITE.get(str(getattr(error.orig, "sqlite_errorname", None)))
    if known is None and code is not None:
        known = _BY_CODE.get(code)
    if known is not None:
        return known
    is_value = isinstance(error, DataError) or str(code).startswith(_OF_VALUES)
    return Refusal.VALUE if is_value else Refusal.UNKNOWN
