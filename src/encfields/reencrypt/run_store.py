"""Runs and their ranges as rows: what is to be done, who does it, how far it is.

Everything that must survive a crash is here, and is written in the transaction that writes the
values it speaks of. Who owns a range is a lease on its row, not a lock of a session, so that it
works behind a connection pooler and outlives a lost connection.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    RowMapping,
    Update,
    and_,
    bindparam,
    case,
    delete,
    func,
    insert,
    inspect,
    or_,
    select,
    update,
)
from sqlalchemy.exc import DBAPIError, IntegrityError

from encfields.errors import ConfigurationError
from encfields.reencrypt.batches import Bounds
from encfields.reencrypt.errors import ConflictingRunError, LeaseLostError, ReencryptionError
from encfields.reencrypt.job import Job
from encfields.reencrypt.key_codec import Key, key_from_text, key_to_text
from encfields.reencrypt.run_tables import database_now, metadata, quarantine, ranges, runs
from encfields.reencrypt.values import Refused

RUNNING, FINISHED, QUARANTINED, FAILED, ABANDONED = (
    "running",
    "finished",
    "quarantined",
    "failed",
    "abandoned",
)
"""States of a run. All but the first are ends."""


@dataclass(frozen=True, slots=True)
class Run:
    """A run's row."""

    id: str
    job: Job
    state: str
    paused: bool
    pass_number: int
    carved: int
    frontier: Key | None
    frontier_done: bool
    estimated_rows: int
    error: str | None


@dataclass(frozen=True, slots=True)
class Claim:
    """A range that is this worker's for as long as ``claims`` stands in its row.

    :ivar bounds: what is left of it.
    """

    run_id: str
    pass_number: int
    number: int
    claims: int
    bounds: Bounds


_MINE = ("run_id", "pass_number", "number", "claims")
"""What tells a claimed range: columns of its row, and of :class:`Claim`."""


@dataclass(slots=True)
class Counts:
    """What happened to rows since the last checkpoint."""

    seen: int = 0
    written: int = 0
    current: int = 0
    missed: int = 0

    def __bool__(self) -> bool:
        return bool(self.seen or self.written or self.current or self.missed)

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.seen + other.seen,
            self.written + other.written,
            self.current + other.current,
            self.missed + other.missed,
        )


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over a run's ranges.

    :ivar seen: rows of the first pass. :ivar seen_here: rows of the present one.
    :ivar open_ranges: ranges of this pass that are not done.
    :ivar dirty: whether this pass found anything to write.
    :ivar quarantined: values that this pass could not open.
    """

    seen: int
    seen_here: int
    written: int
    current: int
    missed: int
    open_ranges: int
    dirty: bool
    quarantined: int


def create_run_tables(engine: Engine) -> None:
    """Make the tables that runs are kept in, unless they are there; safe in several processes."""
    for table in metadata.sorted_tables:
        try:
            table.create(engine, checkfirst=True)
        except DBAPIError:
            # Another process made it between the check and the statement.
            with engine.connect() as connection:
                if not inspect(connection).has_table(table.name):
                    raise


class RunStore:
    """Reads and writes the rows of runs; the caller gives the connection and the transaction.

    :param dialect_name: of the database.
    """

    def __init__(self, dialect_name: str) -> None:
        self._now = database_now(dialect_name)
        self._locks = dialect_name != "sqlite"
        # Made once, as it runs with every batch.
        self._checkpoint = _checkpoint(self._now)
        self._checkpoint_at = self._checkpoint.values(position_key=bindparam("of_position"))

    # -- runs ----------------------------------------------------------------------------------

    def record(self, connection: Connection, job: Job, estimated_rows: int) -> str:
        """Write a run's row, unless one of the same job is under way.

        :returns: the run's id.
        :raises ConflictingRunError: a run of another job is under way on the table.
        """
        found = self._active(connection, job)
        if found is not None:
            return found
        run_id = str(uuid.uuid4())
        row = {
            "id": run_id,
            "table_name": job.table_name,
            "fingerprint": job.fingerprint(),
            "job": job.to_json(),
            "active": 1,
            "state": RUNNING,
            "estimated_rows": estimated_rows,
            "created_at": _utc_now(),
        }
        try:
            with connection.begin_nested():
                connection.execute(insert(runs), row)
        except IntegrityError:
            found = self._active(connection, job)  # another process was faster
            if found is None:
                raise
            return found
        return run_id

    def _active(self, connection: Connection, job: Job) -> str | None:
        row = connection.execute(
            select(runs.c.id, runs.c.fingerprint)
            .where(runs.c.table_name == job.table_name, runs.c.active == 1)
            # A reading that sees what others committed since the transaction began.
            .with_for_update(read=True)
        ).first()
        if row is None:
            return None
        if row.fingerprint != job.fingerprint():
            raise ConflictingRunError(
                f"run {row.id} of another description is at work on the table: let it finish, or "
                "end it with abandon()",
                table=job.table_name,
                reason="conflicting-run",
            )
        return str(row.id)

    def load(self, connection: Connection, run_id: str) -> Run:
        """A run's row.

        :raises ReencryptionError: there is no such run.
        """
        row = connection.execute(select(runs).where(runs.c.id == run_id)).mappings().first()
        if row is None:
            raise ReencryptionError(f"there is no run {run_id}", reason="no-run")
        return _run(row)

    def unfinished(self, connection: Connection) -> list[Run]:
        """Every run that is under way, oldest first."""
        statement = select(runs).where(runs.c.active == 1).order_by(runs.c.created_at, runs.c.id)
        return [_run(row) for row in connection.execute(statement).mappings()]

    def end(self, connection: Connection, run: Run, state: str, error: str | None = None) -> bool:
        """Give a run its end, if it is still in the same pass.

        :returns: whether it was this call that ended it.
        """
        ended = connection.execute(
            update(runs)
            .where(runs.c.id == run.id, runs.c.active == 1)
            .where(runs.c.pass_number == run.pass_number)
            .values(state=state, active=None, ended_at=_utc_now(), error=error)
        )
        return ended.rowcount == 1

    def pause(self, connection: Connection, run_id: str, *, paused: bool = True) -> None:
        """Set or clear the flag at which every worker of a run pauses."""
        connection.execute(update(runs).where(runs.c.id == run_id).values(paused=int(paused)))

    # -- passes and ranges ---------------------------------------------------------------------

    def next_pass(self, connection: Connection, run: Run) -> bool:
        """Begin another pass over the table; whether it was this call that began it."""
        begun = connection.execute(
            update(runs)
            .where(runs.c.id == run.id, runs.c.active == 1)
            .where(runs.c.pass_number == run.pass_number)
            .values(pass_number=run.pass_number + 1, carved=0, frontier=None, frontier_done=0)
        )
        return begun.rowcount == 1

    def cut_before(self, connection: Connection, run: Run) -> Key | None:
        """Where the pass before ended its range that began at this pass's frontier.

        :returns: ``None`` if it had none there, or the one without an end.
        """
        row = connection.execute(
            select(ranges.c.lower_key, ranges.c.upper_key)
            .where(ranges.c.run_id == run.id, ranges.c.pass_number == run.pass_number - 1)
            .where(ranges.c.number == run.carved)
        ).first()
        if row is None or _key(row.lower_key) != run.frontier:
            return None
        return _key(row.upper_key)

    def carve(
        self, connection: Connection, run: Run, upper: Key | None, owner: str, seconds: float
    ) -> Claim | None:
        """Cut the next range of the pass, from the frontier up to `upper`, and take it.

        :param upper: ``None`` for the last range, which has no end: the table may grow.
        :param owner: who takes it. :param seconds: for how long unless renewed.
        :returns: ``None`` if it was not this call that cut it.
        """
        lower = None if run.frontier is None else key_to_text(run.frontier)
        until = None if upper is None else key_to_text(upper)
        moved = connection.execute(
            update(runs)
            .where(runs.c.id == run.id, runs.c.active == 1)
            .where(runs.c.pass_number == run.pass_number, runs.c.carved == run.carved)
            .values(carved=run.carved + 1, frontier=until, frontier_done=int(upper is None))
        )
        if moved.rowcount != 1:
            return None
        row = {
            "run_id": run.id,
            "pass_number": run.pass_number,
            "number": run.carved,
            "lower_key": lower,
            "upper_key": until,
            "position_key": lower,
            "owner": owner,
            "claims": 1,
        }
        connection.execute(insert(ranges).values(lease_until=self._now + seconds, **row))
        return Claim(run.id, run.pass_number, run.carved, 1, Bounds(run.frontier, upper))

    def claim(self, connection: Connection, run: Run, owner: str, seconds: float) -> Claim | None:
        """Take a range of the pass that nobody works on.

        :param owner: who takes it. :param seconds: for how long unless renewed.
        """
        free = (
            select(ranges)
            .where(ranges.c.run_id == run.id, ranges.c.pass_number == run.pass_number)
            .where(ranges.c.done == 0)
            .where(or_(ranges.c.owner.is_(None), ranges.c.lease_until < self._now))
            .order_by(ranges.c.number)
            .limit(1)
        )
        if self._locks:
            free = free.with_for_update(skip_locked=True)
        row = connection.execute(free).mappings().first()
        if row is None:
            return None
        taken = connection.execute(
            update(ranges)
            .where(*_same_range(row), ranges.c.claims == row["claims"], ranges.c.done == 0)
            .values(
                owner=owner, lease_until=self._now + seconds, claims=row["claims"] + 1, error=None
            )
        )
        return _claim(row, row["claims"] + 1) if taken.rowcount == 1 else None

    def checkpoint(
        self,
        connection: Connection,
        claim: Claim,
        counts: Counts,
        seconds: float,
        position: Key | None = None,
    ) -> None:
        """Say how far a range is, and renew its lease; in the transaction that wrote its rows.

        :param position: the last key that is done; ``None`` if that has not changed.
        :raises LeaseLostError: another worker has it; the transaction is to be rolled back.
        """
        statement = self._checkpoint
        parameters = {f"of_{name}": getattr(claim, name) for name in _MINE} | {
            "of_seconds": seconds,
            "of_seen": counts.seen,
            "of_written": counts.written,
            "of_current": counts.current,
            "of_missed": counts.missed,
        }
        if position is not None:
            statement = self._checkpoint_at
            parameters["of_position"] = key_to_text(position)
        if connection.execute(statement, parameters).rowcount != 1:
            raise LeaseLostError

    def finish(self, connection: Connection, claim: Claim, counts: Counts) -> None:
        """Say that a range is done.

        :raises LeaseLostError: another worker has it.
        """
        self.checkpoint(connection, claim, counts, 0)
        done = connection.execute(
            update(ranges).where(*_my_range(claim)).values(done=1, owner=None)
        )
        if done.rowcount != 1:
            raise LeaseLostError

    def release(self, connection: Connection, claim: Claim, error: str | None = None) -> None:
        """Give a range back for another worker to go on with."""
        connection.execute(
            update(ranges)
            .where(*_my_range(claim))
            .values(owner=None, lease_until=0, claims=claim.claims + 1, error=error)
        )

    def release_all(self, connection: Connection, owner: str) -> int:
        """Give back every range of a worker that is known to be dead."""
        given = connection.execute(
            update(ranges)
            .where(ranges.c.owner == owner, ranges.c.done == 0)
            .values(owner=None, lease_until=0, claims=ranges.c.claims + 1)
        )
        return given.rowcount

    def position(self, connection: Connection, claim: Claim) -> Bounds:
        """What is left of a range, after it was not known whether a transaction was kept.

        :raises LeaseLostError: another worker has it.
        """
        statement = select(ranges).where(*_my_range(claim))
        row = connection.execute(statement).mappings().first()
        if row is None or row["done"]:
            raise LeaseLostError
        return _claim(row, claim.claims).bounds

    # -- the quarantine ------------------------------------------------------------------------

    def quarantine(self, connection: Connection, claim: Claim, refused: Sequence[Refused]) -> None:
        """Note values that do not open; noting one again replaces the older note."""
        rows = [_quarantine_row(claim, one) for one in refused]
        for row in rows:
            connection.execute(
                delete(quarantine)
                .where(quarantine.c.run_id == row["run_id"])
                .where(quarantine.c.key_hash == row["key_hash"])
                .where(quarantine.c.column_name == row["column_name"])
            )
        connection.execute(insert(quarantine), rows)

    def quarantined(self, connection: Connection, run: Run) -> Sequence[RowMapping]:
        """The values in the quarantine; after a sweep, those that it still found there."""
        statement = select(quarantine).where(quarantine.c.run_id == run.id)
        if run.state != RUNNING:
            statement = statement.where(quarantine.c.pass_number == run.pass_number)
        return (
            connection.execute(statement.order_by(quarantine.c.found_at, quarantine.c.key_hash))
            .mappings()
            .all()
        )

    # -- sums ----------------------------------------------------------------------------------

    def totals(self, connection: Connection, run: Run) -> Totals:
        """Sums over the run's ranges; rows seen and current are the first pass's."""
        first = ranges.c.pass_number == 0
        here = ranges.c.pass_number == run.pass_number
        changed = ranges.c.rows_written + ranges.c.rows_missed
        sums = connection.execute(
            select(
                func.sum(case((first, ranges.c.rows_seen), else_=0)),
                func.sum(case((here, ranges.c.rows_seen), else_=0)),
                func.sum(ranges.c.rows_written),
                func.sum(case((first, ranges.c.rows_current), else_=0)),
                func.sum(ranges.c.rows_missed),
                func.sum(case((and_(here, ranges.c.done == 0), 1), else_=0)),
                func.sum(case((here, changed), else_=0)),
            ).where(ranges.c.run_id == run.id)
        ).one()
        refused = connection.execute(
            select(func.count())
            .select_from(quarantine)
            .where(quarantine.c.run_id == run.id, quarantine.c.pass_number == run.pass_number)
        ).scalar_one()
        seen, here_seen, written, current, missed, left, dirty = (int(v or 0) for v in sums)
        return Totals(seen, here_seen, written, current, missed, left, dirty > 0, int(refused))


def has_run_tables(connection: Connection) -> bool:
    """Whether the tables are there."""
    return inspect(connection).has_table(runs.name)


def require_run_tables(connection: Connection) -> None:
    """Refuse to go on where no run was ever recorded.

    :raises ConfigurationError: the tables are missing.
    """
    if not has_run_tables(connection):
        raise ConfigurationError(
            f"the database has no table {runs.name!r}: no run was recorded in it yet",
            reason="no-run-table",
        )


def _run(row: RowMapping) -> Run:
    return Run(
        id=row["id"],
        job=Job.from_json(row["job"]),
        state=row["state"],
        paused=bool(row["paused"]),
        pass_number=row["pass_number"],
        carved=row["carved"],
        frontier=_key(row["frontier"]),
        frontier_done=bool(row["frontier_done"]),
        estimated_rows=row["estimated_rows"],
        error=row["error"],
    )


def _claim(row: RowMapping, claims: int) -> Claim:
    bounds = Bounds(_key(row["position_key"]), _key(row["upper_key"]))
    return Claim(row["run_id"], row["pass_number"], row["number"], claims, bounds)


def _same_range(row: RowMapping) -> list[Any]:
    return [
        ranges.c.run_id == row["run_id"],
        ranges.c.pass_number == row["pass_number"],
        ranges.c.number == row["number"],
    ]


def _my_range(claim: Claim) -> list[Any]:
    return [ranges.c[name] == getattr(claim, name) for name in _MINE]


def _checkpoint(now: ColumnElement[float]) -> Update:
    """The statement of :meth:`RunStore.checkpoint`, with no position."""
    counts = {
        f"rows_{name}": ranges.c[f"rows_{name}"] + bindparam(f"of_{name}")
        for name in ("seen", "written", "current", "missed")
    }
    return (
        update(ranges)
        .where(*(ranges.c[name] == bindparam(f"of_{name}") for name in _MINE))
        .values(lease_until=now + bindparam("of_seconds"), **counts)
    )


def _quarantine_row(claim: Claim, refused: Refused) -> dict[str, Any]:
    key = key_to_text(refused.key)
    return {
        "run_id": claim.run_id,
        "key_hash": hashlib.sha256(key.encode("utf-8")).hexdigest(),
        "column_name": refused.column,
        "pass_number": claim.pass_number,
        "row_key": key,
        "reason": refused.reason[:64],
        "message": refused.message,
        "found_at": _utc_now(),
    }


def _key(text: str | None) -> Key | None:
    return None if text is None else key_from_text(text)


def _utc_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
