"""Runs between plaintext and encrypted columns: adopt plaintext, refill it, decrypt.

Each is a :class:`~encfields.bulk.rows.row_work.RowWork`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from encfields.bulk.rows.equal_values import is_same_value
from encfields.bulk.rows.places import SealedCell, message_bytes
from encfields.bulk.rows.prepared_job import PreparedJob
from encfields.bulk.rows.reader import UNREADABLE, BatchReader
from encfields.bulk.rows.reseal_and_index import ResealAndIndex, ValueInWork
from encfields.bulk.rows.row_work import OF_THIS_VALUE, BatchOutcome, RowChange, same_value
from encfields.bulk.rows.run_keys import RunKeys
from encfields.bulk.rows.stored_keys import may_be_uuid
from encfields.codecs import codec_for
from encfields.codecs.temporal import is_day
from encfields.errors import (
    DeclarationError,
    EncFieldsError,
    ValueDecodingError,
    ValueEncodingError,
)
from encfields.message import open_
from encfields.message.reseal import Resealer
from encfields.orm.adoption.text_form import TextForm

if TYPE_CHECKING:
    from encfields.engine import Encryption

_UNREADABLE = (ValueDecodingError, ValueEncodingError, *OF_THIS_VALUE)


class PlaintextReader:
    """Turns a plaintext column's stored bytes into the encrypted column's plaintext.

    :param number: the plaintext column's number in the job.
    """

    def __init__(self, prepared: PreparedJob, number: int) -> None:
        start = BatchReader(prepared)
        self._dialect = prepared.dialect
        self.at = start.value_end + number
        self._read_at = start.read_places[number]
        declared, value = prepared.plain[number].type, prepared.values[number]
        self._form = TextForm(declared, self._dialect) if self._read_at is None else None
        self._codec = codec_for(value)

    def sealed_form(self, row: Any) -> bytes:
        """The bytes to seal for a row that has plaintext.

        :raises ValueDecodingError: the column's type cannot read the stored bytes.
        :raises ValueEncodingError: the value that the type reads cannot be sealed.
        """
        if self._form is not None:
            value = self._form.value(bytes(row[self.at]))
        elif (value := row[self._read_at]) is UNREADABLE or value is None:
            raise ValueDecodingError(
                "the plaintext cannot be read: the database rejects the SQL by which its type "
                "reads it",
                reason="plaintext",
            )
        if is_day(value):  # which equals no datetime in SQLite, and is kept by either type
            return self._codec.encode(value, self._dialect)
        # Refuse what the encrypted column would round: its digits would be lost with the plaintext.
        return self._codec.encode_asked(value, self._dialect)


class Adopt(ResealAndIndex):
    """Seals the plaintext of rows without a sealed value, and fills their blind indexes.

    A value is stored only if the row still has no sealed value and its plaintext is the same, byte
    for byte. Plaintext that the column's type cannot read is quarantined.
    """

    def __init__(self, prepared: PreparedJob, encryption: Encryption) -> None:
        _require_known_keys(prepared)
        super().__init__(prepared, encryption)
        self.sweeps_by_header = False
        self._readers = {
            number: PlaintextReader(prepared, at)
            for at, number in enumerate(prepared.adopted_numbers)
        }

    def _place(self, row: Any, number: int, key: Any, outcome: BatchOutcome) -> ValueInWork:
        cell = super()._place(row, number, key, outcome)
        target, _ = self._columns[number]
        if row[target.value_at] is not None or number not in self._readers:
            return cell
        reader = self._readers[number]
        if row[reader.at] is None:
            return cell
        try:
            context, (key_id, *_) = cell.place = target.place(row, b"")
            cell.plaintext = reader.sealed_form(row)
            resealer = self._resealers.get(key_id) or self._resealer(key_id)
            cell.new = resealer.seal(cell.plaintext, context, resealer.frame(context))
            # So that its blind index is computed.
            cell.moves = True
        except _UNREADABLE as error:
            _drop_storing_note(error)
            outcome.refuse(key, target.binding.column_name, error)
        return cell

    def _plain(self, row: Any, new: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(
            bytes(row[reader.at])
            if row[self._columns[number][0].value_at] is None and new[number] is not None
            else None
            for number, reader in self._readers.items()
        )

    def needs_work(self, rows: Sequence[Any], reader: BatchReader) -> bool:
        return True


def _require_known_keys(prepared: PreparedJob) -> None:
    """Check that the spelling of the keys that plaintext will be bound to is known.

    :raises DeclarationError: a key may hold UUIDs, and the job does not say.
    """
    for stated, binding in zip(prepared.job.spec.columns, prepared.targets, strict=True):
        unsure = [column.name for column in binding.identity if may_be_uuid(column)]
        if stated.uuids is None and unsure:
            name = unsure[0]
            raise DeclarationError(
                f"{name} is CHAR(32), which may be a UUID or text, and values are bound to it: "
                f"give into=SealedColumn({stated.name!r}, ..., uuids=[{name!r}]), or uuids=[] "
                "where it is text",
                table=prepared.job.table_name,
                column=name,
                reason="uuids",
            )


def _drop_storing_note(error: EncFieldsError) -> None:
    error.message = error.message.removesuffix("; nothing was stored")


class Refill:
    """Writes the plaintext of rows that have only a sealed value, and reseals that value.

    Since the sealed bytes change together with the plaintext, the adoption trigger keeps both.
    Rows that have both are compared: a trigger of the application's own that put something into
    the empty plaintext column would have versions before read that.
    """

    sweeps_by_header = False

    def __init__(self, prepared: PreparedJob, encryption: Encryption) -> None:
        self._keys = RunKeys(encryption, prepared.targets)
        self._dialect = prepared.dialect
        names = prepared.leading_names
        start = BatchReader(prepared).value_end
        values = dict(zip(prepared.adopted_numbers, prepared.values, strict=True))
        self._width = len(prepared.columns)
        self._columns = tuple(
            (
                number,
                prepared.cell(prepared.targets[number], len(names) + number),
                start + at,
                codec_for(value),
            )
            for at, (number, value) in enumerate(values.items())
        )
        self._plain = tuple(PlaintextReader(prepared, at) for at in range(len(values)))

    def outcome_of(self, rows: Sequence[Any], reader: BatchReader) -> BatchOutcome:
        outcome = BatchOutcome(seen=len(rows))
        for row in rows:
            refused = len(outcome.refused)
            old: list[bytes | None] = [None] * self._width
            new: list[bytes | None] = [None] * self._width
            plain: list[Any] = []
            for (number, cell, plain_at, codec), reader_of_plain in zip(
                self._columns, self._plain, strict=True
            ):
                stored = row[cell.value_at]
                is_sealed_only = stored is not None and row[plain_at] is None
                if stored is not None and not is_sealed_only:
                    self._compare(row, cell, codec, reader_of_plain, reader, outcome)
                opened = self._opened(row, cell, codec, reader, outcome) if is_sealed_only else None
                plain.append(None if opened is None else opened[1])
                if opened is not None:
                    old[number], new[number] = message_bytes(stored), opened[0]
            if any(new):
                change = RowChange(reader.key_of(row), tuple(old), tuple(new), None, tuple(plain))
                outcome.changes.append(change)
            elif len(outcome.refused) == refused:
                outcome.current += 1
        return outcome

    def _opened(
        self, row: Any, cell: SealedCell, codec: Any, reader: BatchReader, outcome: BatchOutcome
    ) -> tuple[bytes, Any] | None:
        """A value resealed, and its Python form."""
        try:
            data = message_bytes(row[cell.value_at])
            context, key_ids = cell.place(row, data)
            resealer = Resealer(self._keys.active_key(key_ids[0]), self._keys.find_key)
            frame = resealer.frame(context)
            plaintext = resealer.open_(data, context, frame, key_ids)
            value = codec.decode(plaintext, self._dialect)
            return resealer.seal(plaintext, context, frame), value
        except OF_THIS_VALUE as error:
            outcome.refuse(reader.key_of(row), cell.binding.column_name, error)
            return None

    def _compare(
        self,
        row: Any,
        cell: SealedCell,
        codec: Any,
        plain: PlaintextReader,
        reader: BatchReader,
        outcome: BatchOutcome,
    ) -> None:
        """Quarantine a row whose plaintext is of another value."""
        try:
            data = message_bytes(row[cell.value_at])
            context, key_ids = cell.place(row, data)
            sealed = open_(data, context, self._keys.find_key, key_ids)
            if is_same_value(codec, self._dialect, sealed, plain.sealed_form(row)):
                return
            error: EncFieldsError = ValueDecodingError(_DIFFERENT, reason="different")
        except _UNREADABLE as failure:
            error = failure
        outcome.refuse(reader.key_of(row), cell.binding.column_name, error)

    def needs_work(self, rows: Sequence[Any], reader: BatchReader) -> bool:
        return True


_DIFFERENT = (
    "its sealed value differs from its plaintext, which a trigger of the table may have written: "
    "see to it that none does, then set the plaintext column to NULL in this row, and refill it "
    "again"
)


class ToPlaintext:
    """Decrypts columns into plaintext columns beside them.

    :param prepared: the job. :param encryption: gives the keys.
    """

    sweeps_by_header = False

    def __init__(self, prepared: PreparedJob, encryption: Encryption) -> None:
        self._keys = RunKeys(encryption, prepared.targets)
        self._dialect = prepared.dialect
        names = prepared.leading_names
        count = len(prepared.targets)
        self._columns = tuple(
            (prepared.cell(binding, at), at + count, codec_for(plain.type))
            for at, (binding, plain) in enumerate(
                zip(prepared.targets, prepared.plain, strict=True), start=len(names)
            )
        )

    def outcome_of(self, rows: Sequence[Any], reader: BatchReader) -> BatchOutcome:
        outcome = BatchOutcome(seen=len(rows))
        for row in rows:
            refused = len(outcome.refused)
            old: list[bytes | None] = []
            new: list[Any] = []
            for column, plain_at, codec in self._columns:
                data, value = self._open(row, column, codec, reader, outcome)
                differs = data is not None and not same_value(row[plain_at], value)
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
            plaintext = open_(data, context, self._keys.find_key, key_ids)
            return data, codec.decode(plaintext, self._dialect)
        except OF_THIS_VALUE as error:
            outcome.refuse(reader.key_of(row), column.binding.column_name, error)
            return None, None

    def needs_work(self, rows: Sequence[Any], reader: BatchReader) -> bool:
        return True
