"""The census of blind indexes: rows that have a value and no index of it, counted without a key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from encfields.bulk.rows.description import DerivedColumn
from encfields.bulk.survey.sampling import Sample


@dataclass(slots=True)
class IndexCensus:
    """The rows of one blind index, under one version of its beacon key.

    :ivar column: the index's column, its name in the database.
    :ivar index: the index's name.
    :ivar of: the encrypted columns that it is of.
    :ivar version: of the beacon key.
    :ivar is_there: whether the database has the column.
    :ivar indexed: rows that are in the index.
    :ivar missing: rows that have their values and are not: queries by the index miss them.
    :ivar orphaned: rows that are in the index and lack a value.
    """

    column: str
    index: str
    of: tuple[str, ...]
    version: int
    is_there: bool = True
    indexed: int = 0
    missing: int = 0
    orphaned: int = 0

    @property
    def is_complete(self) -> bool:
        """Whether every row that was looked at and has its values is in the index."""
        return self.is_there and not self.missing

    def to_json(self, sample: Sample | None = None) -> dict[str, Any]:
        """The index as plain data.

        :param sample: what was drawn; totals are then extrapolated beside the counts.
        """
        document: dict[str, Any] = {
            "column": self.column,
            "index": self.index,
            "of": list(self.of),
            "version": self.version,
            "is_there": self.is_there,
            "indexed": self.indexed,
            "missing": self.missing,
            "orphaned": self.orphaned,
        }
        if sample is not None:
            counts = ("indexed", "missing", "orphaned")
            document["estimated"] = {name: sample.extrapolate(document[name]) for name in counts}
        return document


class IndexCount:
    """An index's count under way.

    :param derived: the index.
    :param lengths_at: where in a row the lengths of its values stand; NULL for no value.
    :param null_at: where it stands whether the index is NULL; ``None`` if there is no column.
    """

    def __init__(
        self, derived: DerivedColumn, lengths_at: Sequence[int], null_at: int | None
    ) -> None:
        how = derived.how
        self.result = IndexCensus(
            derived.name, how["index"], derived.columns, how["version"], null_at is not None
        )
        self._lengths_at = tuple(lengths_at)
        self._null_at = null_at

    def add(self, rows: Sequence[Any]) -> None:
        """Count some rows."""
        result = self.result
        for row in rows:
            has_values = all(row[at] is not None for at in self._lengths_at)
            is_indexed = self._null_at is not None and not row[self._null_at]
            if has_values and is_indexed:
                result.indexed += 1
            elif has_values:
                result.missing += 1
            elif is_indexed:
                result.orphaned += 1
