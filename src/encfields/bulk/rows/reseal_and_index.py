"""The runs that move values as :mod:`~encfields.bulk.rows.reseal` does, and the blind indexes of a
row with them: with the values as they are, or converted from one inner type to another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from encfields.bulk.rows.places import SealedCell, message_bytes
from encfields.bulk.rows.prepared_job import PreparedJob
from encfields.bulk.rows.reader import BatchReader
from encfields.bulk.rows.reseal import Reseal
from encfields.bulk.rows.row_work import ABSENT, OF_THIS_VALUE, BatchOutcome, RowChange
from encfields.bulk.rows.run_keys import RunKeys
from encfields.bulk.rows.types_as_data import type_from_data
from encfields.codecs.conversion import Conversion
from encfields.errors import EncFieldsError, KeyStoreError
from encfields.message.header import CONTEXT_OFFSET
from encfields.message.reseal import Resealer

if TYPE_CHECKING:
    from encfields.engine import Encryption


class _IndexPlace(NamedTuple):
    name: str
    at: int
    sources: tuple[int, ...]


class IndexPlaces:
    """Positions of a job's blind indexes in a row, and of the columns they are computed from.

    :param prepared: the job.
    :ivar needed: numbers of the encrypted columns that they are computed from.
    """

    def __init__(self, prepared: PreparedJob) -> None:
        reader = BatchReader(prepared)
        numbers = {column.name: i for i, column in enumerate(prepared.columns)}
        self._value_start = reader.value_start
        self._each = tuple(
            _IndexPlace(index.name, at, tuple(numbers[name] for name in index.columns))
            for at, index in enumerate(prepared.job.spec.indexes, start=reader.indexes_start)
        )
        self.needed = frozenset(i for place in self._each for i in place.sources)

    def are_missing(self, row: Sequence[Any]) -> bool:
        """Whether an index is NULL although its values are there."""
        start = self._value_start
        return any(
            row[place.at] is None and all(row[start + i] is not None for i in place.sources)
            for place in self._each
        )

    def stored(self, row: Sequence[Any]) -> tuple[bytes | None, ...]:
        """The stored indexes."""
        values = [row[place.at] for place in self._each]
        return tuple(None if value is None else bytes(value) for value in values)


class RowIndexes(IndexPlaces):
    """Computes a job's blind indexes.

    :param keys: gives the beacon keys.
    """

    def __init__(self, prepared: PreparedJob, keys: RunKeys) -> None:
        super().__init__(prepared)
        self._definitions = prepared.job.spec.indexes
        self._keys = keys

    def compute(
        self,
        row_key: tuple[Any, ...],
        plaintexts: Sequence[bytes | None],
        key_ids: Sequence[str],
        outcome: BatchOutcome,
    ) -> tuple[bytes | None, ...] | None:
        """The indexes to store.

        :param plaintexts: of the encrypted columns; ``None`` for NULL.
        :param key_ids: branch key ids of the encrypted columns.
        :returns: ``None`` if one cannot be computed and its value was quarantined.
        :raises KeyStoreError: a beacon key cannot be fetched.
        """
        values = []
        for place, index in zip(self._each, self._definitions, strict=True):
            try:
                given = [plaintexts[i] for i in place.sources]
                values.append(index.of_plaintexts(given, key_ids[place.sources[0]], self._keys))
            except EncFieldsError as error:
                if isinstance(error, KeyStoreError) and not self._keys.is_of_some_rows(error):
                    raise
                outcome.refuse(row_key, place.name, error)
                return None
        return tuple(values)


@dataclass(slots=True)
class ValueInWork:
    """One value of a row while the run works on it.

    :ivar place: its context, and the branch key ids under which it opens.
    :ivar data: the stored message; ``None`` for NULL.
    :ivar is_current: it needs no work.
    :ivar moves: it will be bound elsewhere, so its blind index changes.
    """

    place: tuple[bytes, tuple[str, ...]] = (b"", ("",))
    data: bytes | None = None
    is_current: bool = True
    moves: bool = False
    frame: bytes = b""
    resealer: Resealer = field(init=False)
    plaintext: bytes | None = None
    new: bytes | None = None


class ResealAndIndex(Reseal):
    """Also fills blind indexes, even of current values.

    A row's indexes are computed if one is NULL, if a value moves to another context or key id, or
    if the job reindexes every row. See :class:`~encfields.bulk.rows.row_work.RowWork`.
    """

    def __init__(self, prepared: PreparedJob, encryption: Encryption) -> None:
        super().__init__(prepared, encryption)
        self._indexes = RowIndexes(prepared, self._keys)
        self._reindexes = prepared.job.spec.reindex
        self.sweeps_by_header = not self._reindexes

    def outcome_of(self, rows: Sequence[Any], reader: BatchReader) -> BatchOutcome:
        outcome = BatchOutcome(seen=len(rows))
        self._resealers = {}
        for row in map(tuple, rows):
            refused = len(outcome.refused)
            change = self._row(row, reader, outcome)
            if change is not None:
                outcome.changes.append(change)
            elif len(outcome.refused) == refused:
                outcome.current += 1
        return outcome

    def _row(self, row: Any, reader: BatchReader, outcome: BatchOutcome) -> RowChange | None:
        refused = len(outcome.refused)
        key = reader.key_of(row)
        cells = [self._place(row, i, key, outcome) for i in range(len(self._columns))]
        computes = self._reindexes or self._indexes.are_missing(row)
        computes = computes or any(cell.moves for cell in cells)
        for i, cell in enumerate(cells):
            if cell.data is not None and (
                not cell.is_current or (computes and i in self._indexes.needed)
            ):
                self._open_cell(row, i, cell, key, outcome)
        indexes = None
        if computes and len(outcome.refused) == refused:
            plaintexts = [cell.plaintext for cell in cells]
            key_ids = [cell.place[1][0] for cell in cells]
            indexes = self._indexes.compute(key, plaintexts, key_ids, outcome)
            if indexes == self._indexes.stored(row):
                indexes = None
        # If one value does not open, none moves: their indexes could not follow.
        stays = len(outcome.refused) > refused
        new = tuple(None if stays and cell.moves else cell.new for cell in cells)
        if indexes is None and new.count(None) == len(new):
            return None
        needed = self._indexes.needed if indexes is not None else ()
        old = tuple(
            (cell.data or ABSENT) if i in needed or new[i] is not None else None
            for i, cell in enumerate(cells)
        )
        return RowChange(key, old, new, indexes, self._plain(row, new))

    def _plain(self, row: Any, new: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """The expected contents of the run's plaintext columns."""
        return None

    def _place(self, row: Any, number: int, key: Any, outcome: BatchOutcome) -> ValueInWork:
        """A value's place, and whether it is bound to it."""
        target, _ = self._columns[number]
        stored = row[target.value_at]
        cell = ValueInWork()
        try:
            data = b"" if stored is None else message_bytes(stored)
            context, (key_id, *_) = cell.place = target.place(row, data)
            if stored is None:
                return cell
            resealer = self._resealers.get(key_id) or self._resealer(key_id)
            frame = resealer.frame(context)
            cell.is_current = resealer.is_current(data, context)
            cell.moves = not data.startswith(frame, CONTEXT_OFFSET - 2)
            cell.resealer, cell.frame, cell.data = resealer, frame, data
        except OF_THIS_VALUE as error:
            if stored is not None:
                outcome.refuse(key, target.binding.column_name, error)
        return cell

    def _open_cell(
        self, row: Any, number: int, cell: ValueInWork, key: Any, outcome: BatchOutcome
    ) -> None:
        target, source = self._columns[number]
        assert cell.data is not None  # noqa: S101 - the caller looked
        try:
            cell.plaintext = self._open(row, cell.data, source, cell.resealer, cell.place)
            if not cell.is_current:
                cell.new = cell.resealer.seal(cell.plaintext, cell.place[0], cell.frame)
        except OF_THIS_VALUE as error:
            outcome.refuse(key, target.binding.column_name, error)

    def needs_work(self, rows: Sequence[Any], reader: BatchReader) -> bool:
        return super().needs_work(rows, reader) or any(map(self._indexes.are_missing, rows))


class Convert(ResealAndIndex):
    """Opens every value of the columns to be converted, and seals again those of the former type,
    in their places, losing nothing.

    No header tells the type, so sweeps open the values again. What was converted is in place and
    of the new type, so a run that is broken off and taken up again converts nothing twice. See
    :class:`~encfields.bulk.rows.row_work.RowWork`.
    """

    def __init__(self, prepared: PreparedJob, encryption: Encryption) -> None:
        super().__init__(prepared, encryption)
        self.sweeps_by_header = False
        conversions = prepared.job.conversions or {}
        self._conversions: dict[int, Conversion] = {}
        for number, column in enumerate(prepared.columns):
            if column.name in conversions:
                was, to = map(type_from_data, conversions[column.name])
                self._conversions[number] = Conversion(was, to, prepared.dialect)

    def _place(self, row: Any, number: int, key: Any, outcome: BatchOutcome) -> ValueInWork:
        cell = super()._place(row, number, key, outcome)
        conversion = self._conversions.get(number)
        if conversion is None or cell.data is None:
            return cell
        target, source = self._columns[number]
        try:
            stored = self._open(row, cell.data, source, cell.resealer, cell.place)
            cell.plaintext = conversion.of(stored, self._is_old(row, source, cell))
        except OF_THIS_VALUE as error:
            outcome.refuse(key, target.binding.column_name, error)
            return cell
        # Recompute its blind index: the two types may normalise the same text differently,
        # such as 5 as an integer and as a decimal.
        cell.moves = True
        if cell.plaintext != stored:
            cell.is_current = False
        return cell

    def _is_old(self, row: Any, source: SealedCell, cell: ValueInWork) -> bool | None:
        """Whether a value has the former type, judged by its binding."""
        context, data = cell.place[0], cell.data or b""
        if not self._moves or source.place(row, data)[0] == context:
            return None
        return not data.startswith(context, CONTEXT_OFFSET)

    def _open_cell(
        self, row: Any, number: int, cell: ValueInWork, key: Any, outcome: BatchOutcome
    ) -> None:
        if number not in self._conversions:
            super()._open_cell(row, number, cell, key, outcome)
        elif cell.plaintext is not None and not cell.is_current:
            # A refused value stays as it is.
            cell.new = cell.resealer.seal(cell.plaintext, cell.place[0], cell.frame)
