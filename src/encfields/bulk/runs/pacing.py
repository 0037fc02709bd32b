"""A run's pace: how much of the database it takes, what it pauses for, what it waits out."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from threading import Event
from typing import Any, NamedTuple

from sqlalchemy import Connection
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
from encfields.bulk.options import Options
from encfields.bulk.rows.prepared_job import PreparedJob
from encfields.bulk.runs.tables import metadata
from encfields.errors import ConfigurationError, EncFieldsError, KeyUnavailableError
from encfields.keys.sql.failures import (
    NOT_ALLOWED,
    error_number,
    is_denied,
    is_read_only,
    sql_state,
)

_POSTGRESQL_LAG = (
    "SELECT EXTRACT(EPOCH FROM MAX(replay_lag)) FROM pg_stat_replication WHERE state = 'streaming'"
)
"""NULL where nothing is behind, or there is no replica. Other users than superusers and members of
``pg_monitor`` are shown NULL, too."""

_POSTGRESQL_VACUUM = (
    "SELECT 1 FROM pg_stat_progress_vacuum"
    " WHERE datname = current_database() AND relid = to_regclass(%s)"
)


class Throttle:
    """One worker's pace.

    :param options: the run's. :param stop: ends every wait at once.
    :param prepared: the run's job.
    :raises ConfigurationError: this database does not tell what the options ask for.
    """

    def __init__(self, options: Options, stop: Event, prepared: PreparedJob) -> None:
        self._options = options
        self._lag_query = options.max_lag_query
        self._vacuum_of: str | None = None
        is_postgresql = prepared.dialect.name == "postgresql"
        if options.max_lag is not None and self._lag_query is None:
            if not is_postgresql:
                raise _does_not_tell(prepared, "max_lag", "name a max_lag_query")
            self._lag_query = _POSTGRESQL_LAG
        if options.pause_for_vacuum:
            if not is_postgresql:
                raise _does_not_tell(prepared, "pause_for_vacuum", "leave it out")
            self._vacuum_of = prepared.dialect.identifier_preparer.format_table(prepared.table)
        self._stop = stop
        rate = options.rows_per_second
        self._seconds_per_row = options.workers / rate if rate else 0.0
        self._due = time.monotonic()
        self._checked = 0.0

    def pace(self, rows: float, seconds: float) -> None:
        """Sleep as long as a batch is to be followed by rest.

        :param rows: rows of the batch. :param seconds: how long it took.
        """
        duty = self._options.duty_cycle
        rest = seconds * (1 - duty) / duty
        if self._seconds_per_row:
            now = time.monotonic()
            # Time in which nothing was due is not made up for later.
            self._due = max(self._due, now - seconds) + rows * self._seconds_per_row
            rest = max(rest, self._due - now)
        if rest > 0:
            self._stop.wait(rest)

    def hold(
        self, ask: Callable[[Connection], str | None], connect: Callable[[], Connection]
    ) -> str | None:
        """Why to pause now, or ``None``; looked up only every ``check_seconds``.

        :param ask: tells why the run itself is paused. :param connect: gives a connection.
        """
        now = time.monotonic()
        if now - self._checked < self._options.check_seconds:
            return None
        connection = connect()
        reason = (
            ask(connection)
            or self._lag(connection)
            or self._vacuum(connection)
            or self._query(connection)
        )
        # While it pauses, every look is a fresh one.
        self._checked = 0.0 if reason else now
        return reason

    def _lag(self, connection: Connection) -> str | None:
        query, bound = self._lag_query, self._options.max_lag
        if query is None or bound is None:
            return None
        lag = connection.exec_driver_sql(query.replace("%", "%%")).scalar()
        if lag is None or float(lag) <= bound:
            return None
        return f"replicas are {float(lag):.1f} s behind (at most {bound:g} s)"

    def _vacuum(self, connection: Connection) -> str | None:
        table = self._vacuum_of
        if table is None:
            return None
        found = connection.exec_driver_sql(_POSTGRESQL_VACUUM, (table.replace("%%", "%"),))
        return None if found.first() is None else "the table is being vacuumed"

    def _query(self, connection: Connection) -> str | None:
        query = self._options.pause_query
        if query is None or not connection.exec_driver_sql(query.replace("%", "%%")).scalar():
            return None
        return "the pause query says so"


def _does_not_tell(prepared: PreparedJob, option: str, way_out: str) -> ConfigurationError:
    return ConfigurationError(
        f"Options: {prepared.dialect.name} cannot tell what {option} needs; {way_out}",
        reason="options",
    )


MAX_PAUSE = 5.0
"""Seconds between two attempts, at most."""

_KEY_OUTAGES = frozenset({"unreachable", "throttled", "error"})
"""The others are somebody's decision, which waiting does not change."""

_REFUSALS = frozenset({1292, 1366, 1644, 3819, 4025, "P0001"})
"""Errors of a value, a CHECK or a trigger, for which drivers have no class of their own."""

_REFUSAL_STATES = ("22", "23")
_OUTAGE_STATES = ("08", "25", "40", "53", "54", "55", "57", "58", "XX")
"""How SQLSTATEs begin of refused values, and of what a server tells of itself. pg8000 has one
class of errors, ProgrammingError, for nearly all of them."""

_LOCK_WAITS = frozenset({1205, "55P03"})
"""MariaDB's and MySQL's number, PostgreSQL's SQLSTATE."""


_GRANTS = (
    "the database user lacks rights that a run needs: SELECT and UPDATE on the run's table, SELECT "
    "on the key table, CREATE for the first run of a database, and: GRANT SELECT, INSERT, UPDATE, "
    f"DELETE ON {', '.join(table.name for table in metadata.sorted_tables)} TO ..."
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
        and (
            error.connection_invalidated
            or isinstance(error, InterfaceError | InternalError)
            or is_operational(error)
        )
    )


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
    original = getattr(error, "orig", None) or error
    code = code_of(original)
    text = f"{type(original).__name__}{f' ({code})' if code else ''}"
    if code in NOT_ALLOWED:
        return ReencryptionError(f"{_GRANTS} ({text})", reason="denied")
    if isinstance(error, DBAPIError) and is_read_only(error):
        return DatabaseUnavailableError(
            "the database accepts no writes: it is a replica, or transactions are read-only "
            f"({text}). Nothing is lost; start the run on the primary, as a user who may write",
            reason="read-only",
        )
    if may_pass(error):
        return DatabaseUnavailableError(
            f"the database did not take the run's statements: {text}. Nothing is lost; start the "
            "run again and it goes on where it stopped",
            reason="database",
        )
    return ReencryptionError(f"the database refused a statement: {text}", reason="database")


def code_of(original: Any) -> int | str | None:
    """The server's code of a driver's error."""
    # MariaDB's own number says more than its SQLSTATE, which for a full disk is "general error".
    return error_number(original) or sql_state(original)


class TranslatedFailure(NamedTuple):
    """What went wrong, without a driver's error, whose text and parameters can hold values.

    It is made while the driver's error is handled, and raised when that is over: an exception
    keeps the one that was handled when it was raised.

    :param error: as this library tells it. :param may_pass: whether trying again can help.
    """

    error: EncFieldsError
    may_pass: bool

    @classmethod
    def of(cls, error: Exception) -> TranslatedFailure:
        """What an error comes to."""
        return cls(translated(error), may_pass(error))


class Patience:
    """Waits out an outage, ever longer, until it has lasted too long.

    :param seconds: how long an outage may last. :param stop: ends a wait at once.
    """

    def __init__(self, seconds: float, stop: Event) -> None:
        self._seconds = seconds
        self._stop = stop
        self._since: float | None = None
        self._tries = 0

    def over(self) -> None:
        """Something worked again."""
        self._since, self._tries = None, 0

    def wait(self, failure: TranslatedFailure) -> None:
        """Wait before another attempt; not called while an exception is handled.

        :raises EncFieldsError: the error, if waiting cannot help or has lasted too long.
        """
        now = time.monotonic()
        self._since = now if self._since is None else self._since
        if not failure.may_pass or now - self._since >= self._seconds:
            raise failure.error
        pause = min(0.05 * 2**self._tries, MAX_PAUSE)
        self._tries += 1
        # Workers that failed together do not come back together.
        self._stop.wait(pause * random.uniform(0.5, 1.0))  # noqa: S311
