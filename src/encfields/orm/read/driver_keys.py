"""Row keys as a driver gives them, in columns of their own, put into the form of a cell.

The rows of raw SQL have the message in one column and the row's key in others. What the driver made
of a key has to tell what the database holds: if two stored keys gave the same Python value, the
ciphertext of one would open in the other. So such a value is refused, like any other that the key's
type does not write.
"""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections.abc import Callable, Set
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from encfields.databases import MYSQL_NAMES
from encfields.identity import IdentityKind
from encfields.orm import internals
from encfields.orm.declare.row_keys import date_reader, is_native_uuid, kind_of
from encfields.orm.read.delivered_keys import NULL_PART, is_kept_by_client, is_of_one_key

if TYPE_CHECKING:
    from sqlalchemy import Column, Connection
    from sqlalchemy.engine import Dialect
    from sqlalchemy.types import TypeEngine

ToPart = Callable[[object], bytes | None]
"""Converts a driver's value to a part of a cell; ``None`` if another key may give the same."""

_HEX_UUID = re.compile(r"[0-9a-f]{32}")
_HYPHENATED_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def to_part(column: Column[Any], connection: Connection) -> ToPart:
    """The function from what a driver gives for a key to the part of a cell.

    :param column: the key's.
    :param connection: may be asked for the column's character set.
    """
    convert = _converter(column, connection)
    return lambda value: NULL_PART if value is None else convert(value)


def gives_as_stored(connection: Connection) -> Callable[[TypeEngine[Any]], bool]:
    """The function that says whether SQLite's driver gives values of a type as they are stored, and
    only texts as ``str``.

    A ``text_factory`` gives what it likes for texts: ``bytes`` that a BLOB might be, too. So does
    what an application has registered to convert a column's declared type. Whether a connection
    uses that (``detect_types``), the driver does not tell.
    """
    dialect = connection.dialect
    if dialect.name != "sqlite":
        return lambda type_: True
    if getattr(connection.connection.driver_connection, "text_factory", str) is not str:
        return lambda type_: False
    registered = _registered_converters()
    return lambda type_: _declared_name(type_, dialect) not in registered


def _registered_converters() -> Set[str]:
    """The declared types for which an application has registered a converter."""
    import sqlite3

    # Both of them give what no key is taken from.
    return {*getattr(sqlite3, "converters", ())} - {"DATE", "TIMESTAMP"}


def _declared_name(type_: TypeEngine[Any], dialect: Dialect) -> str:
    """As the driver looks for it: what stands before a blank or a parenthesis."""
    return re.split(r"[ (]", type_.compile(dialect=dialect), maxsplit=1)[0].upper()


def unsure(value: object) -> bytes | None:
    """The function for a key of which nothing that the driver gives is known to be stored so."""
    return None


def without_padding(convert: ToPart) -> ToPart:
    """The function for a column whose values the server pads with blanks, where it is one."""
    return lambda value: convert(value.rstrip(" ") if type(value) is str else value)


def _converter(column: Column[Any], connection: Connection) -> ToPart:
    type_, dialect = column.type, connection.dialect
    kind = kind_of(type_, dialect)
    if kind is IdentityKind.INTEGER:
        return _integer
    if kind is IdentityKind.BINARY:
        return _binary
    if kind is IdentityKind.DATE:
        return _date(type_, dialect)
    if kind is IdentityKind.UUID:
        if is_native_uuid(type_, dialect):
            return _native_uuid
        return _uuid_in_hex if dialect.name == "sqlite" else _uuid_digits
    is_sure = _text_check(column, connection)
    return lambda value: _in_hex(value) if is_sure(value) else None


def _integer(value: object) -> bytes | None:
    return int.__repr__(value).encode() if type(value) is int else None


def _binary(value: object) -> bytes | None:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex().encode()
    return None


def _native_uuid(value: object) -> bytes | None:
    if isinstance(value, uuid.UUID):  # or asyncpg's own class of them
        return str(uuid.UUID(int=value.int)).encode()
    return _spelt(value, _HYPHENATED_UUID)


def _uuid_digits(value: object) -> bytes | None:
    return _spelt(value, _HEX_UUID)


def _uuid_in_hex(value: object) -> bytes | None:
    return _in_hex(value) if _spelt(value, _HEX_UUID) else None


def _spelt(value: object, spelling: re.Pattern[str]) -> bytes | None:
    is_so = type(value) is str and spelling.fullmatch(value)
    return str(value).encode() if is_so else None


def _in_hex(value: object) -> bytes:
    return str(value).encode().hex().encode()


def _date(type_: TypeEngine[Any], dialect: Dialect) -> ToPart:
    if dialect.name == "sqlite":
        read = date_reader(type_, dialect)

        def of_text(value: object) -> bytes | None:
            if type(value) is not str:
                return None
            try:
                read(value)
            except ValueError:
                return None
            return _in_hex(value)

        return of_text
    era = b"AD" if dialect.name == "postgresql" else b""
    # asyncpg and psycopg2 read infinity as one of these days.
    as_infinity = dialect.name == "postgresql" and dialect.driver not in _TELLS_INFINITY
    shared = {dt.date.min, dt.date.max} if as_infinity else set()

    def of_date(value: object) -> bytes | None:
        if type(value) is not dt.date or value in shared:
            return None
        return value.isoformat().encode() + era

    return of_date


_TELLS_INFINITY = frozenset(("psycopg", "psycopg_async", "pg8000"))
"""Drivers that give no date for it."""


def _text_check(column: Column[Any], connection: Connection) -> Callable[[object], bool]:
    """The function that says whether no other key of the column gives the same text."""
    dialect = connection.dialect
    # The server pads a CHAR with blanks, which some drivers show. A VARCHAR tells rows apart by
    # them, and may be what the database has, so they are not taken off.
    may_be_padded = kind_of(column.type, dialect) is IdentityKind.CHAR
    charset, client = UTF8, UTF8
    if dialect.name in MYSQL_NAMES:
        charset, client = _charsets(column, connection)
    if dialect.name == "postgresql" and not _is_encoded_one_to_one(connection):
        return lambda value: False

    def is_sure(value: object) -> bool:
        if type(value) is not str or (may_be_padded and value.endswith(" ")):
            return False
        is_stored = charset == UTF8 or is_of_one_key(value, charset)
        return is_stored and (client == UTF8 or is_kept_by_client(value, client))

    return is_sure


_ONE_TO_ONE = ("UTF8", "LATIN", "WIN1", "ISO_8859", "KOI8")


def _is_encoded_one_to_one(connection: Connection) -> bool:
    """Whether PostgreSQL sends each text in bytes of its own, or not at all.

    In SJIS, for instance, it sends the same for several letters.
    """
    encoding = internals.without_listeners(connection).scalar(
        text("SELECT pg_catalog.current_setting('client_encoding')")
    )
    return str(encoding).startswith(_ONE_TO_ONE)


UTF8 = b"utf8"
_UNICODE = frozenset(("utf8mb4", "utf8mb3", "utf8"))


def _charsets(column: Column[Any], connection: Connection) -> tuple[bytes, bytes]:
    """The character set in which MySQL or MariaDB stores a column, and that in which it sends it;
    empty if it does not say."""
    schemas = connection.get_execution_options().get("schema_translate_map") or {}
    asked = internals.without_listeners(connection).execute(
        text(
            "SELECT @@character_set_results, (SELECT character_set_name FROM "
            "information_schema.columns WHERE table_name = :table AND column_name = :column "
            "AND table_schema = COALESCE(:schema, DATABASE()))"
        ),
        {
            "table": column.table.name,
            "column": column.name,
            "schema": schemas.get(column.table.schema, column.table.schema),
        },
    )
    client, stored = (str(name or "").encode("ascii", "replace") for name in asked.one())
    # It sends a question mark for a letter that the client's does not have.
    sent = UTF8 if client == b"utf8mb4" else client
    return UTF8 if stored.decode() in _UNICODE else stored, sent
