"""Reseals values for their place, under the active key version."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from encfields.bulk.rows.places import SealedCell, message_bytes
from encfields.bulk.rows.prepared_job import PreparedJob
from encfields.bulk.rows.reader import BatchReader
from encfields.bulk.rows.row_work import OF_THIS_VALUE, BatchOutcome, RowChange
from encfields.bulk.rows.run_keys import RunKeys
from encfields.message.header import CONTEXT_OFFSET
from encfields.message.reseal import Resealer

if TYPE_CHECKING:
    from encfields.engine import Encryption


class _ToReseal(NamedTuple):
    """Values to reseal, column by column: one object for each value would take longer than most of
    what is done with it.

    :ivar numbers: of their rows, within the batch.
    :ivar messages: as stored.
    :ivar places: contexts to seal for.
    :ivar contexts: of the messages.
    :ivar key_ids: branch key ids under which each may open.
    """

    numbers: Sequence[int]
    messages: list[bytes]
    places: list[bytes]
    contexts: list[bytes]
    key_ids: Sequence[tuple[str, ...]]


_STORED = frozenset((bytes, type(None)))
"""Types in which most drivers deliver a stored value."""


def _reseal_together(resealer: Resealer, values: _ToReseal) -> list[bytes | None]:
    """The new messages, if all values can be resealed in one call; else ``None`` for each."""
    unsealed: list[bytes | None] = [None] * len(values.messages)
    if not all(map(resealer.opens_under, set(values.key_ids))):
        return unsealed
    try:
        return resealer.reseal_many(values.messages, values.contexts, values.places)
    except OF_THIS_VALUE:  # of one key version: find out which values have it
        return unsealed


def _reseal_alone(resealer: Resealer, values: _ToReseal, at: int) -> bytes:
    """The new message of one value.

    :raises EncFieldsError: the value does not open.
    """
    place, context = values.places[at], values.contexts[at]
    frame, key_ids = resealer.frame(context), values.key_ids[at]
    plaintext = resealer.open_(values.messages[at], context, frame, key_ids)
    return resealer.seal(plaintext, place, resealer.frame(place))


class Reseal:
    """Reseals values that are bound otherwise, or not under the active key version.

    See :class:`~encfields.bulk.rows.row_work.RowWork`.

    :param prepared: the job. :param encryption: gives the keys.
    """

    sweeps_by_header = True

    def __init__(self, prepared: PreparedJob, encryption: Encryption) -> None:
        self._keys = RunKeys(
            encryption, (*prepared.targets, *prepared.sources), prepared.job.spec.indexes
        )
        self._columns = prepared.cells()
        self._resealers: dict[str, Resealer] = {}
        self._moves = prepared.job.source is not None

    def outcome_of(self, rows: Sequence[Any], reader: BatchReader) -> BatchOutcome:
        outcome = BatchOutcome(seen=len(rows))
        self._resealers = {}
        if not rows:
            return outcome
        cells = list(zip(*rows, strict=True))
        columns = [self._column(rows, cells, *one, reader, outcome) for one in self._columns]
        keys = list(zip(*cells[: reader.key_width], strict=True))
        old, new = (list(zip(*each, strict=True)) for each in zip(*columns, strict=True))
        if not any(None in sealed for _, sealed in columns):
            outcome.changes = list(map(RowChange, keys, old, new))
            return outcome
        unchanged = (None,) * len(columns)
        refused = {refused_value.key for refused_value in outcome.refused}
        for key, before, after in zip(keys, old, new, strict=True):
            if after != unchanged:
                outcome.changes.append(RowChange(key, before, after))
            elif not refused or key not in refused:
                outcome.current += 1
        return outcome

    def _resealer(self, key_id: str) -> Resealer:
        """The resealer for the active version, which is looked up once per batch."""
        resealer = self._resealers.get(key_id)
        if resealer is None:
            resealer = Resealer(self._keys.active_key(key_id), self._keys.find_key)
            self._resealers[key_id] = resealer
        return resealer

    def _column(
        self,
        rows: Sequence[Any],
        cells: Sequence[Sequence[Any]],
        target: SealedCell,
        source: SealedCell,
        reader: BatchReader,
        outcome: BatchOutcome,
    ) -> tuple[Sequence[bytes | None], Sequence[bytes | None]]:
        """One column's old and new values, ``None`` for rows left as they are.

        :param cells: the values of the rows, column by column.
        """
        stale = None if self._moves else self._all_to_reseal(cells, target)
        if stale is None:
            stale = self._to_reseal(rows, target, source, reader, outcome)
        replaced: list[bytes | None] = [None] * len(rows)
        sealed: list[bytes | None] = [None] * len(rows)
        for key_id, values in stale.items():
            resealer = self._resealers[key_id]
            new = _reseal_together(resealer, values)
            if len(new) == len(rows) and None not in new:
                return values.messages, new
            for at, (number, message) in enumerate(zip(values.numbers, new, strict=True)):
                try:
                    sealed[number] = message or _reseal_alone(resealer, values, at)
                    replaced[number] = values.messages[at]
                except OF_THIS_VALUE as error:
                    outcome.refuse(reader.key_of(rows[number]), target.binding.column_name, error)
        return replaced, sealed

    def _to_reseal(
        self,
        rows: Sequence[Any],
        target: SealedCell,
        source: SealedCell,
        reader: BatchReader,
        outcome: BatchOutcome,
    ) -> dict[str, _ToReseal]:
        """One column's values to reseal, by the branch key id to seal under."""
        value_at, resealers, moves = target.value_at, self._resealers, self._moves
        waiting: dict[str, list[tuple[Any, ...]]] = {}
        for number, row in enumerate(rows):
            data = row[value_at]
            if data is None:
                continue
            try:
                if type(data) is not bytes:
                    data = message_bytes(data)
                context, key_ids = place = target.place(row, data)
                resealer = resealers.get(key_ids[0]) or self._resealer(key_ids[0])
                if not resealer.is_current(data, context):
                    was, may_be = self._opens_as(row, data, source, place) if moves else place
                    value = (number, data, context, was, may_be)
                    waiting.setdefault(key_ids[0], []).append(value)
            except OF_THIS_VALUE as error:
                outcome.refuse(reader.key_of(row), target.binding.column_name, error)
        return {
            key_id: _ToReseal(*map(list, zip(*values, strict=True)))
            for key_id, values in waiting.items()
        }

    def _all_to_reseal(
        self, cells: Sequence[Sequence[Any]], target: SealedCell
    ) -> dict[str, _ToReseal] | None:
        """The same, faster, for the usual case of bindings that differ only in the row's key;
        ``None`` if each value has to be checked, or one is refused."""
        values, key_ids = cells[target.value_at], target.binding.fixed_key_ids
        kinds = set(map(type, values))
        if key_ids is None or bytes not in kinds or not kinds <= _STORED:
            return None
        try:
            contexts = target.contexts(cells)
            if contexts is None:
                return None
            numbers: Sequence[int] = range(len(values))
            if kinds != {bytes}:
                numbers = [number for number, data in enumerate(values) if data is not None]
            numbers = self._resealer(key_ids[0]).stale(numbers, values, contexts)
        except OF_THIS_VALUE:
            return None
        messages: list[bytes] = list(map(values.__getitem__, numbers))
        places = contexts
        if len(numbers) < len(values):
            places = list(map(contexts.__getitem__, numbers))
        if not messages:
            return {}
        return {key_ids[0]: _ToReseal(numbers, messages, places, places, [key_ids] * len(messages))}

    def _open(
        self,
        row: Any,
        data: bytes,
        source: SealedCell,
        resealer: Resealer,
        place: tuple[bytes, tuple[str, ...]],
    ) -> bytes:
        """The plaintext of a value bound as the spec or the source says.

        :param place: context and key ids of where it belongs.
        """
        context, key_ids = self._opens_as(row, data, source, place)
        return resealer.open_(data, context, resealer.frame(context), key_ids)

    def _opens_as(
        self, row: Any, data: bytes, source: SealedCell, place: tuple[bytes, tuple[str, ...]]
    ) -> tuple[bytes, tuple[str, ...]]:
        """The context and key ids with which a value opens.

        :param place: context and key ids of where it belongs.
        """
        context, key_ids = place
        if self._moves:
            was, former_ids = source.place(row, data)
            if was == context:  # only the branch key differs
                key_ids += former_ids
            elif not data.startswith(context, CONTEXT_OFFSET):
                context, key_ids = was, former_ids
        return context, key_ids

    def needs_work(self, rows: Sequence[Any], reader: BatchReader) -> bool:
        self._resealers = {}
        return any(
            row[target.value_at] is not None and not self._is_current(row, target)
            for row in rows
            for target, _ in self._columns
        )

    def _is_current(self, row: Any, target: SealedCell) -> bool:
        data = row[target.value_at]
        if type(data) is not bytes:
            return False
        try:
            context, (key_id, *_) = target.place(row, data)
            resealer = self._resealers.get(key_id) or self._resealer(key_id)
            return resealer.is_current(data, context)
        except OF_THIS_VALUE:
            return False
