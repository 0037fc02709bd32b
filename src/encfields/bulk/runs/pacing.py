"""Throttles a run, and tells when it must pause."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event

from sqlalchemy import Connection

from encfields.bulk.options import Options
from encfields.bulk.rows.prepared_job import PreparedJob
from encfields.errors import ConfigurationError

_POSTGRESQL_LAG = (
    "SELECT EXTRACT(EPOCH FROM MAX(replay_lag)) FROM pg_stat_replication WHERE state = 'streaming'"
)
"""NULL if no replica is behind or there is none. Users other than superusers and members of
``pg_monitor`` see NULL, too."""

_POSTGRESQL_VACUUM = (
    "SELECT 1 FROM pg_stat_progress_vacuum"
    " WHERE datname = current_database() AND relid = to_regclass(%s)"
)


class Throttle:
    """One worker's pace.

    :param options: the run's. :param stop: ends every wait at once.
    :param prepared: the run's job.
    :raises ConfigurationError: this database cannot report what the options need.
    """

    def __init__(self, options: Options, stop: Event, prepared: PreparedJob) -> None:
        self._options = options
        self._lag_query = options.max_lag_query
        self._vacuum_of: str | None = None
        is_postgresql = prepared.dialect.name == "postgresql"
        if options.max_lag is not None and self._lag_query is None:
            if not is_postgresql:
                raise _cannot_report(prepared, "max_lag", "name a max_lag_query")
            self._lag_query = _POSTGRESQL_LAG
        if options.pause_for_vacuum:
            if not is_postgresql:
                raise _cannot_report(prepared, "pause_for_vacuum", "leave it out")
            self._vacuum_of = prepared.dialect.identifier_preparer.format_table(prepared.table)
        self._stop = stop
        rate = options.rows_per_second
        self._seconds_per_row = options.workers / rate if rate else 0.0
        self._due = time.monotonic()
        self._checked = 0.0

    def pace(self, rows: float, seconds: float) -> None:
        """Sleep after a batch.

        :param rows: rows of the batch. :param seconds: how long it took.
        """
        duty = self._options.duty_cycle
        rest = seconds * (1 - duty) / duty
        if self._seconds_per_row:
            now = time.monotonic()
            # Idle time earns no credit.
            self._due = max(self._due, now - seconds) + rows * self._seconds_per_row
            rest = max(rest, self._due - now)
        if rest > 0:
            self._stop.wait(rest)

    def hold(
        self, ask: Callable[[Connection], str | None], connect: Callable[[], Connection]
    ) -> str | None:
        """Why to pause now, or ``None``; checked only every ``check_seconds``.

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
        # Check every time during a pause.
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
        result = connection.exec_driver_sql(_POSTGRESQL_VACUUM, (table.replace("%%", "%"),))
        return None if result.first() is None else "the table is being vacuumed"

    def _query(self, connection: Connection) -> str | None:
        query = self._options.pause_query
        if query is None or not connection.exec_driver_sql(query.replace("%", "%%")).scalar():
            return None
        return "the pause query says so"


def _cannot_report(prepared: PreparedJob, option: str, way_out: str) -> ConfigurationError:
    return ConfigurationError(
        f"Options: {prepared.dialect.name} cannot report what {option} needs; {way_out}",
        reason="options",
    )
