"""Judges what a planned blind index would give away, and recommends a length."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from encfields.index.hashing import FULL_BITS
from encfields.index.leakage import Forecast, Frequencies, forecast_of, lengths_to_consider

if TYPE_CHECKING:
    from encfields.bulk.survey.scan import Sample
    from encfields.planner.counting import ValueFrequencies

FEW_VALUES = 16
"""Fewer different values than this are refused: counting the rows identifies them all."""

FEW_ROWS = 100
"""With fewer rows, frequencies do not predict those of the growing table."""

GOOD_SHARE = 0.05
"""Largest share of rows named by counting at which an index is recommended without caution."""

MOST_SHARE = 0.25
"""Largest share of rows named by counting at which an index is not refused."""

EXTRA_ROWS = 1_000
"""Default for the extra rows that a look-up may read: some 20 ms of decryption."""


class Verdict(enum.Enum):
    """The judgement of an index."""

    GOOD = "good"
    CAUTION = "caution"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Advice:
    """The planner's answer about one transform of one column.

    :param verdict: on the length in `bits`; ``REFUSED`` if every length is.
    :param bits: the length recommended, or ``None``.
    :param reason: short word for why: ``"even"`` (frequencies tell little), ``"truncated"``
        (truncation hides them), ``"uneven"``, ``"boolean"``, ``"enum"``, ``"few-values"``,
        ``"few-rows"``, ``"too-costly"`` (what would hide them reads too many rows).
    :param forecasts: of each length considered, the shortest first.
    """

    verdict: Verdict
    bits: int | None
    reason: str
    forecasts: Sequence[Forecast] = ()

    @property
    def chosen(self) -> Forecast | None:
        """The forecast of the length recommended."""
        return next((forecast for forecast in self.forecasts if forecast.bits == self.bits), None)

    @property
    def full(self) -> Forecast | None:
        """The forecast of a full-length index."""
        return next((forecast for forecast in self.forecasts if forecast.bits == FULL_BITS), None)


def judge(share: float) -> Verdict:
    """The verdict on an index by which an outsider names `share` of the rows correctly."""
    if share <= GOOD_SHARE:
        return Verdict.GOOD
    return Verdict.CAUTION if share <= MOST_SHARE else Verdict.REFUSED


def advise(
    frequencies: Frequencies,
    *,
    few_values_of: str | None = None,
    extra_rows: float = EXTRA_ROWS,
    also: Iterable[int] = (),
) -> Advice:
    """Whether, and with how many bits, to index values of these frequencies.

    A full-length index is preferred: it needs no filter, can be unique and answers counts. Next
    comes the longest one that hides enough and reads at most `extra_rows` extra rows.

    :param few_values_of: ``"boolean"`` or ``"enum"``, if the column's type allows few values.
    :param extra_rows: extra rows that a look-up of the rarest value may read.
    :param also: further lengths in bits to consider.
    """
    forecasts: Sequence[Forecast] = ()
    if frequencies.counts:
        lengths = {*lengths_to_consider(frequencies), *also}
        forecasts = [forecast_of(frequencies, bits) for bits in sorted(lengths)]
    if few_values_of is not None:
        return Advice(Verdict.REFUSED, None, few_values_of, forecasts)
    if frequencies.counted_rows < FEW_ROWS:
        return Advice(Verdict.UNKNOWN, None, "few-rows", forecasts)
    if frequencies.distinct_estimate < FEW_VALUES:
        return Advice(Verdict.REFUSED, None, "few-values", forecasts)
    return _by_length(forecasts, extra_rows)


def _by_length(forecasts: Sequence[Forecast], extra_rows: float) -> Advice:
    affordable = [forecast for forecast in forecasts if forecast.extra_rows_most <= extra_rows]
    good = [forecast for forecast in affordable if judge(forecast.outsider_share) is Verdict.GOOD]
    if good:
        reason = "even" if good[-1].bits >= FULL_BITS else "truncated"
        return Advice(Verdict.GOOD, good[-1].bits, reason, forecasts)
    bearable = [
        forecast for forecast in affordable if judge(forecast.outsider_share) is Verdict.CAUTION
    ]
    if bearable:
        best = min(bearable, key=lambda one: (round(one.outsider_share, 2), -one.bits))
        return Advice(Verdict.CAUTION, best.bits, "uneven", forecasts)
    would_do = any(judge(forecast.outsider_share) is not Verdict.REFUSED for forecast in forecasts)
    return Advice(Verdict.REFUSED, None, "too-costly" if would_do else "uneven", forecasts)


_WHATEVER_THE_LENGTH = frozenset({"boolean", "enum", "few-values"})


@dataclass(frozen=True, slots=True)
class Plan:
    """A judgement with its evidence.

    :param table: the table, with its schema if one is named.
    :param bits: the declared or requested length; ``None`` to recommend one.
    :param accepted: why its leakage is acceptable, in the words of whoever accepts it.
    :param name: the name of an index over several columns.
    :param index: what was counted.
    :param frequencies: how often each value occurs, under the branch key with most rows.
    :param key_id: that key, if there are several.
    :param advice: what is recommended.
    :param sample: what was drawn; ``None`` if every row was read.
    """

    table: str
    bits: int | None
    accepted: str | None
    name: str | None
    index: ValueFrequencies
    frequencies: Frequencies
    key_id: str | None
    advice: Advice
    sample: Sample | None

    @property
    def judged(self) -> Forecast | None:
        """The forecast of the requested length, or of the recommended one."""
        bits = self.advice.bits if self.bits is None else self.bits
        return next((forecast for forecast in self.advice.forecasts if forecast.bits == bits), None)

    @property
    def verdict(self) -> Verdict:
        """The verdict on the requested length, or on the recommended one."""
        fixed = self.advice.reason in _WHATEVER_THE_LENGTH
        if self.bits is None or fixed or self.advice.verdict is Verdict.UNKNOWN:
            return self.advice.verdict
        return Verdict.UNKNOWN if self.judged is None else judge(self.judged.outsider_share)

    @property
    def is_refused(self) -> bool:
        """Whether it is refused and its leakage was not accepted."""
        return self.verdict is Verdict.REFUSED and self.accepted is None

    @property
    def nulls(self) -> int:
        """Rows that are NULL in one of the columns; an upper bound for several columns."""
        return sum(column.nulls for column in self.index.columns)

    @property
    def unreadable(self) -> Counter[str]:
        """Values that were not counted, by reason."""
        return sum((column.unreadable for column in self.index.columns), Counter[str]())

    def to_json(self) -> dict[str, Any]:
        """The plan as plain data, for ``json.dumps``."""
        index, frequencies = self.index, self.frequencies
        return {
            "table": self.table,
            "name": self.name,
            "column": index.column,
            "transform": index.transform,
            "verdict": self.verdict.value,
            "refused": self.is_refused,
            "accepted": self.accepted,
            "bits": self.bits,
            "recommended_bits": self.advice.bits,
            "reason": self.advice.reason,
            "rows": frequencies.rows,
            "counted_rows": frequencies.counted_rows,
            "distinct": frequencies.distinct,
            "distinct_estimate": frequencies.distinct_estimate,
            "nulls": self.nulls,
            "encrypted": sum(column.encrypted for column in index.columns),
            "plaintext": sum(column.plaintext for column in index.columns),
            "unreadable": dict(self.unreadable),
            "inapplicable": index.inapplicable,
            "key_id": self.key_id,
            "keys": len(index.by_key),
            "most_common_share": frequencies.most_common_share,
            "repeated_share": frequencies.repeated_share,
            "entropy_bits": frequencies.entropy_bits,
            "min_entropy_bits": frequencies.min_entropy_bits,
            "unique_counts": None if frequencies.is_sample else frequencies.unique_counts,
            "insider_share": None if frequencies.is_sample else frequencies.insider_share,
            "lengths": [asdict(forecast) for forecast in self.advice.forecasts],
            "sample": None if self.sample is None else self.sample.to_json(),
        }
