"""A planned blind index: what it would give away, and what is advised."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from encfields.index.leakage import Forecast, Frequencies
from encfields.planner.advice import Advice, Verdict, judge

if TYPE_CHECKING:
    from encfields.bulk.survey.scan import Sample
    from encfields.planner.counting import ValueFrequencies

_WHATEVER_THE_LENGTH = frozenset({"boolean", "enum", "few-values"})


@dataclass(frozen=True, slots=True)
class Plan:
    """A judgement with all that it rests on.

    :param table: the table, with its schema where one is named.
    :param bits: the length that is declared or asked about; ``None`` to have one recommended.
    :param accepted: why its leakage is acceptable, in the words of whoever accepts it.
    :param name: of an index over several columns, its name.
    :param index: what was counted.
    :param frequencies: how often each value occurs, under the branch key that most rows are under.
    :param key_id: that key, if there are several.
    :param advice: what is recommended.
    :param sample: what was drawn; ``None`` if every row was looked at.
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
        """The forecast of the length asked about, or else of the one recommended."""
        bits = self.advice.bits if self.bits is None else self.bits
        return next((forecast for forecast in self.advice.forecasts if forecast.bits == bits), None)

    @property
    def verdict(self) -> Verdict:
        """What is thought of the length asked about, or else of the one recommended."""
        fixed = self.advice.reason in _WHATEVER_THE_LENGTH
        if self.bits is None or fixed or self.advice.verdict is Verdict.UNKNOWN:
            return self.advice.verdict
        return Verdict.UNKNOWN if self.judged is None else judge(self.judged.outsider_share)

    @property
    def is_refused(self) -> bool:
        """Whether nobody has accepted what it gives away."""
        return self.verdict is Verdict.REFUSED and self.accepted is None

    @property
    def nulls(self) -> int:
        """Rows that are NULL in one of the columns; of several columns, at most so many."""
        return sum(column.nulls for column in self.index.columns)

    @property
    def unreadable(self) -> Counter[str]:
        """Values that are counted nowhere, by reason."""
        return sum((column.unreadable for column in self.index.columns), Counter[str]())

    def to_json(self) -> dict[str, Any]:
        """The plan as plain data, for ``json.dumps``."""
        index, seen = self.index, self.frequencies
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
            "rows": seen.rows,
            "counted_rows": seen.counted_rows,
            "distinct": seen.distinct,
            "distinct_estimate": seen.distinct_estimate,
            "nulls": self.nulls,
            "encrypted": sum(column.encrypted for column in index.columns),
            "plaintext": sum(column.plaintext for column in index.columns),
            "unreadable": dict(self.unreadable),
            "inapplicable": index.inapplicable,
            "key_id": self.key_id,
            "keys": len(index.by_key),
            "most_common_share": seen.most_common_share,
            "repeated_share": seen.repeated_share,
            "entropy_bits": seen.entropy_bits,
            "min_entropy_bits": seen.min_entropy_bits,
            "unique_counts": None if seen.is_sample else seen.unique_counts,
            "insider_share": None if seen.is_sample else seen.insider_share,
            "lengths": [asdict(forecast) for forecast in self.advice.forecasts],
            "sample": None if self.sample is None else self.sample.to_json(),
        }
