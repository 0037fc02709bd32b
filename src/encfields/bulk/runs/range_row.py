"""A range of a run, as its row keeps it, and as its worker has it in memory."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

from encfields.bulk.rows.reader import Bounds
from encfields.bulk.rows.row_key_text import Key, key_from_text, key_to_text
from encfields.bulk.runs.run_row import MAX_COUNT, MAX_RANGES
from encfields.bulk.runs.seals import RunSeals


@dataclass(slots=True)
class Counts:
    """What happened to rows, and how many values did not open."""

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
    """A range that is this worker's for as long as ``claims`` stands in its row.

    :ivar begun: when its pass began. :ivar lower: the key that it follows, as text.
    :ivar upper: its last key, as text. :ivar position: the last key that is done, as text.
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
        """What is left of it."""
        return Bounds(_key(self.position), _key(self.upper))

    def after(self, counts: Counts, position: Key | None) -> Claim:
        """The range with more of it done.

        :param position: ``None`` if that has not changed.
        """
        text = self.position if position is None else key_to_text(position)
        return replace(self, counts=self.counts + counts, position=text)

    def seal(self, seals: RunSeals, *, done: bool) -> str:
        """The seal that its row is to have."""
        return seals.of(*self._sealed(done))

    def fits(self, seals: RunSeals, seal: object, *, done: bool) -> bool:
        """Whether a worker of the run wrote this."""
        return seals.fits(seal, *self._sealed(done))

    def _sealed(self, done: bool) -> tuple[str | int | None, ...]:
        counts = (getattr(self.counts, one.name) for one in fields(Counts))
        place = (self.pass_number, self.begun, self.number)
        return ("range", *place, self.lower, self.upper, self.position, done, *counts)

    @classmethod
    def of(cls, row: Any, begun: str) -> Claim | None:
        """The range that a row tells of; ``None`` if no range can have such values."""
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
