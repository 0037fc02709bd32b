"""The ranges of a run as rows: who works at what, and how far it is.

Everything that must survive a crash is here, and is written in the transaction that writes the
values it speaks of. Who owns a range is a lease on its row, not a lock of a session, so that it
works behind a connection pooler and outlives a lost connection.

Each row bears a seal that only a worker of the run can make. A row without one that fits counts
for nothing: its part of the table is looked at again.
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
"""What tells a claimed range: columns of its row, and of :class:`Claim`."""


@dataclass(frozen=True, slots=True)
class Pass:
    """What a run's workers have noted of a pass.

    :ivar is_open: whether ranges are still to be worked at.
    :ivar is_whole: whether those that are done make up the whole table.
    :ivar counts: of all that was noted.
    """

    is_open: bool
    is_whole: bool
    counts: Counts

    @property
    def found_work(self) -> bool:
        """Whether there was anything to write."""
        return bool(self.counts.written or self.counts.missed)


class RangeStore:
    """Reads and writes the ranges of one run; the caller gives connection and transaction.

    :param dialect_name: of the database. :param opened: the run.
    """

    def __init__(self, dialect_name: str, opened: OpenedRun) -> None:
        self._run_id = opened.id
        self._seals = opened.seals
        self._now = database_now(dialect_name)
        self._locks = dialect_name != "sqlite"
        # Made once, as it runs with every batch.
        self._checkpoint = _checkpoint(self._now)

    # -- passes --------------------------------------------------------------------------------

    def next_pass(self, connection: Connection, run: Run) -> bool:
        """Begin another pass over the table; whether it was this call that began it."""
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
        """What was noted of the present pass, as far as it was a worker that noted it."""
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
        """Give a run its end, if it is still in the same pass; nobody can go on with it then.

        :param sealed_end: takes the job's place.
        :returns: whether it was this call that ended it.
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

    def cut_before(self, connection: Connection, run: Run) -> Key | None:
        """Where the pass before ended its range that began at this pass's frontier.

        :returns: ``None`` if it had none there, or the one without an end.
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

    def carve(
        self, connection: Connection, run: Run, upper: Key | None, owner: str, seconds: float
    ) -> Claim | None:
        """Cut the next range of the pass, from the frontier up to `upper`, and take it.

        :param upper: ``None`` for the last range, which has no end: the table may grow.
        :param owner: who takes it. :param seconds: for how long unless renewed.
        :returns: ``None`` if it was not this call that cut it.
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
        # Whoever may cut this range knows that nobody did: one that is there, somebody put there.
        same_range = [ranges.c[name] == row[name] for name in ("run_id", "pass_number", "number")]
        connection.execute(delete(ranges).where(*same_range))
        connection.execute(insert(ranges).values(lease_until=self._now + seconds, **row))
        return claim

    def claim(self, connection: Connection, run: Run, owner: str, seconds: float) -> Claim | None:
        """Take a range of the pass that nobody works on.

        A range that no worker of the run wrote is set aside.

        :param owner: who takes it. :param seconds: for how long unless renewed.
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
        """Whether a range is somebody's: not for longer than a lease can be."""
        until = ranges.c.lease_until
        return until.between(self._now, self._now + MAX_LEASE_SECONDS)

    def _set_aside(self, connection: Connection, row: Any) -> None:
        log.warning(
            "run %s: range %s of pass %s was altered (its seal does not match lower_key, "
            "upper_key, position_key, done and the counts), and is ignored; that part of the "
            "table is looked at again",
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
        """Say how far a range is, and renew its lease; in the transaction that wrote its rows.

        :param counts: since the last time.
        :param position: the last key that is done; ``None`` if that has not changed.
        :returns: the range as its row has it then.
        :raises LeaseLostError: another worker has it; the transaction is to be rolled back.
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
        """Give a range back for another worker to go on with."""
        connection.execute(
            update(ranges)
            .where(*_my_range(claim))
            .values(owner=None, lease_until=0, claims=claim.claims + 1, error=error)
        )

    def position(self, connection: Connection, claim: Claim) -> Claim:
        """The range as its row has it, after it was not known whether a transaction was kept.

        :raises LeaseLostError: another worker has it, or the row is no longer a worker's.
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
        """The range, if a worker of this run wrote its row in the pass that began then."""
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
        """Note values that do not open; noting one again replaces the older note.

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
    """Ranges in their order: whether each begins where the one before ended."""

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
