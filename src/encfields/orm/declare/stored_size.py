"""The bytes of a stored value: exact for one value, the maximum for a column."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from sqlalchemy import types as sqltypes

from encfields.identity import IdentityKind
from encfields.message import sealed_size
from encfields.orm.declare.row_keys import kind_of, stored_type

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Column

    from encfields.codecs import Codec
    from encfields.context import RowContext

MAX_UTF8_BYTES = 4
"""Most bytes of one character."""


class StoredValues(Protocol):
    """What determines the size of a column's values; ``ColumnBinding`` is one."""

    @property
    def codec(self) -> Codec:
        """What encodes them."""

    @property
    def context(self) -> RowContext:
        """The encryption context of each."""

    @property
    def identity(self) -> tuple[Column[Any], ...]:
        """The columns that identify a row."""

    def key_id(self, texts: Sequence[str]) -> str:
        """The branch key id of a row, by the canonical texts of its identity."""


_FIXED_TEXTS = {IdentityKind.UUID: 36, IdentityKind.DATE: 10}


def stored_size(binding: StoredValues, plaintext_bytes: int, texts: Sequence[str]) -> int:
    """Exact size of one stored value, in bytes.

    :param plaintext_bytes: length of the plaintext.
    :param texts: canonical texts of the row's identity.
    """
    key_id = binding.key_id(texts).encode("utf-8")
    return sealed_size(plaintext_bytes, len(binding.context.serialize(texts)), len(key_id))


def max_stored_size(binding: StoredValues) -> int | None:
    """Size of the column's longest stored value in bytes; ``None`` if unlimited."""
    plaintext = binding.codec.max_bytes
    texts = [max_text_bytes(column) for column in binding.identity]
    if plaintext is None or None in texts:
        return None
    known = [length or 0 for length in texts]
    longest = map(_longest_in_a_key_id, binding.identity, known)
    key_id = binding.key_id(list(longest)).encode("utf-8")
    names = binding.context.serialize([""] * len(known))
    return sealed_size(plaintext, len(names) + sum(known), len(key_id))


def _longest_in_a_key_id(column: Column[object], length: int) -> str:
    """A text of this many bytes that is longest when encoded in a key id."""
    is_text = kind_of(column.type) in (IdentityKind.TEXT, IdentityKind.CHAR)
    return ("%" if is_text else "0") * length


def max_text_bytes(column: Column[object]) -> int | None:
    """Longest canonical text, in UTF-8 bytes, of a column that identifies a row."""
    kind = kind_of(column.type)
    stored = stored_type(column.type, None)
    if kind is IdentityKind.INTEGER:
        return _integer_bytes(stored)
    if kind in _FIXED_TEXTS:
        return _FIXED_TEXTS[kind]
    if isinstance(stored, sqltypes.Enum):
        return max(len(name.encode("utf-8")) for name in stored.enums)
    length: int | None = getattr(stored, "length", None)
    if length is None:
        return None
    return 2 * length if kind is IdentityKind.BINARY else MAX_UTF8_BYTES * length


def _integer_bytes(stored: object) -> int:
    if isinstance(stored, sqltypes.BigInteger):
        return 20  # -9223372036854775808, and MariaDB's unsigned 18446744073709551615
    return 6 if isinstance(stored, sqltypes.SmallInteger) else 11
