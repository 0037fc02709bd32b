"""The rows of whole runs: record, load, pause, end, count.

Nothing here uses a key, so nothing proves who wrote a row. Workers open the job first
(:mod:`encfields.bulk.runs.sealed_job`) and record progress by :mod:`encfields.bulk.runs.ranges`.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    RowMapping,
    Table,
    and_,
    case,
    func,
    insert,
    inspect,
    select,
    update,
)
from sqlalchemy.exc import DBAPIError, IntegrityError

from encfields.bulk.errors import ConflictingRunError, shown_id
from encfields.bulk.rows.job import CONVERT, FILL_INDEX, REBIND, ROTATE_INDEX, Job
from encfields.bulk.rows.run_keys import KEY_UNUSABLE
from encfields.bulk.runs.run_row import (
    ABANDONED,
    MAX_COUNT,
    MAX_RANGES,
    RUNNING,
    RangeProgress,
    Run,
    no_such_run,
    read_run,
)
from encfields.bulk.runs.sealed_job import JobSealer
from encfields.bulk.runs.tables import metadata, quarantine, ranges, runs
from encfields.errors import ConfigurationError

OF_ONE_KEY = ("destroyed", KEY_UNUSABLE)
"""Reasons of values whose key is gone or fails, which are no sign of a wrong description."""


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over a run's ranges, unchecked: for display.

    :ivar seen: rows of the first pass. :ivar seen_here: rows of the current pass.
    :ivar quarantined: values that this pass could not open.
    """

    seen: int
    seen_here: int
    written: int
    current: int
    missed: int
    quarantined: int


def new_run(job: Job, estimated_rows: int, sealer: JobSealer) -> dict[str, Any]:
    """The row of a new run.

    :raises ConfigurationError: the key that seals jobs is missing.
    :raises KeyStoreError: it cannot be fetched.
    """
    run_id, created_at = str(uuid.uuid4()), utc_now()
    sealed, seals = sealer.seal_job(run_id, job, created_at)
    return {
        "id": run_id,
        "table_name": job.table_name,
        "fingerprint": job.fingerprint(),
        "kind": job.kind,
        "job": sealed,
        "active": 1,
        "state": RUNNING,
        "estimated_rows": min(estimated_rows, MAX_COUNT),
        "created_at": created_at,
        **RangeProgress(0, created_at.isoformat(), None, 0, None, done=False).as_row(seals),
    }


def create_run_tables(engine: Engine) -> None:
    """Create the run tables if they are missing; several processes may do it at once.

    :raises ConfigurationError: tables of an earlier version exist.
    """
    for table in metadata.sorted_tables:
        try:
            table.create(engine, checkfirst=True)
        except DBAPIError:
            # Another process created it between check and statement.
            with engine.connect() as connection:
                if not _is_there(table, connection):
                    raise
    with engine.connect() as connection:
        _require_present_shape(connection)


class RunStore:
    """Reads and writes the rows of runs, on the caller's connection and transaction."""

    # -- setting one up ------------------------------------------------------------------------

    def active(self, connection: Connection, job: Job) -> str | None:
        """The run under way on the job's table, if it claims to have this job.

        :raises ConflictingRunError: it claims another job.
        """
        row = connection.execute(
            select(runs.c.id, runs.c.fingerprint).where(
                runs.c.table_name == job.table_name, runs.c.active == 1
            )
        ).first()
        if row is None:
            return None
        if row.fingerprint != job.fingerprint():
            run_id = shown_id(row.id)
            raise ConflictingRunError(
                f"run {run_id} with another description is working on the table: let it finish "
                f"(whatever began it continues it, as does `encfields reencrypt --run {run_id}`), "
                f"or end it with abandon() or `encfields reencrypt --abandon {run_id}`",
                table=job.table_name,
                reason="conflicting-run",
            )
        return str(row.id)

    def insert(self, connection: Connection, row: dict[str, Any]) -> bool:
        """Insert a run's row from :func:`new_run`.

        :returns: ``False`` if a run is already under way on the table.
        """
        try:
            with connection.begin_nested():
                connection.execute(insert(runs), row)
        except IntegrityError:
            return False  # another process was faster
        return True

    # -- reading -------------------------------------------------------------------------------

    def load(self, connection: Connection, run_id: str) -> Run:
        """A run's row.

        :raises ReencryptionError: there is no such run.
        :raises RunRefusedError: the row holds what no worker writes.
        """
        return read_run(connection, run_id)

    def unfinished(self, connection: Connection) -> list[str]:
        """Ids of the runs that claim to be under way, oldest first."""
        statement = (
            select(runs.c.id).where(runs.c.active == 1).order_by(runs.c.created_at, runs.c.id)
        )
        return [str(run_id) for run_id in connection.execute(statement).scalars()]

    def tables_under_way(self, connection: Connection) -> set[str]:
        """Tables of the runs that claim to be under way."""
        statement = select(runs.c.table_name).where(runs.c.active == 1)
        return {str(name) for name in connection.execute(statement).scalars()}

    def fills_indexes_of(self, connection: Connection, table_name: str) -> bool:
        """Whether a run that claims to be under way on the table may write blind indexes."""
        kinds = (FILL_INDEX, ROTATE_INDEX, REBIND, CONVERT)
        statement = (
            select(runs.c.id)
            .where(runs.c.active == 1, runs.c.table_name == table_name)
            .where(runs.c.kind.in_(kinds))
        )
        return connection.execute(statement.limit(1)).first() is not None

    # -- what needs no key ---------------------------------------------------------------------

    def abandon(self, connection: Connection, run_id: str) -> None:
        """End a run, whatever its row says, and remove its job, so that nobody can continue it."""
        connection.execute(
            update(runs)
            .where(runs.c.id == run_id, runs.c.active == 1)
            .values(state=ABANDONED, active=None, ended_at=utc_now(), job="", seal=None)
        )

    def pause(self, connection: Connection, run_id: str, *, paused: bool = True) -> None:
        """Set or clear the flag at which every worker of a run pauses."""
        connection.execute(update(runs).where(runs.c.id == run_id).values(paused=int(paused)))

    def release_all(self, connection: Connection, owner: str) -> int:
        """Release all ranges of a dead worker."""
        given = connection.execute(
            update(ranges)
            .where(ranges.c.owner == owner, ranges.c.done == 0)
            .where(ranges.c.claims.between(0, MAX_RANGES - 1))
            .values(owner=None, lease_until=0, claims=ranges.c.claims + 1)
        )
        return given.rowcount

    def quarantined(self, connection: Connection, run: Run) -> Sequence[RowMapping]:
        """The quarantined values; after a sweep, those that it still found."""
        shown = (quarantine.c.column_name, quarantine.c.row_key)
        statement = select(*shown, quarantine.c.reason, quarantine.c.message).where(
            quarantine.c.run_id == run.id
        )
        if run.state != RUNNING:
            statement = statement.where(quarantine.c.pass_number == run.pass_number)
        in_order = statement.order_by(quarantine.c.found_at, quarantine.c.key_hash)
        return connection.execute(in_order).mappings().all()

    def under_failing_keys(self, connection: Connection, run: Run) -> int:
        """How many quarantined values of this pass are under keys that are destroyed, or fail."""
        counted = select(func.count()).where(
            quarantine.c.run_id == run.id,
            quarantine.c.pass_number == run.pass_number,
            quarantine.c.reason.in_(OF_ONE_KEY),
        )
        return int(connection.execute(counted).scalar_one())

    def totals(self, connection: Connection, run: Run) -> Totals:
        """Sums over the run's ranges; rows seen and current are from the first pass."""
        first = ranges.c.pass_number == 0
        here = ranges.c.pass_number == run.pass_number
        rows_seen = _count(ranges.c.rows_seen)
        sums = connection.execute(
            select(
                func.sum(case((first, rows_seen), else_=0)),
                func.sum(case((here, rows_seen), else_=0)),
                func.sum(_count(ranges.c.rows_written)),
                func.sum(case((first, _count(ranges.c.rows_current)), else_=0)),
                func.sum(_count(ranges.c.rows_missed)),
            ).where(ranges.c.run_id == run.id)
        ).one()
        refused = connection.execute(
            select(func.count())
            .select_from(quarantine)
            .where(quarantine.c.run_id == run.id, quarantine.c.pass_number == run.pass_number)
        ).scalar_one()
        seen, here_seen, done, current, missed = (int(number or 0) for number in sums)
        return Totals(seen, here_seen, done, current, missed, int(refused))


def _count(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """A count; 0 if the row holds an impossible one."""
    return case((and_(column >= 0, column <= MAX_COUNT), column), else_=0)


def has_run_tables(connection: Connection) -> bool:
    """Whether the run tables exist.

    :raises ConfigurationError: an earlier version made them.
    """
    if not _is_there(runs, connection):
        return False
    _require_present_shape(connection)
    return True


def _is_there(table: Table, connection: Connection) -> bool:
    return inspect(connection).has_table(table.name, connection.schema_for_object(table))


def require_run_tables(connection: Connection) -> None:
    """Check that a run was ever recorded here.

    :raises ConfigurationError: the tables are missing, or of an earlier version.
    """
    if not has_run_tables(connection):
        raise ConfigurationError(
            f"the database has no table {runs.name!r}: no run was recorded in it yet. Start one, "
            "with Reencryption(...).run() or `encfields reencrypt`, which makes the tables and for "
            "that needs CREATE",
            reason="no-run-table",
        )


def require_run(connection: Connection, run_id: str) -> None:
    """Check that this run was recorded; its row is not validated.

    :raises ConfigurationError: no run was ever recorded. :raises ReencryptionError: this one was
        not.
    """
    require_run_tables(connection)
    if connection.execute(select(runs.c.id).where(runs.c.id == run_id)).first() is None:
        raise no_such_run(run_id)


def _require_present_shape(connection: Connection) -> None:
    for table in metadata.sorted_tables:
        schema = connection.schema_for_object(table)
        listed = inspect(connection).get_columns(table.name, schema=schema)
        present = {column["name"] for column in listed}
        missing = sorted(set(table.columns.keys()) - present)
        if missing:
            names = ", ".join(table.name for table in metadata.sorted_tables)
            raise ConfigurationError(
                f"the table {table.name!r} was made by an earlier version of this library and has "
                f"no {', '.join(missing)}. These tables hold no values: drop {names}, and record "
                "the runs that were under way again",
                table=table.name,
                reason="run-tables",
            )


def utc_now() -> dt.datetime:
    """The time in UTC, naive, in microseconds."""
    return dt.datetime.now(dt.UTC)
