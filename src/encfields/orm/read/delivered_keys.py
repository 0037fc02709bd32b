"""Row keys as the database delivers them with a ciphertext.

A row's identity has one accepted form: exactly the text or bytes that the dialect's type writes.
SQLite stores a BLOB, a number or another spelling in any column, and a CHAR(32) can also contain a
UUID in upper case. To the database those are different rows; if they counted as the same key, the
ciphertext of one would open in the other. So the form is delivered too, and checked here.

The errors for a row's key that cannot identify a value: it is NULL, or in the form of another row.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from encfields.databases import MYSQL_NAMES
from encfields.errors import ContextMismatchError, EncFieldsError, UnreadableError
from encfields.identity import CANONICAL, IdentityKind
from encfields.message.cell import KeyForm
from encfields.orm.declare.row_keys import date_reader, is_native_uuid, is_zero_filled, kind_of

if TYPE_CHECKING:
    from sqlalchemy import Column
    from sqlalchemy.engine import Dialect
    from sqlalchemy.types import TypeEngine

    from encfields.orm.declare.columns import ColumnBinding

NULL_PART = b"!null!"
"""Delivered for a key that is NULL. No other key contains an exclamation mark."""

_MARK = b"!"

_INFINITE_DAYS = {b"infinity": dt.date.max.isoformat(), b"-infinity": dt.date.min.isoformat()}

_INTEGER = re.compile(rb"0|-?[1-9][0-9]*")
_DATE = re.compile(rb"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_HEX_UUID = re.compile(rb"[0-9a-f]{32}")
_HYPHENATED_UUID = re.compile(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

_SQLITE_CLASS = {IdentityKind.INTEGER: "integer", IdentityKind.BINARY: "blob"}
"""SQLite's storage class for each kind of key; text for all others."""


def delivered_sql(column: str, kind: IdentityKind, dialect_name: str) -> str:
    """SQL that yields the row key `column` as ASCII text without a colon, and never NULL.

    Text and binary keys are delivered in hexadecimal, so that no key can imitate another
    key's boundary.

    :param column: the column, as SQL.
    :param kind: the kind of its keys.
    """
    if dialect_name == "sqlite":
        return _sqlite_sql(column, kind)
    if dialect_name == "postgresql":
        text = _postgresql_sql(column, kind)
    elif dialect_name in MYSQL_NAMES:
        text = _mysql_sql(column, kind)
    else:
        text = f"hex({column})" if kind in (IdentityKind.TEXT, IdentityKind.BINARY) else column
    return f"COALESCE({text}, '{NULL_PART.decode()}')"


def _sqlite_sql(column: str, kind: IdentityKind) -> str:
    expected = _SQLITE_CLASS.get(kind, "text")
    value = column if kind is IdentityKind.INTEGER else f"hex({column})"
    other = f"'!' || typeof({column}) || '!' || hex({column})"
    return f"CASE typeof({column}) WHEN '{expected}' THEN {value} ELSE {other} END"


def _postgresql_sql(column: str, kind: IdentityKind) -> str:
    if kind in (IdentityKind.TEXT, IdentityKind.CHAR):
        # casting a blank-padded CHAR to text drops its trailing blanks
        return f"encode(convert_to(CAST({column} AS TEXT), 'UTF8'), 'hex')"
    if kind is IdentityKind.BINARY:
        return f"encode({column}, 'hex')"
    if kind is IdentityKind.DATE:
        # to_char() turns infinity into NULL
        return f"COALESCE(to_char({column}, 'YYYY-MM-DDBC'), CAST({column} AS TEXT))"
    return f"CAST({column} AS TEXT)"


def _mysql_sql(column: str, kind: IdentityKind) -> str:
    if kind is IdentityKind.BINARY:
        return f"HEX({column})"
    if kind is IdentityKind.CHAR:
        # Blanks that the server itself adds. Those in a VARCHAR distinguish rows.
        pads = "FIND_IN_SET('PAD_CHAR_TO_FULL_LENGTH', @@sql_mode)"
        column = f"IF({pads}, RTRIM({column}), {column})"
    if kind in (IdentityKind.TEXT, IdentityKind.CHAR):
        # In other character sets two keys may have the same text in Unicode, which is checked.
        both = f"HEX(CONVERT({column} USING utf8mb4)), '!', CHARSET({column}), '!', HEX({column})"
        as_it_is = f"CHARSET({column}) IN ('utf8mb4', 'utf8mb3', 'utf8', 'binary')"
        return f"IF({as_it_is}, HEX({column}), CONCAT({both}))"
    return f"CAST({column} AS CHAR)"


def from_delivered(type_: TypeEngine[Any], dialect: Dialect) -> Callable[[bytes], str]:
    """A converter from the text that :func:`delivered_sql` yields to the canonical text.

    It raises ``ValueError`` for a key that is not in the form that the dialect's type writes.

    :param type_: of the key's column.
    """
    kind = kind_of(type_, dialect)
    if kind is IdentityKind.INTEGER:
        return _zero_filled if is_zero_filled(type_, dialect) else _integer
    if kind is IdentityKind.BINARY:
        return _binary
    if kind in (IdentityKind.TEXT, IdentityKind.CHAR):
        return _text
    if kind is IdentityKind.UUID:
        return _uuid(type_, dialect)
    return _date(type_, dialect)


def form_of(type_: TypeEngine[Any], dialect: Dialect) -> KeyForm | None:
    """The form in which :func:`delivered_sql` delivers a key, if it can be read in one pass.

    :param type_: of the key's column.
    """
    kind = kind_of(type_, dialect)
    if is_zero_filled(type_, dialect):
        return None
    if kind is not IdentityKind.UUID:
        return _FORMS.get(kind)
    if is_native_uuid(type_, dialect):
        return KeyForm.UUID
    return KeyForm.UUID_DIGITS_HEX if dialect.name == "sqlite" else KeyForm.UUID_DIGITS


_FORMS = {
    IdentityKind.INTEGER: KeyForm.INTEGER,
    IdentityKind.TEXT: KeyForm.TEXT_HEX,
    IdentityKind.CHAR: KeyForm.TEXT_HEX,
    IdentityKind.BINARY: KeyForm.BINARY_HEX,
}


def _integer(part: bytes) -> str:
    return _matched(_INTEGER, part)


def _zero_filled(part: bytes) -> str:
    return _integer(part.lstrip(b"0") or b"0")


def _text(part: bytes) -> str:
    if _MARK in part:
        return text_in_charset(part)
    return bytes.fromhex(part.decode("ascii")).decode("utf-8")


def _binary(part: bytes) -> str:
    return bytes.fromhex(part.decode("ascii")).hex()


def _uuid(type_: TypeEngine[Any], dialect: Dialect) -> Callable[[bytes], str]:
    if is_native_uuid(type_, dialect):
        return lambda part: _matched(_HYPHENATED_UUID, part)
    if dialect.name == "sqlite":
        return lambda part: _hyphenated(bytes.fromhex(part.decode("ascii")))
    return _hyphenated


def _hyphenated(digits: bytes) -> str:
    text = _matched(_HEX_UUID, digits)
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _date(type_: TypeEngine[Any], dialect: Dialect) -> Callable[[bytes], str]:
    if dialect.name == "postgresql":
        return _asyncpg_date if dialect.driver == "asyncpg" else _postgresql_date
    if dialect.name != "sqlite":
        return _iso_date
    read = date_reader(type_, dialect)
    canonical = CANONICAL[IdentityKind.DATE]
    return lambda part: canonical(read(_text(part)))


def _postgresql_date(part: bytes) -> str:
    return _iso_date(part.removesuffix(b"AD"))


def _asyncpg_date(part: bytes) -> str:
    """The form that asyncpg writes, which stores Python's first and last day as infinity."""
    day = _INFINITE_DAYS.get(part) or _postgresql_date(part)
    if day in _INFINITE_DAYS.values() and part not in _INFINITE_DAYS:
        raise ValueError("asyncpg writes this day as infinity")
    return day


def _iso_date(part: bytes) -> str:
    # MariaDB can store invalid dates such as 0000-00-00
    return dt.date.fromisoformat(_matched(_DATE, part)).isoformat()


def _matched(pattern: re.Pattern[bytes], part: bytes) -> str:
    if not pattern.fullmatch(part):
        raise ValueError("not in the form that the key's type writes")
    return part.decode("ascii")


def as_stored(part: bytes, type_: TypeEngine[Any], dialect: Dialect) -> str:
    """A delivered key in readable form, however it is stored.

    :param part: the key as it was delivered.
    :param type_: of its column.
    """
    if part == NULL_PART or part.startswith(_MARK + b"null"):
        return "NULL"
    if part.startswith(_MARK):
        storage, _, digits = part.removeprefix(_MARK).partition(_MARK)
        return f"{_legible(digits)!r} stored as {storage.decode('ascii', 'backslashreplace')}"
    kind = kind_of(type_, dialect)
    in_hex = kind in (IdentityKind.TEXT, IdentityKind.CHAR)
    part = part.partition(_MARK)[0]
    in_hex |= dialect.name == "sqlite" and kind in (IdentityKind.UUID, IdentityKind.DATE)
    return _legible(part) if in_hex else part.decode("utf-8", "backslashreplace")


def _legible(digits: bytes) -> str:
    try:
        return bytes.fromhex(digits.decode("ascii")).decode("utf-8", "backslashreplace")
    except ValueError:
        return digits.decode("ascii", "backslashreplace")


_NULL_PARTS = (NULL_PART, NULL_PART + b"!")
"""The second is SQLite's: a storage class without bytes."""


def misspelt(binding: ColumnBinding, parts: Sequence[bytes], dialect: Dialect) -> EncFieldsError:
    """The error for a stored value whose row's key is not in its one accepted form.

    :param parts: the key as it was delivered, with at least one part in another form.
    """
    columns = binding.bound_to
    row = {
        column.name: as_stored(part, column.type, dialect)
        for column, part in zip(columns, parts, strict=True)
    }
    nulls = [c.name for c, part in zip(columns, parts, strict=True) if part in _NULL_PARTS]
    if nulls:
        return UnreadableError(
            f"a value is stored, and {', '.join(nulls)}, which identifies its row, is NULL, so "
            "nothing tells whose value it is. Set it to what it was when the value was written; "
            "until then read the other columns only",
            table=binding.table,
            column=binding.column_name,
            row=row,
            reason="no-identity",
        )
    pairs = zip(columns, parts, strict=True)
    names = [column.name for column, part in pairs if _is_misspelt(column, part, dialect)]
    return ContextMismatchError(
        f"the row's key {', '.join(names)} is not stored in the form that its column's type "
        "writes, so this is not the row that the value was written for: whoever can write to the "
        "database may have copied it here. If the key was written by other means, write it again "
        "in its type's own form",
        table=binding.table,
        column=binding.column_name,
        row=row,
        reason="identity-form",
    )


def _is_misspelt(column: Column[Any], part: bytes, dialect: Dialect) -> bool:
    try:
        from_delivered(column.type, dialect)(part)
    except ValueError:
        return True
    return False


_EXACT = frozenset(
    b"latin1 latin2 latin5 latin7 koi8r koi8u cp850 cp852 cp866 keybcs2 macce macroman "
    b"ucs2 utf16 utf16le utf32".split()
)
"""Character sets in which no two keys have the same text."""

_LOSSY = frozenset(
    b"ascii big5 cp1250 cp1251 cp1256 cp1257 dec8 euckr gb18030 gb2312 gbk geostd8 greek hebrew "
    b"hp8 sjis swe7 tis620 ujis".split()
)
"""Character sets in which that is true of keys without these characters, which may stand for
others."""

_SHARED = frozenset("?\ufffd")

_REPEATED = frozenset((b"cp932", b"eucjpms"))
"""Character sets with many duplicate characters, in which it is true only of keys in ASCII."""

_TWO_BACKSLASHES = frozenset((b"sjis", b"ujis"))


def text_in_charset(part: bytes) -> str:
    """The text of a key.

    :param part: the key in UTF-8, its character set, and its bytes in that, separated by
        exclamation marks; bytes in hexadecimal.
    :raises ValueError: another key may have the same text.
    """
    utf8, charset, stored = part.split(b"!")
    text = bytes.fromhex(utf8.decode("ascii")).decode("utf-8")
    if is_of_one_key(text, charset, is_same=utf8 == stored):
        return text
    raise ValueError("another key may have this text")


def is_of_one_key(text: str, charset: bytes, *, is_same: bool = False) -> bool:
    """Whether no other key has this text.

    :param charset: in which the database stores keys; MySQL's name of it.
    :param is_same: whether the key's bytes are known to be those of UTF-8.
    """
    if charset in _TWO_BACKSLASHES and "\\" in text:
        return False
    if charset in _LOSSY:
        return is_same or not _SHARED.intersection(text)
    return charset in _EXACT or (is_same and charset in _REPEATED)


_HAS_ONE_OF_EACH = _EXACT | {b"ascii", b"utf8mb3", b"utf8"}


def is_kept_by_client(text: str, charset: bytes) -> bool:
    """Whether no other text is sent to a client as this one.

    :param charset: the client's, not utf8mb4; MySQL's name of it.
    """
    return charset in _HAS_ONE_OF_EACH and "?" not in text
