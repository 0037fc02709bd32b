"""What a database's error means to a run: wait and try again, quarantine the row, or stop.

The messages are our own, because a driver's can quote values of the row.
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
from encfields.keys.sql.failures import (
    NOT_ALLOWED,
    error_number,
    is_denied,
    is_read_only,
    sql_state,
)

log = logging.getLogger("encfields.bulk")

_KEY_OUTAGES = frozenset({"unreachable", "throttled", "error"})
"""The others are somebody's decision, which waiting does not change."""

_REFUSALS = frozenset({1292, 1366, 1644, 3819, 4025, "P0001"})
"""Errors of a value, a CHECK or a trigger, for which drivers have no class of their own."""

_REFUSAL_STATES = ("22", "23")
_OUTAGE_STATES = ("08", "25", "40", "53", "54", "55", "57", "58", "XX")
"""How SQLSTATEs begin of refused values, and of what a server tells of itself. pg8000 has one
class of errors, ProgrammingError, for nearly all of them."""

_MISSING = frozenset({1054, 1146, "42P01", "42703"})
"""Codes of a table or column that is not there."""

_MISSING_ON_SQLITE = ("no such table", "no such column")
"""How its errors of them begin, which are of the class that its full disk has."""

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


def may_pass(error: Exception) -> bool:
    """Whether trying again later can help: the database or KMS is away, busy, or full."""
    if isinstance(error, KeyUnavailableError):
        return error.reason in _KEY_OUTAGES
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
    """Whether a table or column of a statement is not there, which MySQL, MariaDB and SQLite tell
    by an error of the class that a server has that is away."""
    if "sqlite" in type(error.orig).__module__:
        return str(error.orig).startswith(_MISSING_ON_SQLITE)
    return code_of(error.orig) in _MISSING


def is_fault(error: DBAPIError) -> bool:
    """Whether the statement, or a trigger that it sets off, is wrong: waiting changes nothing."""
    if "sqlite" in type(error.orig).__module__:
        return getattr(error.orig, "sqlite_errorname", None) == _FAULT_ON_SQLITE
    return code_of(error.orig) in _FAULTS


def is_operational(error: DBAPIError) -> bool:
    """Whether an error tells of the server, not of the statement, whatever class it is of."""
    # MySQL Connector/Python's of no class, where others have OperationalError: a lock wait.
    return (
        isinstance(error, OperationalError)
        or type(error) is DatabaseError
        or (sql_state(error.orig) or "").startswith(_OUTAGE_STATES)
    )


def refuses_row(error: DBAPIError) -> bool:
    """Whether a constraint, a column's type or a trigger does not let a row in."""
    return (
        isinstance(error, IntegrityError | DataError)
        or code_of(error.orig) in _REFUSALS
        or (sql_state(error.orig) or "").startswith(_REFUSAL_STATES)
    )


def is_lock_wait(error: DBAPIError) -> bool:
    """Whether a statement gave up waiting for a lock."""
    return code_of(error.orig) in _LOCK_WAITS


def translated(error: Exception) -> EncFieldsError:
    """The error as this library tells it: a driver's own text can hold values of a row."""
    if isinstance(error, EncFieldsError):
        return error
    code, text = code_of(getattr(error, "orig", None) or error), _named(error)
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
    if may_pass(error):
        return DatabaseUnavailableError(
            f"the database rejected the run's statements: {text}. Nothing is lost; start the "
            "run again and it continues where it stopped",
            reason="database",
        )
    return ReencryptionError(f"the database refused a statement: {text}", reason="database")


def _named(error: Exception) -> str:
    """A driver's error without its text."""
    original = getattr(error, "orig", None) or error
    code = code_of(original)
    return f"{type(original).__name__}{f' ({code})' if code else ''}"


def code_of(original: Any) -> int | str | None:
    """The server's code of a driver's error."""
    # MariaDB's own number says more than its SQLSTATE, which for a full disk is "general error".
    return error_number(original) or sql_state(original)


class TranslatedFailure(NamedTuple):
    """What went wrong, without a driver's error, whose text and parameters can hold values.

    It is made while the driver's error is handled, and raised when that is over: an exception
    keeps the one that was handled when it was raised.

    :param error: as this library tells it. :param may_pass: whether trying again can help.
    :param cause: the driver's name and number of it; empty if it is no driver's.
    """

    error: EncFieldsError
    may_pass: bool
    cause: str = ""

    @classmethod
    def of(cls, error: Exception) -> TranslatedFailure:
        """What an error comes to."""
        cause = "" if isinstance(error, EncFieldsError) else _named(error)
        return cls(translated(error), may_pass(error), cause)


MAX_PAUSE = 5.0
"""Seconds between two attempts, at most."""

SILENT_SECONDS = 2.0
"""How long an outage lasts before it is told of: a connection that was cut is made anew at once."""


class Patience:
    """Waits out an outage, ever longer, until it has lasted too long; and says once that it does.

    :param seconds: how long an outage may last. :param stop: ends a wait at once.
    :param database: where it is, for people; ``None`` where that is not known.
    """

    def __init__(self, seconds: float, stop: Event, database: str | None = None) -> None:
        self._seconds = seconds
        self._stop = stop
        self._database = "the database" if database is None else f"the database ({database})"
        self._since: float | None = None
        self._tries = 0
        self._has_told = False

    def over(self) -> None:
        """Something worked again."""
        self._since, self._tries, self._has_told = None, 0, False

    def wait(self, failure: TranslatedFailure) -> None:
        """Wait before another attempt; not called while an exception is handled.

        :raises EncFieldsError: the error, if waiting cannot help or has lasted too long.
        """
        now = time.monotonic()
        self._since = now if self._since is None else self._since
        if not failure.may_pass or now - self._since >= self._seconds:
            raise failure.error
        if now - self._since >= SILENT_SECONDS and not self._has_told:
            self._has_told = True
            of_keys = isinstance(failure.error, KeyUnavailableError)
            log.warning(
                "waiting for %s, %g seconds at most: %s",
                "the keys" if of_keys else self._database,
                self._seconds,
                failure.cause or failure.error,
            )
        pause = min(0.05 * 2**self._tries, MAX_PAUSE)
        self._tries += 1
        # Workers that failed together do not come back together.
        self._stop.wait(pause * random.uniform(0.5, 1.0))  # noqa: S311


class Refusal(Enum):
    """What it is that does not let a row into a table, in words that hold nothing of the row.

    Its value: the reason, a machine's word, and what people are told.
    """

    UNIQUE = "not-unique", "another row has the same value, and an index or constraint is unique"
    NULL = "not-null", "a column of the row must not be NULL"
    FOREIGN_KEY = "foreign-key", "a foreign key of the row refers to no row, or others refer to it"
    CHECK = "check", "a CHECK constraint of the table does not hold for the row"
    TRIGGER = "trigger", "a trigger of the table refuses the change of the row"
    ALTERED = (
        "altered",
        "a trigger or rule of the table, a column that pads or rounds, or a server that is not "
        "strict makes something else of what the row is given, so it was left as it was",
    )
    VALUE = "value", "a column does not accept the value: its type or its length"
    UNKNOWN = "refused", "the database refuses the row: a constraint, a column's type or a trigger"

    @property
    def reason(self) -> str:
        """The reason in a word."""
        return str(self.value[0])

    @property
    def words(self) -> str:
        """The same for people."""
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
"""By PostgreSQL's SQLSTATE, and by the numbers of MariaDB and MySQL."""

_OF_VALUES = "22"
"""How SQLSTATEs of a value begin. pg8000's errors of them are of no class of their own."""

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
"""By the name that Python's ``sqlite3`` gives."""


def refusal_of(error: DBAPIError) -> Refusal:
    """What a database refused a row for."""
    code = code_of(error.orig)
    known = _BY_SQLITE.get(str(getattr(error.orig, "sqlite_errorname", None)))
    if known is None and code is not None:
        known = _BY_CODE.get(code)
    if known is not None:
        return known
    is_value = isinstance(error, DataError) or str(code).startswith(_OF_VALUES)
    return Refusal.VALUE if is_value else Refusal.UNKNOWN
