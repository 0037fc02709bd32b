"""The blind indexes of a row that a run has opened."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from encfields.bulk.rows.prepared_job import PreparedJob
from encfields.bulk.rows.reader import BatchReader
from encfields.bulk.rows.row_work import BatchOutcome
from encfields.engine import engine_encryption
from encfields.errors import EncFieldsError, KeyStoreError

if TYPE_CHECKING:
    from encfields.engine import Encryption


class _IndexPlace(NamedTuple):
    name: str
    at: int
    sources: tuple[int, ...]


class IndexPlaces:
    """Where a job's blind indexes stand in a row, and what they are computed from.

    :param prepared: the job.
    :ivar needed: which of the job's encrypted columns they are computed from, by number.
    """

    def __init__(self, prepared: PreparedJob) -> None:
        reader = BatchReader(prepared)
        numbers = {column.name: i for i, column in enumerate(prepared.columns)}
        self._value_start = reader.value_start
        self._each = tuple(
            _IndexPlace(index.name, at, tuple(numbers[name] for name in index.columns))
            for at, index in enumerate(prepared.job.spec.indexes, start=reader.indexes_start)
        )
        self.needed = frozenset(i for one in self._each for i in one.sources)

    def are_missing(self, row: Sequence[Any]) -> bool:
        """Whether one is NULL whose values are there."""
        start = self._value_start
        return any(
            row[one.at] is None and all(row[start + i] is not None for i in one.sources)
            for one in self._each
        )

    def stored(self, row: Sequence[Any]) -> tuple[bytes | None, ...]:
        """What they hold now."""
        values = [row[one.at] for one in self._each]
        return tuple(None if value is None else bytes(value) for value in values)


class RowIndexes(IndexPlaces):
    """Computes a job's blind indexes.

    :param encryption: gives the beacon keys.
    """

    def __init__(self, prepared: PreparedJob, encryption: Encryption) -> None:
        super().__init__(prepared)
        self._definitions = prepared.job.spec.indexes
        self._keys = engine_encryption(encryption)

    def compute(
        self,
        row_key: tuple[Any, ...],
        plaintexts: Sequence[bytes | None],
        key_ids: Sequence[str],
        outcome: BatchOutcome,
    ) -> tuple[bytes | None, ...] | None:
        """What they are to hold.

        :param plaintexts: of the encrypted columns, ``None`` for a NULL.
        :param key_ids: branch key ids of the same.
        :returns: ``None`` if one cannot be computed, which is quarantined.
        :raises KeyStoreError: a beacon key cannot be fetched.
        """
        values = []
        for one, index in zip(self._each, self._definitions, strict=True):
            try:
                given = [plaintexts[i] for i in one.sources]
                values.append(index.of_plaintexts(given, key_ids[one.sources[0]], self._keys))
            except KeyStoreError:
                raise
            except EncFieldsError as error:
                outcome.refuse(row_key, one.name, error)
                return None
        return tuple(values)
