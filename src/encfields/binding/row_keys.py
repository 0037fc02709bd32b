"""Row keys in SQL: which kind a column is, and how its canonical text is had on either side.

On a write it comes from the value that is bound; on a read from ASCII text that the database
delivers beside the ciphertext. Both must agree, on every dialect and driver.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sqlalchemy import types as sqltypes
from sqlalchemy.types import TypeDecorator, TypeEngine

from encfields.binding import sqlalchemy_internals as internals
from encfields.errors import DeclarationError, UnknownIdentityError
from encfields.identity import CANONICAL, IdentityKind

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect

MYSQL_NAMES = frozenset({"mysql", "mariadb"})

_EXACT_MYSQL_COLLATION = re.compile(r"(_nopad_bin|_0900_bin)$|^binary$")
_HEX_UUID = re.compile(rb"[0-9a-fA-F]{32}")


def stored_type(type_: TypeEngine[Any], dialect: Dialect | None) -> TypeEngine[Any]:
    """The type that values are stored under: a variant's, or what a TypeDecorator stands for."""
    if dialect is None:
        while isinstance(type_, TypeDecorator):
            type_ = type_.impl_instance
        return type_
    type_ = internals.variant_of(type_, dialect)
    while isinstance(type_, TypeDecorator):
        type_ = internals.variant_of(type_.load_dialect_impl(dialect), dialect)
    return type_


def kind_of(type_: TypeEngine[Any], dialect: Dialect | None = None) -> IdentityKind:
    """The kind of row key that a column of this type is.

    :param dialect: decides for types that are stored differently on each; optional.
    :raises DeclarationError: values of this type have no one canonical text.
    """
    stored = stored_type(type_, dialect)
    if isinstance(stored, sqltypes.Uuid):
        return IdentityKind.UUID
    if isinstance(stored, sqltypes.Integer):
        return IdentityKind.INTEGER
    if isinstance(stored, sqltypes.CHAR | sqltypes.NCHAR):
        # SQLite pads nothing: there "d" and "d " are two rows, and must not share an identity
        pads = dialect is None or dialect.name != "sqlite"
        return IdentityKind.CHAR if pads else IdentityKind.TEXT
    if isinstance(stored, sqltypes.String):
        return IdentityKind.TEXT
    if isinstance(stored, sqltypes.BINARY):
        raise DeclarationError(
            "a BINARY(n) key cannot identify a row, because databases pad it: use VARBINARY",
            reason="identity-type",
        )
    if isinstance(stored, sqltypes.LargeBinary | sqltypes.VARBINARY):
        return IdentityKind.BINARY
    if isinstance(stored, sqltypes.Date):
        return IdentityKind.DATE
    raise DeclarationError(
        f"a column of type {type(stored).__name__} cannot identify a row: its values have no one "
        "canonical text on every database. Use an integer, UUID, string, binary or date key, or "
        "name such columns with bind_to=",
        reason="identity-type",
    )


def from_bound_value(type_: TypeEngine[Any], dialect: Dialect) -> Callable[[object], str]:
    """How a value bound to a column of this type becomes its canonical text.

    A type of the user's own, and an Enum, are first taken through their bind processor: what is
    stored is what counts.
    """
    canonical = CANONICAL[kind_of(type_, dialect)]
    declared = internals.variant_of(type_, dialect)
    if not isinstance(declared, TypeDecorator | sqltypes.Enum):
        return canonical
    to_stored = declared.dialect_impl(dialect).bind_processor(dialect)
    if to_stored is None:
        return canonical

    def convert(value: object) -> str:
        try:
            stored = to_stored(value)
        except Exception as error:  # a user's own type may raise anything
            raise UnknownIdentityError(
                f"the key's own type refused the value: {type(error).__name__}",
                reason="identity-type",
            ) from None
        return canonical(stored)

    return convert


def from_delivered_text(kind: IdentityKind) -> Callable[[bytes], str]:
    """How the text that :func:`delivered_sql` yields becomes the canonical text.

    It raises ``ValueError`` if the text is not of that kind.
    """
    if kind in (IdentityKind.TEXT, IdentityKind.CHAR):
        return _text_from_hex
    if kind is IdentityKind.UUID:
        return _uuid_from_text
    if kind is IdentityKind.BINARY:
        return _lower
    return _ascii


def _ascii(data: bytes) -> str:
    return data.decode("ascii")


def _lower(data: bytes) -> str:
    return data.decode("ascii").lower()


def _text_from_hex(data: bytes) -> str:
    return bytes.fromhex(data.decode("ascii")).decode("utf-8")


def _uuid_from_text(data: bytes) -> str:
    text = data.decode("ascii").lower()
    if len(text) == 36:
        return text
    if not _HEX_UUID.fullmatch(data):
        raise ValueError("not a UUID")
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def delivered_sql(column: str, kind: IdentityKind, dialect_name: str) -> str:
    """SQL that yields the row key `column` as ASCII text without a colon.

    Text and binary keys are delivered in hexadecimal, so that no key can imitate another
    key's boundary.
    """
    if dialect_name == "postgresql":
        return _postgresql_sql(column, kind)
    if dialect_name in MYSQL_NAMES:
        return _mysql_sql(column, kind)
    if kind is IdentityKind.CHAR:
        return f"hex(rtrim({column}))"
    if kind in (IdentityKind.TEXT, IdentityKind.BINARY):
        return f"hex({column})"
    return column


def _postgresql_sql(column: str, kind: IdentityKind) -> str:
    if kind in (IdentityKind.TEXT, IdentityKind.CHAR):
        # casting a blank-padded CHAR to text drops its trailing blanks
        return f"encode(convert_to(CAST({column} AS TEXT), 'UTF8'), 'hex')"
    if kind is IdentityKind.BINARY:
        return f"encode({column}, 'hex')"
    if kind is IdentityKind.DATE:
        return f"to_char({column}, 'YYYY-MM-DD')"
    return f"CAST({column} AS TEXT)"


def _mysql_sql(column: str, kind: IdentityKind) -> str:
    if kind is IdentityKind.TEXT:
        return f"HEX(CONVERT({column} USING utf8mb4))"
    if kind is IdentityKind.CHAR:
        return f"HEX(CONVERT(RTRIM({column}) USING utf8mb4))"
    if kind is IdentityKind.BINARY:
        return f"HEX({column})"
    return f"CAST({column} AS CHAR)"


def may_match_another_spelling(type_: TypeEngine[Any], dialect: Dialect) -> bool:
    """Whether the database may take two differently spelt values of this type for equal.

    True for a text key under a case-insensitive, accent-insensitive or padding collation, and
    where that cannot be ruled out.
    """
    if kind_of(type_, dialect) not in (IdentityKind.TEXT, IdentityKind.CHAR):
        return False
    stored = stored_type(type_, dialect)
    collation = getattr(stored, "collation", None)
    if dialect.name in MYSQL_NAMES:
        return not (collation and _EXACT_MYSQL_COLLATION.search(collation))
    if dialect.name == "sqlite":
        return collation is not None and collation.upper() != "BINARY"
    return collation is not None or type(stored).__name__.upper() == "CITEXT"
