"""Classifies a database's errors: wait and retry, quarantine the row, or stop.

Messages are our own, because a driver's can quote the row's values.
"""

from __future__ import annotations

import logging
import random
import time
from enum import Enum
from threading import Event
from typing import Any, NamedTuple

from sqlalchemy.exc import (
    DatabaseError,
    DataError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    InternalError,
    OperationalError,
)

from encfields.bulk.errors import DatabaseUnavailableError, ReencryptionError
from encfields.bulk.runs.tables import metadata
from encfields.errors import EncFieldsError, KeyUnavailableError
from encfields.keys.cache.outages import is_outage
from encfields.keys.sql.failures import (
    NOT_ALLOWED,
    error_number,
    is_denied,
    is_read_only,
    sql_state,
)

log = logging.getLogger("encfields.bulk")

_REFUSALS = frozenset({1292, 1366, 1644, 3819, 4025, "P0001"})
"""Errors of a value, CHECK or trigger that drivers do not give a class of its own."""

_REFUSAL_STATES = ("22", "23")
_OUTAGE_STATES = ("08", "25", "40", "53", "54", "55", "57", "58", "XX")
"""SQLSTATE prefixes of refused values and of server trouble. pg8000 raises ProgrammingError for
nearly all of them, so its class does not tell."""

_MISSING = frozenset({1054, 1146, "42P01", "42703"})
"""Codes for a missing table or column."""

_MISSING_ON_SQLITE = ("no such table", "no such column")
"""Message prefixes of the same on SQLite, which raises one class for these and a full disk."""

_FAULTS = frozenset({1305, 1356, 1370, 1442, 1449, 1906, 3105, "P0002", "P0003", "P0004"})
"""Codes of what is wrong with a statement or with a trigger that it sets off, and that drivers put
in the class of errors of a server that is away: a function that is missing or not allowed, a
trigger that changes its own table or whose definer is gone, a column that the server computes;
PL/pgSQL's rows that are not there or too many, and its failed assertions."""

_FAULT_ON_SQLITE = "SQLITE_ERROR"
"""What SQLite calls them. What may pass (locks, disks, interrupts) has names of its own."""

_LOCK_WAITS = frozenset({1205, "55P03"})
"""MariaDB's and MySQL's number, PostgreSQL's SQLSTATE."""


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
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    return (
        isinstance(error, DBAPIError)
        and not refuses_row(error)
        and not is_denied(error)
        and not is_missing(error)
        and not is_fault(error)
        and (
            error.connection_invalidated
            or isinstance(error, InterfaceError | InternalError)
            or is_operational(error)
        )
    )


def is_missing(error: DBAPIError) -> bool:
    """Whether a statement's table or column is missing. MySQL, MariaDB and SQLite raise the same
    class for that as for a server that is down."""
    if "sqlite" in type(error.orig).__module__:
        return str(error.orig).startswith(_MISSING_ON_SQLITE)
    return code_of(error.orig) in _MISSING


def is_fault(error: DBAPIError) -> bool:
    """Whether the statement, or a trigger that it sets off, is wrong: waiting changes nothing."""
    if "sqlite" in type(error.orig).__module__:
        return getattr(error.orig, "sqlite_errorname", None) == _FAULT_ON_SQLITE
    return code_of(error.orig) in _FAULTS


def is_operational(error: DBAPIError) -> bool:
    """Whether an error is about the server and not the statement, whatever its class."""
    # MySQL Connector/Python raises plain DatabaseError for a lock wait.
    return (
        isinstance(error, OperationalError)
        or type(error) is DatabaseError
        or (sql_state(error.orig) or "").startswith(_OUTAGE_STATES)
    )


def refuses_row(error: DBAPIError) -> bool:
    """Whether a constraint, a column's type or a trigger refused the row."""
    return (
        isinstance(error, IntegrityError | DataError)
        or code_of(error.orig) in _REFUSALS
        or (sql_state(error.orig) or "").startswith(_REFUSAL_STATES)
    )


def is_lock_wait(error: DBAPIError) -> bool:
    """Whether a statement gave up waiting for a lock."""
    return code_of(error.orig) in _LOCK_WAITS


def translated(error: Exception) -> EncFieldsError:
    """The error in this library's words: a driver's text can hold values of a row."""
    if isinstance(error, EncFieldsError):
        return error
    code, text = code_of(getattr(error, "orig", None) or error), _without_text(error)
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


def _without_text(error: Exception) -> str:
    """A driver's error by class and code, without its text."""
    original = getattr(error, "orig", None) or error
    code = code_of(original)
    return f"{type(original).__name__}{f' ({code})' if code else ''}"


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
