"""Reseals values for their place, under the active key version."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from encfields.bulk.rows.places import SealedCell, message_bytes
from encfields.bulk.rows.prepared_job import PreparedJob
from encfields.bulk.rows.reader import BatchReader
from encfields.bulk.rows.row_work import OF_THIS_VALUE, BatchOutcome, RowChange
from encfields.engine import engine_encryption
from encfields.message.header import CONTEXT_OFFSET
from encfields.message.reseal import Resealer

if TYPE_CHECKING:
    from encfields.engine import Encryption


_ToReseal = tuple[int, bytes, bytes, bytes, tuple[str, ...]]
"""A value to reseal: its row's number, its message, its context after and before, and the key ids
that may open it. A plain tuple, because every row makes one."""

_STORED = frozenset((bytes, type(None)))
"""Types in which most drivers deliver a stored value."""


def _reseal_together(resealer: Resealer, waiting: Sequence[_ToReseal]) -> list[bytes | None]:
    """The new messages, if all values can be resealed in one call; else ``None`` for each."""
    _, messages, places, contexts, key_ids = zip(*waiting, strict=True)
    if not all(map(resealer.opens_under, set(key_ids))):
        return [None] * len(waiting)
    try:
        return resealer.reseal_many(list(messages), list(contexts), list(places))
    except OF_THIS_VALUE:  # of one key version: find out which values have it
        return [None] * len(waiting)


def _reseal_alone(resealer: Resealer, value: _ToReseal) -> bytes:
    """The new message of one value.

    :raises EncFieldsError: the value does not open.
    """
    _, data, place, context, key_ids = value
    plaintext = resealer.open_(data, context, resealer.frame(context), key_ids)
    return resealer.seal(plaintext, place, resealer.frame(place))


class Reseal:
    """Reseals values that are bound otherwise, or not under the active key version.

    See :class:`~encfields.bulk.rows.row_work.RowWork`.

    :param prepared: the job. :param encryption: gives the keys.
    """

    sweeps_by_header = True

    def __init__(self, prepared: PreparedJob, encryption: Encryption) -> None:
        self._encryption = encryption
        self._columns = prepared.cells()
        self._resealers: dict[str, Resealer] = {}
        self._moves = prepared.job.source is not None

    def outcome_of(self, rows: Sequence[Any], reader: BatchReader) -> BatchOutcome:
        outcome = BatchOutcome(seen=len(rows))
        self._resealers = {}
        rows = list(map(tuple, rows))
        columns = [self._column(rows, *column, reader, outcome) for column in self._columns]
        old = zip(*(replaced for replaced, _ in columns), strict=True)
        new = zip(*(sealed for _, sealed in columns), strict=True)
        unchanged, width = (None,) * len(columns), reader.key_width
        refused = {refused_value.key for refused_value in outcome.refused}
        for row, before, after in zip(rows, old, new, strict=True):
            if after != unchanged:
                outcome.changes.append(RowChange(row[:width], before, after))
            elif not refused or row[:width] not in refused:
                outcome.current += 1
        return outcome

    def _resealer(self, key_id: str) -> Resealer:
        """The resealer for the active version, which is looked up once per batch."""
        resealer = self._resealers.get(key_id)
        if resealer is None:
            keys = engine_encryption(self._encryption)
            resealer = Resealer(keys.active_key(key_id), keys.find_key)
            self._resealers[key_id] = resealer
        return resealer

    def _column(
        self,
        rows: Sequence[Any],
        target: SealedCell,
        source: SealedCell,
        reader: BatchReader,
        outcome: BatchOutcome,
    ) -> tuple[list[bytes | None], list[bytes | None]]:
        """One column's old and new values, ``None`` for rows left as they are."""
        replaced: list[bytes | None] = [None] * len(rows)
        sealed: list[bytes | None] = [None] * len(rows)
        for key_id, values in self._to_reseal(rows, target, source, reader, outcome).items():
            resealer = self._resealers[key_id]
            for value, new in zip(values, _reseal_together(resealer, values), strict=True):
                number, data = value[:2]
                try:
                    sealed[number] = new or _reseal_alone(resealer, value)
                    replaced[number] = data
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
    ) -> dict[str, list[_ToReseal]]:
        """One column's values to reseal, by the branch key id to seal under."""
        together = None if self._moves else self._all_to_reseal(rows, target)
        if together is not None:
            return together
        value_at, resealers, moves = target.value_at, self._resealers, self._moves
        waiting: dict[str, list[_ToReseal]] = {}
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
        return waiting

    def _all_to_reseal(
        self, rows: Sequence[Any], target: SealedCell
    ) -> dict[str, list[_ToReseal]] | None:
        """The same, faster, for the usual case of bindings that differ only in the row's key;
        ``None`` if each value has to be checked, or one is refused."""
        value_at, key_ids = target.value_at, target.binding.fixed_key_ids
        kinds = {type(row[value_at]) for row in rows}
        if key_ids is None or bytes not in kinds or not kinds <= _STORED:
            return None
        try:
            contexts = target.contexts(rows)
            if contexts is None:
                return None
            is_current = self._resealer(key_ids[0]).is_current
            waiting = [
                (number, data, context, context, key_ids)
                for number, (row, context) in enumerate(zip(rows, contexts, strict=True))
                if (data := row[value_at]) is not None and not is_current(data, context)
            ]
        except OF_THIS_VALUE:
            return None
        return {key_ids[0]: waiting} if waiting else {}

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
