"""The ranges of a run as rows: who works on them, and how far.

This is all the state that must survive a crash; it is written in the same transaction as the
values. A range is owned by a lease on its row and not by a session lock, so ownership works behind
a connection pooler and outlives a lost connection.

Each row has a seal that only a worker of the run can make. A row whose seal does not match is
ignored: its part of the table is read again.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Update,
    bindparam,
    delete,
    insert,
    or_,
    select,
    update,
)

from encfields.bulk.errors import LeaseLostError
from encfields.bulk.options import MAX_LEASE_SECONDS
from encfields.bulk.rows.row_work import RefusedValue
from encfields.bulk.rows.stored_keys import Key, key_to_text, readable_key
from encfields.bulk.runs.run_row import COUNTED, Claim, Counts, RangeProgress, Run
from encfields.bulk.runs.sealed_job import OpenedRun
from encfields.bulk.runs.store import utc_now
from encfields.bulk.runs.tables import database_now, quarantine, ranges, runs

log = logging.getLogger("encfields.bulk")

_MINE = ("run_id", "pass_number", "number", "claims")
"""Columns of a claimed range's row, and fields of :class:`Claim`."""


@dataclass(frozen=True, slots=True)
class Pass:
    """What a run's workers recorded about a pass.

    :ivar is_open: whether ranges are left to work on.
    :ivar is_whole: whether the finished ranges cover the whole table.
    :ivar counts: sums over its ranges.
    """

    is_open: bool
    is_whole: bool
    counts: Counts

    @property
    def found_work(self) -> bool:
        """Whether the pass found anything to write."""
        return bool(self.counts.written or self.counts.missed)


class RangeStore:
    """Reads and writes the ranges of one run, on the caller's connection and transaction.

    :param dialect_name: of the database. :param opened: the run.
    """

    def __init__(self, dialect_name: str, opened: OpenedRun) -> None:
        self._run_id = opened.id
        self._seals = opened.seals
        self._now = database_now(dialect_name)
        self._locks = dialect_name != "sqlite"
        # Built once, since it runs with every batch.
        self._checkpoint = _checkpoint(self._now)

    # -- passes --------------------------------------------------------------------------------

    def next_pass(self, connection: Connection, run: Run) -> bool:
        """Begin another pass over the table; whether this call began it."""
        begun, before = utc_now().isoformat(), run.progress.begun
        progress = RangeProgress(run.pass_number + 1, begun, before, 0, None, done=False)
        return self._move(connection, run, progress)

    def _move(self, connection: Connection, run: Run, progress: RangeProgress) -> bool:
        moved = connection.execute(
            update(runs)
            .where(runs.c.id == run.id, runs.c.active == 1, runs.c.seal == run.seal)
            .values(progress.as_row(self._seals))
        )
        return moved.rowcount == 1

    def read_pass(self, connection: Connection, run: Run) -> Pass:
        """What workers recorded about the current pass; rows that others wrote are ignored."""
        rows = connection.execute(
            select(ranges).where(*self._of_pass(run)).order_by(ranges.c.number)
        ).mappings()
        is_open, chain, counts = False, _Chain(), Counts()
        for row in rows:
            claim = self._verified(row, run.progress.begun)
            if claim is None:
                continue
            counts += claim.counts
            if row["done"]:
                chain.add(claim)
            else:
                is_open = True
        return Pass(is_open, chain.is_whole, counts)

    def end(
        self,
        connection: Connection,
        run: Run,
        state: str,
        sealed_end: str,
        error: str | None = None,
    ) -> bool:
        """End a run, if it is still in the same pass; nobody can continue it then.

        :param sealed_end: replaces the job.
        :returns: whether this call ended it.
        """
        ended = connection.execute(
            update(runs)
            .where(runs.c.id == run.id, runs.c.active == 1)
            .where(runs.c.pass_number == run.pass_number)
            .values(
                state=state,
                active=None,
                ended_at=utc_now(),
                error=error,
                job=sealed_end,
            )
        )
        return ended.rowcount == 1

    # -- ranges --------------------------------------------------------------------------------

    def end_in_previous_pass(self, connection: Connection, run: Run) -> Key | None:
        """The end of the previous pass's range that began at this pass's frontier.

        :returns: ``None`` if there is none, or it had no end.
        """
        row = connection.execute(
            select(ranges)
            .where(ranges.c.run_id == run.id, ranges.c.pass_number == run.pass_number - 1)
            .where(ranges.c.number == run.progress.carved)
        ).mappings().first()  # fmt: skip
        claim = None if row is None else self._verified(row, run.progress.begun_before)
        if claim is None or claim.lower != run.progress.frontier:
            return None
        return claim.bounds.upto

    def claim_new(
        self, connection: Connection, run: Run, upper: Key | None, owner: str, seconds: float
    ) -> Claim | None:
        """Cut the next range of the pass, from the frontier up to `upper`, and claim it.

        :param upper: ``None`` for the last range, which has no end: the table may grow.
        :param owner: who claims it. :param seconds: length of the lease.
        :returns: ``None`` if another worker cut it first.
        """
        was = run.progress
        until = None if upper is None else key_to_text(upper)
        progress = was._replace(carved=was.carved + 1, frontier=until, done=upper is None)
        if not self._move(connection, run, progress):
            return None
        lower = was.frontier
        claim = Claim(run.id, was.pass_number, was.begun, was.carved, 1, lower, until, lower)
        row = {
            "run_id": run.id,
            "pass_number": was.pass_number,
            "number": was.carved,
            "lower_key": lower,
            "upper_key": until,
            "position_key": lower,
            "owner": owner,
            "claims": 1,
            "seal": claim.seal(self._seals, done=False),
        }
        # The frontier shows that no worker cut this range: an existing row is somebody else's.
        same_range = [ranges.c[name] == row[name] for name in ("run_id", "pass_number", "number")]
        connection.execute(delete(ranges).where(*same_range))
        connection.execute(insert(ranges).values(lease_until=self._now + seconds, **row))
        return claim

    def claim(self, connection: Connection, run: Run, owner: str, seconds: float) -> Claim | None:
        """Claim a range of the pass that nobody works on.

        A range that no worker of the run wrote is set aside.

        :param owner: who claims it. :param seconds: length of the lease.
        """
        free = (
            select(ranges)
            .where(*self._of_pass(run), ranges.c.done == 0)
            .where(or_(ranges.c.owner.is_(None), ~self._is_leased()))
            .order_by(ranges.c.number)
            .limit(1)
        )
        if self._locks:
            free = free.with_for_update(skip_locked=True)
        row = connection.execute(free).mappings().first()
        if row is None:
            return None
        claim = self._verified(row, run.progress.begun)
        if claim is None:
            self._set_aside(connection, row)
            return None
        taken = connection.execute(
            update(ranges)
            .where(*_my_range(claim), ranges.c.done == 0)
            .values(
                owner=owner, lease_until=self._now + seconds, claims=claim.claims + 1, error=None
            )
        )
        return _reclaimed(claim) if taken.rowcount == 1 else None

    def _is_leased(self) -> ColumnElement[bool]:
        """Whether a range has a valid lease, which cannot exceed the longest."""
        until = ranges.c.lease_until
        return until.between(self._now, self._now + MAX_LEASE_SECONDS)

    def _set_aside(self, connection: Connection, row: Any) -> None:
        log.warning(
            "run %s: range %s of pass %s was altered (its seal does not match lower_key, "
            "upper_key, position_key, done and the counts) and is ignored; that part of the table "
            "is read again",
            self._run_id,
            ascii(row["number"]),
            row["pass_number"],
        )
        same = [ranges.c[name] == row[name] for name in ("run_id", "pass_number", "number")]
        error = "this row was altered: its seal does not match"
        connection.execute(update(ranges).where(*same).values(done=1, owner=None, error=error))

    def checkpoint(
        self,
        connection: Connection,
        claim: Claim,
        counts: Counts,
        seconds: float,
        position: Key | None = None,
        *,
        done: bool = False,
    ) -> Claim:
        """Record a range's progress and renew its lease, in the transaction that wrote its rows.

        :param counts: since the last checkpoint.
        :param position: the last key done; ``None`` if it has not changed.
        :returns: the range as now stored.
        :raises LeaseLostError: another worker has it; roll back the transaction.
        """
        now = claim.after(counts, position)
        parameters = {f"of_{name}": getattr(claim, name) for name in _MINE} | {
            f"of_{name}": getattr(now.counts, name) for name in COUNTED
        }
        parameters |= {
            "of_seconds": seconds,
            "of_position": now.position,
            "of_done": int(done),
            "of_seal": now.seal(self._seals, done=done),
        }
        if connection.execute(self._checkpoint, parameters).rowcount != 1:
            raise LeaseLostError
        return now

    def release(self, connection: Connection, claim: Claim, error: str | None = None) -> None:
        """Release a range for another worker to continue."""
        connection.execute(
            update(ranges)
            .where(*_my_range(claim))
            .values(owner=None, lease_until=0, claims=claim.claims + 1, error=error)
        )

    def position(self, connection: Connection, claim: Claim) -> Claim:
        """The range as stored, after a COMMIT without an answer.

        :raises LeaseLostError: another worker has it, or somebody else wrote the row.
        """
        statement = select(ranges).where(*_my_range(claim))
        row = connection.execute(statement).mappings().first()
        verified = None if row is None or row["done"] else self._verified(row, claim.begun)
        if verified is None:
            raise LeaseLostError
        return verified

    def _of_pass(self, run: Run) -> list[Any]:
        return [ranges.c.run_id == run.id, ranges.c.pass_number == run.pass_number]

    def _verified(self, row: Any, begun: str | None) -> Claim | None:
        """The range, if a worker of this run wrote its row in the pass begun at that time."""
        claim = Claim.of(row, begun or "")
        if claim is None or row["done"] not in (0, 1):
            return None
        return claim if claim.fits(self._seals, row["seal"], done=bool(row["done"])) else None

    # -- the quarantine ------------------------------------------------------------------------

    def quarantine(
        self,
        connection: Connection,
        claim: Claim,
        key_names: Sequence[str],
        refused: Sequence[RefusedValue],
    ) -> None:
        """Record values that do not open, replacing older records of the same values.

        :param key_names: the columns of the table's primary key.
        """
        rows = [_quarantine_row(claim, key_names, refused_value) for refused_value in refused]
        for row in rows:
            connection.execute(
                delete(quarantine)
                .where(quarantine.c.run_id == row["run_id"])
                .where(quarantine.c.key_hash == row["key_hash"])
                .where(quarantine.c.column_name == row["column_name"])
            )
        connection.execute(insert(quarantine), rows)


class _Chain:
    """Checks that ranges, in order, begin where the previous one ended."""

    def __init__(self) -> None:
        self._until: str | None = None
        self._is_broken = False
        self._has_begun = False
        self.is_whole = False

    def add(self, claim: Claim) -> None:
        if self.is_whole:
            return
        if claim.lower != self._until or (claim.lower is None) == self._has_begun:
            self._is_broken = True
        self._has_begun = True
        self._until = claim.upper
        self.is_whole = claim.upper is None and not self._is_broken


def _reclaimed(claim: Claim) -> Claim:
    return replace(claim, claims=claim.claims + 1)


def _my_range(claim: Claim) -> list[Any]:
    return [ranges.c[name] == getattr(claim, name) for name in _MINE]


def _checkpoint(now: ColumnElement[float]) -> Update:
    """The statement of :meth:`RangeStore.checkpoint`."""
    counts: dict[str, Any] = {column: bindparam(f"of_{name}") for name, column in COUNTED.items()}
    return (
        update(ranges)
        .where(*(ranges.c[name] == bindparam(f"of_{name}") for name in _MINE))
        .values(
            lease_until=now + bindparam("of_seconds"),
            position_key=bindparam("of_position"),
            done=bindparam("of_done"),
            seal=bindparam("of_seal"),
            **counts,
        )
    )


def _quarantine_row(
    claim: Claim, key_names: Sequence[str], refused: RefusedValue
) -> dict[str, Any]:
    key = key_to_text(refused.key)
    return {
        "run_id": claim.run_id,
        "key_hash": hashlib.sha256(key.encode("utf-8")).hexdigest(),
        "column_name": refused.column,
        "pass_number": claim.pass_number,
        "row_key": json.dumps(readable_key(key_names, key)),
        "reason": refused.reason[:64],
        "message": refused.message,
        "found_at": utc_now(),
    }
