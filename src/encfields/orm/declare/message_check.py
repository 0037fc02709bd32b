"""``EncryptedType(guard=True)``: a CHECK by which the database accepts only messages.

It refuses plaintext written without this library, by raw SQL or through an engine that is not
attached. The CHECK tests a value's first bytes and its length; only a key tells whether it opens.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Boolean, CheckConstraint, Column
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from encfields.databases import SUPPORTED, short_name
from encfields.message.header import MAGIC
from encfields.orm import internals

SHORTEST_MESSAGE = 247
"""Bytes of a message whose encryption context, key id and content are empty."""

_NAME_BYTES = 63
"""Longest name that every database allows; PostgreSQL allows the least."""


class is_message(FunctionElement[bool]):
    """SQL: whether a column holds NULL or a message. Takes the column."""

    name = "is_message"
    type = Boolean()
    inherit_cache = True


def name_of_check(table_name: str, column_name: str) -> str:
    """The name of the CHECK of a column.

    :returns: ``<table>_<column>_is_message``; if that is too long for a database, its beginning and
        8 hexadecimal digits of its SHA-256.
    """
    return short_name(f"{table_name}_{column_name}_is_message", _NAME_BYTES, digits=8)


def message_check(column: Column[Any]) -> CheckConstraint:
    """Add the CHECK that a column holds messages to its table.

    It belongs to the column's type: a copy of the table makes its own.
    """
    name = name_of_check(column.table.name, column.name)
    return internals.check_of_type(is_message(column), name, has_check)


def has_check(compiler: Any) -> bool:
    """Whether there is such a CHECK in the dialect of a compiler."""
    return compiler.dialect.name in SUPPORTED


@compiles(is_message, "postgresql")
def _of_postgresql(element: is_message, compiler: Any, **options: Any) -> str:
    column = compiler.process(element.clauses, **options)
    begins = f"substring({column} from 1 for {len(MAGIC)}) = decode('{MAGIC.hex()}', 'hex')"
    return f"({begins} AND octet_length({column}) >= {SHORTEST_MESSAGE})"


@compiles(is_message, "mysql")
@compiles(is_message, "mariadb")
def _of_mysql(element: is_message, compiler: Any, **options: Any) -> str:
    column = compiler.process(element.clauses, **options)
    begins = f"substring({column}, 1, {len(MAGIC)}) = X'{MAGIC.hex()}'"
    return f"({begins} AND length({column}) >= {SHORTEST_MESSAGE})"


@compiles(is_message, "sqlite")
def _of_sqlite(element: is_message, compiler: Any, **options: Any) -> str:
    column = compiler.process(element.clauses, **options)
    begins = f"substr({column}, 1, {len(MAGIC)}) = X'{MAGIC.hex()}'"
    long_enough = f"length({column}) >= {SHORTEST_MESSAGE}"
    # A text of the same letters is no message: only the type of the cell tells them apart.
    return f"({column} IS NULL OR (typeof({column}) = 'blob' AND {begins} AND {long_enough}))"
