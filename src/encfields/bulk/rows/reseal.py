"""The run that moves values to their place's context and active key version."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from encfields.bulk.rows.cells import SealedCell, columns_of, message_bytes
from encfields.bulk.rows.changes import OF_THIS_VALUE, Change, Outcome
from encfields.bulk.rows.job import PreparedJob
from encfields.bulk.rows.reader import BatchReader
from encfields.engine import engine_encryption
from encfields.message.header import CONTEXT_OFFSET
from encfields.message.reseal import Resealer

if TYPE_CHECKING:
    from encfields.engine import Encryption


class Reseal:
    """Rewrites values that are not bound as wanted, or not under the active key version.

    See :class:`~encfields.bulk.rows.changes.RowWork`.

    :param prepared: the job. :param encryption: gives the keys.
    """

    sweeps_by_header = True

    def __init__(self, prepared: PreparedJob, encryption: Encryption) -> None:
        self._encryption = encryption
        self._columns = columns_of(prepared)
        self._resealers: dict[str, Resealer] = {}
        self._moves = prepared.job.source is not None

    def work(self, rows: Sequence[Any], reader: BatchReader) -> Outcome:
        outcome = Outcome(seen=len(rows))
        self._resealers = {}
        rows = list(map(tuple, rows))
        columns = [self._column(rows, *column, reader, outcome) for column in self._columns]
        old = zip(*(replaced for replaced, _ in columns), strict=True)
        new = zip(*(sealed for _, sealed in columns), strict=True)
        unchanged, width = (None,) * len(columns), reader.key_width
        refused = {one.key for one in outcome.refused}
        for row, before, after in zip(rows, old, new, strict=True):
            if after != unchanged:
                outcome.changes.append(Change(row[:width], before, after))
            elif not refused or row[:width] not in refused:
                outcome.current += 1
        return outcome

    def _resealer(self, key_id: str) -> Resealer:
        """Of the active version, which is asked for once a batch."""
        found = self._resealers.get(key_id)
        if found is None:
            keys = engine_encryption(self._encryption)
            found = Resealer(keys.active_key(key_id), keys.find_key)
            self._resealers[key_id] = found
        return found

    def _column(
        self,
        rows: Sequence[Any],
        target: SealedCell,
        source: SealedCell,
        reader: BatchReader,
        outcome: Outcome,
    ) -> tuple[list[bytes | None], list[bytes | None]]:
        """One column's old and new values, ``None`` for what stays as it is."""
        replaced: list[bytes | None] = []
        sealed: list[bytes | None] = []
        value_at, resealers = target.value_at, self._resealers
        for row in rows:
            data, new = row[value_at], None
            if data is not None:
                try:
                    if type(data) is not bytes:
                        data = message_bytes(data)
                    context, key_ids = place = target.place(row, data)
                    resealer = resealers.get(key_ids[0]) or self._resealer(key_ids[0])
                    frame = resealer.frame(context)
                    if not resealer.is_current(data, frame):
                        plaintext = self._open(row, data, source, resealer, place)
                        new = resealer.seal(plaintext, context, frame)
                except OF_THIS_VALUE as error:
                    outcome.refuse(reader.key_of(row), target.binding.column_name, error)
            replaced.append(None if new is None else data)
            sealed.append(new)
        return replaced, sealed

    def _open(
        self,
        row: Any,
        data: bytes,
        source: SealedCell,
        resealer: Resealer,
        place: tuple[bytes, tuple[str, ...]],
    ) -> bytes:
        """The plaintext of a value that is bound as wanted, or as the job's source says.

        :param place: where it belongs: context and key ids.
        """
        context, key_ids = place
        if self._moves:
            was, former_ids = source.place(row, data)
            if was == context:  # only the key is another one
                key_ids += former_ids
            elif not data.startswith(context, CONTEXT_OFFSET):
                context, key_ids = was, former_ids
        return resealer.open_(data, context, resealer.frame(context), key_ids)

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
            return resealer.is_current(data, resealer.frame(context))
        except OF_THIS_VALUE:
            return False
