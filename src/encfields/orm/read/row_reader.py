"""The type of a cell that contains an encrypted value with its row's key; it opens the cell::

<tag> ':' <key part> ':' ... <ciphertext>
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy.types import TypeEngine

from encfields.branch_key import FindKey
from encfields.codecs.decorated import null_value
from encfields.codecs.text import TextCodec
from encfields.errors import (
    DecryptionError,
    EncFieldsError,
    KeyDestroyedError,
    KeyStoreError,
    MalformedMessageError,
)
from encfields.legacy import LegacyReader, is_legacy
from encfields.message import core, open_
from encfields.message.cell import SEPARATOR
from encfields.orm.declare.columns import ColumnBinding
from encfields.orm.engine_encryption import EngineEncryption, attachment_of
from encfields.orm.read.delivered_keys import form_of, from_delivered, misspelt
from encfields.orm.read.lazy import LazyCells, carried
from encfields.traces import leaves_no_trace

if TYPE_CHECKING:
    from sqlalchemy import Column
    from sqlalchemy.engine import Dialect

    from encfields.message.core import CellReader


Decode = Callable[[bytes, Any], Any]
"""Converts a plaintext, given the dialect, to a Python value."""

_SECRET = secrets.token_bytes(16)
"""Of this process, so that nobody knows a column's tag who could store a cell where raw SQL, as one
SELECT of a UNION, brings it among this column's."""

AT_ONCE = "_encfields_at_once"
"""Attribute of a function that opens cells, if cells of many rows can be opened together: their
reader, and the function that decodes a plaintext, ``None`` for text."""

_NONE: tuple[BaseException, ...] = ()
_BYTES = frozenset((bytes, bytearray, memoryview))
"""The types in which drivers deliver a binary cell."""


class RowReader(TypeEngine[Any]):
    """The type of a :class:`Packed` cell: opens it for one column.

    :param binding: the encrypted column.
    :param lazy: do not open the cell until its value is requested.
    """

    delivers_row_key = True

    def __init__(self, binding: ColumnBinding, lazy: bool = False) -> None:
        self.binding = binding
        self.lazy = lazy
        self.tag = hashlib.sha256(_SECRET + binding.logical_name.encode("utf-8")).hexdigest()[:6]

    @property
    def key_columns(self) -> tuple[Column[Any], ...]:
        """The columns of the row's key that a cell contains."""
        return self.binding.bound_to

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any]:
        open_cell = self.opener(dialect)
        if not self.lazy:
            return open_cell
        carry = self.opener(dialect, carried)
        deliver = LazyCells(self.binding, dialect, open_cell, carry, self.row_of).deliver
        opened = core.OpenedCell

        def leave_closed(cell: Any) -> Any:
            return deliver(cell.cell if type(cell) is opened else cell)

        return leave_closed

    def opener(self, dialect: Dialect, decode: Decode | None = None) -> Callable[[Any], Any]:
        """The function that opens a cell.

        :param decode: converts the plaintext; default: the column's codec.
        """
        attachment = attachment_of(dialect)
        cells, codec = self._cells(dialect), self.binding.codec
        read = _reads_nothing if cells is None else cells.open
        is_carried = decode is not None
        decode = decode or codec.decode
        the_long_way = leaves_no_trace(_LongWay(self, dialect, decode, is_carried).value)
        opened = core.OpenedCell

        def open_cell(cell: Any) -> Any:
            if type(cell) is opened:
                return cell.value
            encryption, failures = attachment.encryption, _NONE
            if type(cell) in _BYTES and encryption is not None:
                try:
                    data = read(bytes(cell), encryption.find_key)
                    if data is not None:
                        encryption.stats.opened += 1
                        return decode(data, dialect)
                except BaseException as error:
                    failures = (error,)
                data = None
            # This frame stays in an error's traceback, so the cell must not stay in its variables.
            asked = [cell, *failures]
            del cell, encryption, failures
            return the_long_way(asked)

        if cells is not None:
            is_text = decode == codec.decode and type(codec) is TextCodec
            at_once = cells, None if is_text else partial(_decoded, decode, dialect)
            setattr(open_cell, AT_ONCE, at_once)
        return open_cell

    def _cells(self, dialect: Dialect) -> CellReader | None:
        """The reader for nearly every cell, which returns ``None`` for others; ``None`` itself if
        only the long way can read the row's key."""
        binding = self.binding
        if binding.other is not None:
            return None
        forms = [form_of(column.type, dialect) for column in binding.identity]
        known = [form for form in forms if form is not None]
        if len(known) < len(forms):
            return None
        context, pieces = binding.context, binding.key_pieces
        tag = self.tag.encode("ascii")
        return core.CellReader(tag, context.head, context.parts, known, pieces)

    def row_of(self, cell: Any, dialect: Dialect) -> Mapping[str, str]:
        """The identity of a cell's row, by column name.

        :raises ValueError: it is not a cell of this column.
        """
        columns = self.binding.bound_to
        cell = cell.cell if type(cell) is core.OpenedCell else cell
        parts = bytes(cell).split(SEPARATOR, len(columns) + 1)[1:-1]
        texts = {
            column: from_delivered(column.type, dialect)(part)
            for column, part in zip(columns, parts, strict=True)
        }
        return self.binding.row([texts[column] for column in self.binding.identity])


def _reads_nothing(cell: bytes, find_key: FindKey) -> None:
    """Reads no cell in one pass: only the long way can read these."""


def _decoded(decode: Decode, dialect: Dialect, data: bytes) -> Any:
    return decode(data, dialect)


class _LongWay:
    """Opens the cells that are not opened in one pass, and raises the errors for both.

    :param reader: of the column.
    :param is_carried: return values as they are stored, NULL too.
    """

    def __init__(
        self, reader: RowReader, dialect: Dialect, decode: Decode, is_carried: bool
    ) -> None:
        self._binding = binding = reader.binding
        self._is_carried = is_carried
        self._decode = decode
        self._dialect = dialect
        self._attachment = attachment_of(dialect)
        self._tag = reader.tag.encode("ascii")
        self._to_text = tuple(from_delivered(column.type, dialect) for column in binding.bound_to)

    def value(self, asked: list[Any]) -> Any:
        """The value in a cell.

        :param asked: the cell, and the exception from opening it in one pass, if any. It is
            emptied.
        """
        cell, *failures = asked
        asked.clear()
        binding = self._binding
        if cell is None:
            return None if self._is_carried else null_value(binding.codec, self._dialect)
        encryption = self._attachment.encryption or self._attachment.require(
            binding.table, binding.column_name
        )
        way, texts, message = self._parts(cell)
        try:
            for failure in failures:
                raise failure
            context = way.context.serialize(texts)
            data = open_(message, context, encryption.find_key, way.key_ids(texts), by_cache=True)
            encryption.stats.opened += 1
            decode = self._decode if way is binding else way.codec.decode
            return decode(data, self._dialect)
        except EncFieldsError as error:
            return self._value_or_error(error, encryption, way, texts, message)

    def _parts(self, cell: Any) -> tuple[ColumnBinding, list[str], bytes]:
        """The message's binding, the canonical texts of its row's key, and the message."""
        binding = self._binding
        # Text, if the database's column still stores text: plaintext, which is refused with its
        # row.
        packed = cell.encode("utf-8") if isinstance(cell, str) else bytes(cell)
        tag, *parts = packed.split(SEPARATOR, len(self._to_text) + 1)
        if tag != self._tag or len(parts) <= len(self._to_text):
            if isinstance(cell, str):
                raise holds_text(binding)
            raise _not_packed(binding, tag, self._tag)
        *parts, message = parts
        texts = [
            _text_or_none(convert, part) for convert, part in zip(self._to_text, parts, strict=True)
        ]
        way = binding.way_of(message, texts)
        if way is None:
            raise misspelt(binding, parts, self._dialect)
        return *way, message

    def _value_or_error(
        self,
        error: EncFieldsError,
        encryption: EngineEncryption,
        binding: ColumnBinding,
        texts: list[str],
        message: bytes,
    ) -> Any:
        """What to return for a value that did not open, unless that is an error."""
        if is_legacy(error):
            reader = encryption.legacy.get(binding.logical_name)
            if reader is not None:
                return _legacy(reader, binding, texts, message, self._dialect, self._decode)
            _hint(error, binding)
        if _is_destroyed(error) and encryption.destroyed != "raise":
            return encryption.destroyed
        raise _located(error, binding, texts) from None


def _text_or_none(convert: Callable[[bytes], str], part: bytes) -> str | None:
    """A part of a row's key; ``None`` if it is not in the form that its type writes."""
    try:
        return convert(part)
    except ValueError:
        return None


def _malformed(binding: ColumnBinding, message: str, reason: str) -> EncFieldsError:
    return MalformedMessageError(
        message, table=binding.table, column=binding.column_name, reason=reason
    )


def holds_text(binding: ColumnBinding) -> EncFieldsError:
    """The error for a column whose values are text in the database."""
    return _malformed(
        binding,
        "the database's column holds text, so its values are plaintext that was never encrypted: "
        "add an encrypted column beside it, as Alembic's autogenerate describes",
        "text",
    )


def _not_packed(binding: ColumnBinding, tag: bytes, wanted: bytes) -> EncFieldsError:
    """The error for a cell that does not begin with this column's tag.

    :param tag: its tag.
    """
    if tag.replace(b"\0", b"") == wanted:
        return _malformed(
            binding,
            "the SQLite database keeps its texts in UTF-16 (PRAGMA encoding), where no value "
            "can be read together with its row's key: copy it into a database in UTF-8",
            "utf-16",
        )
    return _malformed(
        binding,
        "the cell does not hold this column's value and its row's key: it may come from a UNION "
        "with another encrypted column, or from SQL that was not made by SQLAlchemy",
        "not-packed",
    )


def _is_destroyed(error: EncFieldsError) -> bool:
    """Whether the value's whole key was destroyed on purpose. No value should be under a retired
    version, so that is an error."""
    return isinstance(error, KeyDestroyedError) and error.reason == "destroyed"


def _legacy(
    reader: LegacyReader,
    binding: ColumnBinding,
    texts: list[str],
    message: bytes,
    dialect: Any,
    decode: Decode,
) -> Any:
    """The value of a message that was encrypted by hand, before the column used this library."""
    try:
        data = reader.open(message, binding.row(texts))
        return reader.decode(data) if reader.decode else decode(data, dialect)
    except EncFieldsError as error:
        failure = error
    raise _located(failure, binding, texts)


def _hint(error: EncFieldsError, binding: ColumnBinding) -> None:
    """Add to the error how to read values that were encrypted by hand."""
    if isinstance(error, MalformedMessageError):
        error.message += (
            f". To read such values here: attach(..., legacy={{{binding.logical_name!r}: "
            "LegacyReader(keyring, context=...)})"
        )


def _located(error: EncFieldsError, binding: ColumnBinding, texts: list[str]) -> EncFieldsError:
    """The same error, with table, column and row."""
    if isinstance(error, DecryptionError | KeyStoreError):
        error.table = error.table or binding.table
        error.column = error.column or binding.column_name
        if len(texts) == len(binding.identity):
            error.row = error.row or dict(binding.row(texts))
    return error
