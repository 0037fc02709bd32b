"""Classifies a database's errors: wait and retry, or stop; and waits.

Messages are our own, because a driver's can quote the row's values.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from threading import Event
from typing import NamedTuple, ParamSpec, TypeVar

from sqlalchemy.exc import (
    ArgumentError,
    DatabaseError,
    DBAPIError,
    InterfaceError,
    InternalError,
    NoSuchTableError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout

from encfields.bulk.error_codes import (
    CLIENTS_NUMBERS,
    LOCK_WAITS,
    MISSING,
    OUTAGE_STATES,
    THERE_ALREADY,
    advice_on,
    code_of,
    may_pass,
)
from encfields.bulk.errors import DatabaseUnavailableError, ReencryptionError
from encfields.bulk.row_refusals import refuses_row
from encfields.bulk.runs.tables import metadata
from encfields.errors import EncFieldsError, KeyUnavailableError
from encfields.keys.cache.outages import is_outage
from encfields.keys.sql.failures import (
    first_line,
    is_denied,
    is_read_only,
    sql_state,
    what_is_denied,
)

_P = ParamSpec("_P")
_R = TypeVar("_R")

log = logging.getLogger("encfields.bulk")

_MISSING_ON_SQLITE = ("no such table", "no such column")
"""Message prefixes of the same on SQLite, which raises one class for these and a full disk."""

_LASTING_ON_SQLITE = ("SQLITE_ERROR", "SQLITE_NOTADB", "SQLITE_CORRUPT")
"""What SQLite calls them, and a file that is damaged or no database. What may pass (locks, disks,
interrupts) has names of its own."""

_LOCKED_ON_SQLITE = ("SQLITE_BUSY", "SQLITE_LOCKED")

_RUN_TABLES = ", ".join(table.name for table in metadata.sorted_tables)


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
    if str(getattr(error.orig, "sqlite_errorname", None)).startswith(_LASTING_ON_SQLITE):
        return False
    return isinstance(error, InterfaceError | InternalError) or is_operational(error)


def is_missing(error: DBAPIError) -> bool:
    """Whether a statement's table or column is missing. MySQL, MariaDB and SQLite raise the same
    class for that as for a server that is down."""
    if "sqlite" in type(error.orig).__module__:
        return str(error.orig).startswith(_MISSING_ON_SQLITE)
    return code_of(error.orig) in MISSING


def is_there_already(error: DBAPIError) -> bool:
    """Whether a statement was to make what is there already."""
    if "sqlite" in type(error.orig).__module__:
        return str(error.orig).endswith("already exists")
    return code_of(error.orig) in THERE_ALREADY


def is_operational(error: DBAPIError) -> bool:
    """Whether an error is about the server and not the statement, whatever its class."""
    # MySQL Connector/Python raises plain DatabaseError for a lock wait.
    return (
        isinstance(error, OperationalError)
        or type(error) is DatabaseError
        or (sql_state(error.orig) or "").startswith(OUTAGE_STATES)
    )


def is_lock_wait(error: DBAPIError) -> bool:
    """Whether a statement gave up waiting for a lock."""
    return code_of(error.orig) in LOCK_WAITS


@dataclass(frozen=True)
class _Wording:
    """What is said of each kind of failure; ``{error}`` is the driver's error by class and code.

    :param read_only: about a replica; ``None`` to say what is said of any outage.
    :param locked: about SQLite's lock; ``None`` likewise.
    """

    denied: str
    missing: str
    outage: str
    read_only: str | None = None
    locked: str | None = None


_IN_A_RUN = _Wording(
    denied="the database user lacks rights that a run needs: SELECT and UPDATE on the run's table, "
    "SELECT on the key table, CREATE for the first run of a database, and: GRANT SELECT, INSERT, "
    f"UPDATE, DELETE ON {_RUN_TABLES} TO ... ({{error}})",
    read_only="the database accepts no writes: it is a replica, or transactions are read-only "
    "({error}). Nothing is lost; start the run on the primary, as a user who may write",
    missing="a table or column that the run needs is no longer there: it was dropped or renamed "
    f"since the run began, or one of {_RUN_TABLES} was ({{error}}). Put it back and start the run "
    "again, or end the run with abandon()",
    outage="the database rejected the run's statements: {error}. Nothing is lost; start the run "
    "again and it continues where it stopped",
)

_OUTSIDE_RUNS = _Wording(
    denied="the database user lacks a right that this needs ({error})",
    missing="a table or column that this needs does not exist, or no longer exists ({error})",
    locked="another transaction holds SQLite's lock: database is locked ({error}); wait, and start "
    "it again",
    outage="the database is out of reach, or rejected a statement: {error}. No value is lost; "
    "check that the server runs and can be reached, and start it again",
)


_EXISTS = (
    "the database already has what a statement was to make: a table, column or index ({error})"
)


def translated(error: Exception, wording: _Wording = _IN_A_RUN) -> EncFieldsError:
    """The error in this library's words: a driver's text can hold values of a row."""
    if isinstance(error, EncFieldsError):
        return error
    cls, reason, words = _kind_of(error, wording)
    return cls(words.format(error=_described(error)), reason=reason)


def _kind_of(
    error: Exception, wording: _Wording
) -> tuple[type[DatabaseUnavailableError | ReencryptionError], str, str]:
    """The class, the ``reason`` and the words of a failure."""
    if isinstance(error, NoSuchTableError):
        return ReencryptionError, "missing", "the database has no table {error}"
    if isinstance(error, DBAPIError):
        if is_there_already(error):
            return ReencryptionError, "exists", _EXISTS
        if is_denied(error):
            return ReencryptionError, "denied", wording.denied
        if wording.read_only and is_read_only(error):
            return DatabaseUnavailableError, "read-only", wording.read_only
        if is_missing(error):
            return ReencryptionError, "missing", wording.missing
        sqlite_name = str(getattr(error.orig, "sqlite_errorname", None))
        if wording.locked and sqlite_name.startswith(_LOCKED_ON_SQLITE):
            return DatabaseUnavailableError, "throttled", wording.locked
    if is_transient(error):
        return DatabaseUnavailableError, "database", wording.outage
    return ReencryptionError, "database", "the database refused a statement: {error}"


def raises_no_drivers_errors(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Decorator of what asks the database outside a run: it raises errors of this library alone.

    A driver's error can hold values of a row, in its text and its parameters.
    """

    @wraps(function)
    def door(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return function(*args, **kwargs)
        except (SQLAlchemyError, OSError) as error:
            failure = translated(error, _OUTSIDE_RUNS)
        raise failure

    return door


def _described(error: Exception) -> str:
    """A driver's error by class and code, and what to do about it if the code tells."""
    advice = advice_on(code_of(getattr(error, "orig", None) or error))
    return _without_text(error) + (f", {advice}" if advice else "")


def _without_text(error: Exception) -> str:
    """A driver's error by class and code, without its text, unless it is of a connection alone or
    names a table that the user has no right to."""
    original = getattr(error, "orig", None) or error
    code = code_of(original)
    name = f"{type(original).__name__}{f' ({code})' if code else ''}"
    # The server, which alone knows values, gives each of its errors a code.
    is_of_client = not code or code in CLIENTS_NUMBERS
    is_of_connection = isinstance(error, DBAPIError) and error.statement is None and is_of_client
    # An engine or a driver that SQLAlchemy cannot use so: no statement was sent.
    if isinstance(error, NoSuchTableError):
        return str(error)  # the table's name
    if is_of_connection or isinstance(error, ArgumentError):
        return f"{name}: {first_line(original)}"
    denied = what_is_denied(original) if isinstance(error, DBAPIError) and is_denied(error) else ""
    return f"{name}: {denied}" if denied else name


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
