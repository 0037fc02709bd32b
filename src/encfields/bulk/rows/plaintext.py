"""The run that writes the plaintext of encrypted columns into columns beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from encfields.bulk.rows.places import SealedCell, message_bytes
from encfields.bulk.rows.prepared_job import PreparedJob
from encfields.bulk.rows.reader import BatchReader
from encfields.bulk.rows.row_work import OF_THIS_VALUE, BatchOutcome, RowChange
from encfields.codecs import codec_for
from encfields.engine import engine_encryption
from encfields.message import open_

if TYPE_CHECKING:
    from encfields.engine import Encryption


class ToPlaintext:
    """See :class:`~encfields.bulk.rows.row_work.RowWork`.

    :param prepared: the job. :param encryption: gives the keys.
    """

    sweeps_by_header = False

    def __init__(self, prepared: PreparedJob, encryption: Encryption) -> None:
        self._encryption = encryption
        self._dialect = prepared.dialect
        names = prepared.leading_names
        count = len(prepared.targets)
        self._columns = tuple(
            (prepared.cell(binding, at), at + count, codec_for(plain.type))
            for at, (binding, plain) in enumerate(
                zip(prepared.targets, prepared.plain, strict=True), start=len(names)
            )
        )

    def work(self, rows: Sequence[Any], reader: BatchReader) -> BatchOutcome:
        outcome = BatchOutcome(seen=len(rows))
        for row in rows:
            refused = len(outcome.refused)
            old: list[bytes | None] = []
            new: list[Any] = []
            for column, plain_at, codec in self._columns:
                data, value = self._open(row, column, codec, reader, outcome)
                differs = data is not None and row[plain_at] != value
                old.append(data if differs else None)
                new.append(value if differs else None)
            if any(data is not None for data in old):
                outcome.changes.append(RowChange(reader.key_of(row), tuple(old), tuple(new)))
            elif len(outcome.refused) == refused:
                outcome.current += 1
        return outcome

    def _open(
        self, row: Any, column: SealedCell, codec: Any, reader: BatchReader, outcome: BatchOutcome
    ) -> tuple[bytes | None, Any]:
        if row[column.value_at] is None:
            return None, None
        try:
            data = message_bytes(row[column.value_at])
            context, key_ids = column.place(row, data)
            plaintext = open_(data, context, engine_encryption(self._encryption).find_key, key_ids)
            return data, codec.decode(plaintext, self._dialect)
        except OF_THIS_VALUE as error:
            outcome.refuse(reader.key_of(row), column.binding.column_name, error)
            return None, None

    def needs_work(self, rows: Sequence[Any], reader: BatchReader) -> bool:
        return True
