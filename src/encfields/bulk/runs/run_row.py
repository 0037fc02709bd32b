"""The rows of a run and of its ranges, which anybody may have written.

Every field is checked for type and range, so that a row of nonsense raises an error that names the
run and the field, and affects only this run.
"""

from __future__ import annotations

import datetime as dt
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple

from sqlalchemy import Connection, select
from sqlalchemy.exc import DataError

from encfields.bulk.errors import ReencryptionError, RunRefusedError, is_run_id, shown_id
from encfields.bulk.rows.key_order import Bounds
from encfields.bulk.rows.stored_keys import Key, key_from_text, key_to_text
from encfields.bulk.runs.tables import MAX_TABLE_CHARS, runs

RUNNING, FINISHED, QUARANTINED, FAILED, ABANDONED = (
    "running",
    "finished",
    "quarantined",
    "failed",
    "abandoned",
)
"""States of a run. All but the first are final."""

_STATES = frozenset({RUNNING, FINISHED, QUARANTINED, FAILED, ABANDONED})

MAX_PASSES = 1_000_000
MAX_RANGES = 1_000_000_000
MAX_COUNT = 10**15
"""More rows than any table has; sums of such numbers fit into 64 bits."""


class RangeProgress(NamedTuple):
    """A run's progress, which its row's seal covers.

    :param begun: when the pass began, as text.
    :param begun_before: when the previous pass began.
    :param carved: how many ranges were cut.
    :param frontier: the key up to which the table was cut, as text.
    :param done: whether the whole table was cut.
    """

    pass_number: int
    begun: str
    begun_before: str | None
    carved: int
    frontier: str | None
    done: bool

    def seal(self, seals: RunSeals) -> str:
        """The seal that the row must have."""
        return seals.of("run", *self)

    def as_row(self, seals: RunSeals) -> dict[str, Any]:
        """The columns of a run's row."""
        return {
            "pass_number": self.pass_number,
            "pass_begun": self.begun,
            "begun_before": self.begun_before,
            "carved": self.carved,
            "frontier": self.frontier,
            "frontier_done": int(self.done),
            "seal": self.seal(seals),
        }


@dataclass(frozen=True, slots=True)
class Run:
    """A run's row.

    :ivar sealed: its sealed job or, after its end, the sealed end.
    :ivar seal: proves `progress`.
    """

    id: str
    table_name: str
    kind: str | None
    fingerprint: str
    sealed: str
    state: str
    paused: bool
    progress: RangeProgress
    seal: str | None
    estimated_rows: int
    created_at: dt.datetime
    error: str | None

    @property
    def pass_number(self) -> int:
        """0 for the pass that rewrites, then the number of the sweep."""
        return self.progress.pass_number

    @property
    def frontier_done(self) -> bool:
        """Whether this pass was cut to the table's end."""
        return self.progress.done

    @property
    def frontier(self) -> Key | None:
        """The key up to which this pass was cut. Check the seal first."""
        text = self.progress.frontier
        return None if text is None else key_from_text(text)

    def require_seal(self, seals: RunSeals) -> None:
        """Check that a worker wrote this progress.

        :raises RunRefusedError: somebody else did.
        """
        if not seals.fits(self.seal, "run", *self.progress):
            raise RunRefusedError(
                self.id,
                "seal",
                "it does not match pass_number, pass_begun, begun_before, carved, frontier and "
                "frontier_done, one of which was altered",
                reason="altered",
            )


def read_run(connection: Connection, run_id: str) -> Run:
    """A run's row.

    :raises ReencryptionError: there is no such run.
    :raises RunRefusedError: the row holds what no worker writes.
    """
    row = _fetch(connection, run_id)
    for name, is_right in _FIELDS.items():
        if not is_right(row[name]):
            problem = "it holds a value that no run writes there"
            raise RunRefusedError(run_id, name, problem, reason="malformed-run")
    if (row["active"] == 1) is not (row["state"] == RUNNING):
        # No worker could continue or end it: they write only to an active run.
        problem = f"it does not fit a run whose state is {row['state']}"
        raise RunRefusedError(run_id, "active", problem, reason="malformed-run")
    return Run(
        id=row["id"],
        table_name=row["table_name"],
        kind=row["kind"],
        fingerprint=row["fingerprint"],
        sealed=row["job"],
        state=row["state"],
        paused=bool(row["paused"]),
        progress=RangeProgress(
            row["pass_number"],
            row["pass_begun"] or "",
            row["begun_before"],
            row["carved"],
            row["frontier"],
            bool(row["frontier_done"]),
        ),
        seal=row["seal"],
        estimated_rows=row["estimated_rows"],
        created_at=row["created_at"],
        error=row["error"],
    )


def no_such_run(run_id: str) -> ReencryptionError:
    """The error for a run that was not recorded."""
    return ReencryptionError(f"there is no run {shown_id(run_id)}", reason="no-run")


def _fetch(connection: Connection, run_id: str) -> Mapping[str, Any]:
    """The row, if all of its columns can be read."""
    columns = [runs.c[name] for name in _FIELDS]
    try:
        result = connection.execute(select(*columns).where(runs.c.id == run_id)).mappings()
        row: Mapping[str, Any] | None = result.first()  # type: ignore[assignment]
    except _UNREADABLE:
        row = _fetch_one_by_one(connection, run_id)
    if row is None:
        raise no_such_run(run_id)
    return row


def _fetch_one_by_one(connection: Connection, run_id: str) -> dict[str, Any]:
    row = {}
    for name in _FIELDS:
        try:
            statement = select(runs.c[name]).where(runs.c.id == run_id)
            row[name] = connection.execute(statement).scalar()
        except _UNREADABLE:
            problem = "its content cannot be read as the column's type"
            raise RunRefusedError(run_id, name, problem, reason="malformed-run") from None
    return row


_UNREADABLE = (ValueError, TypeError, AttributeError, OverflowError, DataError)
"""What drivers and types raise for unreadable content, such as dates beyond Python's range."""


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_text_or_null(value: object) -> bool:
    return value is None or isinstance(value, str)


def _is_short(most: int) -> Callable[[object], bool]:
    return lambda value: isinstance(value, str) and len(value) <= most


def _is_number(least: int, most: int) -> Callable[[object], bool]:
    return lambda value: type(value) is int and least <= value <= most


_FIELDS: dict[str, Callable[[Any], bool]] = {
    "id": is_run_id,
    "table_name": _is_short(MAX_TABLE_CHARS),
    "kind": _is_text_or_null,
    "fingerprint": _is_text,
    "job": _is_text,
    "active": lambda value: value is None or (type(value) is int and value == 1),
    "state": lambda value: isinstance(value, str) and value in _STATES,
    "paused": _is_number(0, 1),
    "pass_number": _is_number(0, MAX_PASSES),
    "pass_begun": _is_text_or_null,
    "begun_before": _is_text_or_null,
    "carved": _is_number(0, MAX_RANGES),
    "frontier": _is_text_or_null,
    "frontier_done": _is_number(0, 1),
    "seal": _is_text_or_null,
    "estimated_rows": _is_number(0, MAX_COUNT),
    "created_at": lambda value: isinstance(value, dt.datetime),
    "error": _is_text_or_null,
}
"""The valid content of each column."""


@dataclass(slots=True)
class Counts:
    """Counts of rows by what happened to them, and of values that did not open."""

    seen: int = 0
    written: int = 0
    current: int = 0
    missed: int = 0
    refused: int = 0

    def __bool__(self) -> bool:
        return bool(self.seen or self.written or self.current or self.missed)

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.seen + other.seen,
            self.written + other.written,
            self.current + other.current,
            self.missed + other.missed,
            self.refused + other.refused,
        )


COUNTED = {
    "seen": "rows_seen",
    "written": "rows_written",
    "current": "rows_current",
    "missed": "rows_missed",
    "refused": "values_refused",
}
"""The column of each count."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A range that belongs to this worker while its row has this value of ``claims``.

    :ivar begun: when its pass began. :ivar lower: the key before it, as text.
    :ivar upper: its last key, as text. :ivar position: the last key done, as text.
    :ivar counts: since it was cut.
    """

    run_id: str
    pass_number: int
    begun: str
    number: int
    claims: int
    lower: str | None
    upper: str | None
    position: str | None
    counts: Counts = field(default_factory=Counts)

    @property
    def bounds(self) -> Bounds:
        """The part that is left."""
        return Bounds(_key(self.position), _key(self.upper))

    def after(self, counts: Counts, position: Key | None) -> Claim:
        """The range after more progress.

        :param position: ``None`` if it has not changed.
        """
        text = self.position if position is None else key_to_text(position)
        return replace(self, counts=self.counts + counts, position=text)

    def seal(self, seals: RunSeals, *, done: bool) -> str:
        """The seal that its row must have."""
        return seals.of(*self._sealed(done))

    def fits(self, seals: RunSeals, seal: object, *, done: bool) -> bool:
        """Whether a worker of the run wrote this range."""
        return seals.fits(seal, *self._sealed(done))

    def _sealed(self, done: bool) -> tuple[str | int | None, ...]:
        counts = (getattr(self.counts, field.name) for field in fields(Counts))
        place = (self.pass_number, self.begun, self.number)
        return ("range", *place, self.lower, self.upper, self.position, done, *counts)

    @classmethod
    def of(cls, row: Any, begun: str) -> Claim | None:
        """The range in a row; ``None`` if no range can have such values."""
        numbers = [row["pass_number"], row["number"], row["claims"]]
        counts = {name: row[column] for name, column in COUNTED.items()}
        texts = [row["lower_key"], row["upper_key"], row["position_key"]]
        if not all(type(number) is int and 0 <= number <= MAX_RANGES for number in numbers):
            return None
        if not all(type(count) is int and 0 <= count <= MAX_COUNT for count in counts.values()):
            return None
        if not all(text is None or isinstance(text, str) for text in texts):
            return None
        pass_number, number, claims = numbers
        place = (row["run_id"], pass_number, begun, number, claims)
        lower, upper, position = texts
        return cls(*place, lower, upper, position, Counts(**counts))


def _key(text: str | None) -> Key | None:
    return None if text is None else key_from_text(text)


SECRET_BYTES = 32


class RunSeals:
    """Seals one run's rows: a MAC over a row's content, under a secret from the run's job.

    Only a worker that opened the job has the secret. An altered row has no matching seal; a
    restored older row was true once, and at worst has work done again.

    :param secret: the run's own.
    """

    __slots__ = ("_started",)

    def __init__(self, secret: bytes) -> None:
        self._started = hmac.new(secret, digestmod="sha256")

    def of(self, *parts: str | int | None) -> str:
        """The seal of a row's content."""
        code = self._started.copy()
        code.update(json.dumps(parts).encode("ascii"))
        return code.hexdigest()

    def fits(self, seal: object, *parts: str | int | None) -> bool:
        """Whether a seal matches its row's content."""
        if not isinstance(seal, str):
            return False
        return hmac.compare_digest(seal.encode("utf-8", "replace"), self.of(*parts).encode())
