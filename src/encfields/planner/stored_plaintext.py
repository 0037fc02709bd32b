"""The canonical plaintext of a stored value, encrypted or not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import type_coerce
from sqlalchemy.types import NullType, TypeEngine

from encfields.bulk.rows.places import ColumnPlaces, ValuePlace
from encfields.codecs import codec_for
from encfields.errors import (
    ContextMismatchError,
    EncFieldsError,
    KeyUnavailableError,
    ValueEncodingError,
)
from encfields.message import open_
from encfields.message.header import MAGIC, as_bytes, read_header
from encfields.orm import internals

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Table
    from sqlalchemy.engine import Dialect

    from encfields.branch_key import FindKey
    from encfields.orm.declare.columns import ColumnBinding


class OpenedValue(NamedTuple):
    """A stored value's plaintext.

    :param data: its canonical plaintext.
    :param key_id: branch key id of its row.
    :param was_encrypted: whether it was opened.
    """

    data: bytes
    key_id: str
    was_encrypted: bool


class ColumnReader:
    """Reads the values of one column.

    :param table: the reflected table.
    :param binding: of the column, encrypted or not.
    :param find_key: opens values; not called if none is encrypted.
    :raises DeclarationError: values of the column's type cannot be encrypted.
    :ivar type: the column's type in the database.
    """

    def __init__(
        self, table: Table, binding: ColumnBinding, dialect: Dialect, find_key: FindKey
    ) -> None:
        self.column_name = binding.column_name
        self._places = ColumnPlaces(binding, dialect)
        self._binding = binding
        self._dialect = dialect
        self._find_key = find_key
        self.type: TypeEngine[Any] = table.c[binding.column_name].type
        try:
            self._codec = codec_for(self.type)
        except EncFieldsError as error:
            error.table, error.column = binding.table, binding.column_name
            raise

    def read(self, value: object, identity: Sequence[Any]) -> OpenedValue:
        """The plaintext of a value.

        :param value: as :func:`as_to_read` selects it; not ``None``.
        :param identity: the values of its row's identity.
        :raises DecryptionError: it does not open in its place.
        :raises KeyStoreError: its key cannot be fetched.
        :raises ValueEncodingError: it is not encrypted, and cannot be.
        """
        texts = self._places.texts(identity)
        if texts is None:
            raise ValueEncodingError("a part of the row's identity is NULL", reason="no-identity")
        if isinstance(value, bytes | bytearray | memoryview):
            data = as_bytes(value)
            if data.startswith(MAGIC):
                return self._open(data, texts)
        data = self._codec.encode(value, self._dialect)
        return OpenedValue(data, self._binding.key_id(texts), was_encrypted=False)

    def _open(self, data: bytes, texts: Sequence[str]) -> OpenedValue:
        place = ValuePlace(self._binding, texts)
        try:
            plaintext = open_(data, place.context, self._find_key, place.key_ids)
        except ContextMismatchError:
            other = self._places.find(texts, read_header(data).context)
            if other.context == place.context:
                raise
            plaintext = open_(data, other.context, self._find_key, other.key_ids)
        except KeyUnavailableError as error:
            error.table, error.column = self._binding.table, self.column_name
            raise
        return OpenedValue(plaintext, place.key_id, was_encrypted=True)


def as_to_read(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """A binary column without result processing, as for messages; another as its own values."""
    return (
        type_coerce(column, NullType()) if isinstance(column.type, internals.ANY_BINARY) else column
    )
