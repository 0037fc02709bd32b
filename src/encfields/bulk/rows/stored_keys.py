"""Primary keys as the database stores them, where reflection does not tell their whole type.

SQLite stores any value in any column. A value that its column's type cannot read, such as a BLOB
among dates, would end a run with a driver's error; so on SQLite keys are read as stored, and what
cannot be an identity is reported with its row.

A database without a UUID type stores UUIDs as CHAR(32). Such a key has two spellings, with hyphens
and without; both name the same row, and only the application knows which one values are bound to.

A run's cursors, range bounds and quarantine name a row by its primary key as the driver gave it,
and not by its identity: a key that orders a table, such as a timestamp, may not be able to
identify a row.
"""

from __future__ import annotations

import datetime as dt
import decimal
import json
import re
import uuid
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import REAL, LargeBinary, TypeDecorator, cast
from sqlalchemy import text as sql_text
from sqlalchemy import types as sqltypes
from sqlalchemy.dialects.mysql import DOUBLE as MYSQL_DOUBLE
from sqlalchemy.dialects.mysql import FLOAT as MYSQL_FLOAT
from sqlalchemy.types import TypeEngine

from encfields.errors import DeclarationError, UnknownIdentityError
from encfields.orm.declare.row_keys import from_bound_value

if TYPE_CHECKING:
    from sqlalchemy import Column, Connection, Table
    from sqlalchemy.engine import Dialect


_HYPHENATED = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII)


class AsStored(TypeDecorator[Any]):
    """A key's type that leaves values as the driver gives them, in both directions."""

    impl = LargeBinary
    cache_ok = True

    def __init__(self, declared: TypeEngine[Any]) -> None:
        super().__init__()
        self.declared = declared
        self.impl = declared  # type: ignore[assignment]

    def bind_processor(self, dialect: Dialect) -> None:
        """None: values are bound as read."""

    def result_processor(self, dialect: Dialect, coltype: object) -> None:
        """None: values are read as the driver gives them."""


class _SingleFloat(TypeDecorator[Any]):
    """PostgreSQL's REAL. Compared as double precision, its 0.1 is more than 0.1, so a walk would
    read the same row for ever."""

    impl = REAL
    cache_ok = True

    def bind_expression(self, bindvalue: Any) -> Any:
        """Cast a number to the column's precision."""
        return cast(bindvalue, REAL)


def take_keys_as_stored(table: Table, identifying: frozenset[str], connection: Connection) -> None:
    """Give key and identity columns a type that compares as the database does, and reads anything
    that SQLite stores.

    :param table: a reflected table.
    :param identifying: names of columns that values are bound to, besides the primary key.
    :raises DeclarationError: a column of the primary key is a FLOAT of MySQL or MariaDB.
    """
    dialect = connection.dialect
    if dialect.name != "sqlite":
        for column in table.primary_key.columns:
            if isinstance(column.type, MYSQL_FLOAT):
                raise DeclarationError(
                    "the table cannot be read in batches by a primary key of type FLOAT, which "
                    "the server returns rounded: make it DOUBLE or DECIMAL",
                    table=table.fullname,
                    column=column.name,
                    reason="primary-key",
                )
            if isinstance(column.type, MYSQL_DOUBLE):
                # The reflected type rounds to ten decimal places.
                column.type = MYSQL_DOUBLE(asdecimal=False)
            if isinstance(column.type, REAL):
                column.type = _SingleFloat()
        return
    names = identifying.union(column.name for column in table.primary_key.columns)
    binary = _binary_columns(table, connection)
    for column in table.columns:
        if column.name not in names:
            continue
        if column.name in binary:
            column.type = LargeBinary()
        of_dialect = column.type.dialect_impl(dialect)
        if of_dialect.result_processor(dialect, None) or of_dialect.bind_processor(dialect):
            column.type = AsStored(column.type)


def _binary_columns(table: Table, connection: Connection) -> frozenset[str]:
    """The columns declared as BINARY or VARBINARY, which SQLite knows only by name.

    SQLAlchemy reflects them as numbers, by SQLite's rule of affinity.
    """
    declared = connection.execute(
        sql_text("SELECT name, type FROM pragma_table_info(:table, :schema)"),
        {"table": table.name, "schema": table.schema or "main"},
    )
    return frozenset(name for name, type_ in declared if "BINARY" in type_.upper())


def key_text(column: Column[Any], dialect: Dialect) -> Callable[[object], str]:
    """The function from a stored key to its canonical text.

    :param column: of a reflected table.
    """
    convert = from_bound_value(column.type, dialect)
    if not may_be_uuid(column):
        return convert

    def exact(value: object) -> str:
        known = convert(value)
        if _HYPHENATED.fullmatch(known):
            # It would equal the text of the row whose key is the same UUID as 32 digits.
            raise UnknownIdentityError(
                f"{column.name} is CHAR(32) and holds a UUID with hyphens, which no type writes "
                "there: the value may have been copied from the row whose key is its 32 digits",
                reason="identity-form",
            )
        return known

    return exact


_HEX = re.compile(r"[0-9a-f]{32}", re.ASCII)


def may_be_uuid(column: Column[Any]) -> bool:
    """Whether a reflected key column may hold UUIDs."""
    return isinstance(column.type, sqltypes.CHAR) and column.type.length == 32


def hyphenated(known: str) -> str | None:
    """A UUID's 32 digits with hyphens, or ``None`` if `known` is not 32 digits."""
    return str(uuid.UUID(known)) if _HEX.fullmatch(known) else None


Key = tuple[Any, ...]
"""A primary key: the values of its columns in order, as SQLAlchemy gives them."""

_WRITE: dict[type, tuple[str, Callable[[Any], Any]]] = {
    bool: ("o", bool),
    int: ("i", int),
    str: ("s", str),
    uuid.UUID: ("u", str),
    bytes: ("b", bytes.hex),
    dt.datetime: ("t", dt.datetime.isoformat),
    dt.date: ("d", dt.date.isoformat),
    decimal.Decimal: ("n", str),
    float: ("f", float),
}
_READ: dict[str, Callable[[Any], Any]] = {
    "o": bool,
    "i": int,
    "s": str,
    "u": uuid.UUID,
    "b": bytes.fromhex,
    "t": dt.datetime.fromisoformat,
    "d": dt.date.fromisoformat,
    "n": decimal.Decimal,
    "f": float,
}


def has_text(value: object) -> bool:
    """Whether a value of a key has an exact text."""
    return isinstance(value, bytearray | memoryview) or type(value) in _WRITE


def key_to_text(key: Sequence[Any]) -> str:
    """A key as JSON, with each value's type.

    :raises DeclarationError: a value is of a type that has no exact text.
    """
    parts = []
    for value in key:
        value = bytes(value) if isinstance(value, bytearray | memoryview) else value
        known = _WRITE.get(type(value))
        if known is None:
            raise DeclarationError(
                "the table cannot be read in batches by a primary key of type "
                f"{type(value).__name__}",
                reason="primary-key",
            )
        mark, write = known
        parts.append([mark, write(value)])
    return json.dumps(parts, separators=(",", ":"))


def key_from_text(text: str) -> Key:
    """The inverse of :func:`key_to_text`."""
    return tuple(_READ[mark](value) for mark, value in json.loads(text))


def readable_key(names: Sequence[str], text: str) -> dict[str, str]:
    """A key for people: column names and plain text."""
    return {name: str(value) for name, (_, value) in zip(names, json.loads(text), strict=True)}
