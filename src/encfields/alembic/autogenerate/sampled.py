"""Some stored values of a table, with their rows, and what their headers say of them.

What lies in the database may have been put there by anybody who can write to it. The two ends of
the primary key cost nothing to look at, and whoever inserts rows chooses what stands there: they
only give occasion to look further. What is concluded rests on rows that the database draws.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Column, Connection, Table, and_, case, func, select, type_coerce
from sqlalchemy.types import NullType

from encfields.bulk.survey.stored_value import EXAMINED_HEAD_BYTES, examine
from encfields.context import COLUMN_KEY, ROW_KEY_PREFIX, deserialize
from encfields.databases import MYSQL_NAMES
from encfields.errors import DeclarationError, MalformedMessageError
from encfields.orm.declare.column_rules import stores_bytes
from encfields.orm.declare.row_keys import kind_of

SEARCHED_ROWS = 1000
"""Rows at either end of the primary key among which values are sought."""

END_ROWS = 25
"""Values looked at of each."""

DRAWN_ROWS = 100
"""Values that are drawn from the whole table."""

WHOLE_BYTES = 64 * 1024
"""Longest value that is read whole, so that it can be opened."""


class SampledValue(NamedTuple):
    """One value, and what it says of itself.

    :param logical_name: the column's name in its encryption context.
    :param texts: identity column to canonical text.
    :param key_id: its branch key id.
    :param context: its encryption context, serialised.
    :param row: the columns of its row that may be part of an identity.
    :param value: the message; ``None`` if it is too long to be read for this.
    """

    logical_name: str
    texts: dict[str, str]
    key_id: str
    context: bytes
    row: Mapping[str, Any]
    value: bytes | None


def near_ends(
    connection: Connection, column: Column[Any], without: Collection[str] = ()
) -> list[SampledValue]:
    """Values at both ends of the primary key; what is no message is left out.

    :param column: of a table as it was reflected.
    :param without: names of columns that no value is bound to: the encrypted ones.
    """
    if not stores_bytes(column.type):
        return []
    names = _keyed_by(column.table, {*without, column.name})
    key = list(column.table.primary_key.columns)
    orders = [[c.asc() for c in key], [c.desc() for c in key]] if key else [[]]
    read = select(column, *(column.table.c[name] for name in names))
    cells: list[SampledValue] = []
    for order in orders:
        # A column that is all NULL must not have the whole table searched for a value.
        near = read.order_by(*order).limit(SEARCHED_ROWS).subquery()
        cells += _cells(connection, near, column.name, names, END_ROWS)
    return cells


def drawn(
    connection: Connection, column: Column[Any], without: Collection[str] = ()
) -> list[SampledValue]:
    """Values drawn from the whole table, each row as likely as any other.

    By the database and not by ranges of keys, for what lies beside a gap in the keys would be
    drawn more often, and whoever inserts a row makes the gaps. It reads the table once.

    :param column: of a table as it was reflected. :param without: as for :func:`near_ends`.
    """
    table = column.table
    names = _keyed_by(table, {*without, column.name})
    chance = func.rand() if connection.dialect.name in MYSQL_NAMES else func.random()
    key = list(table.primary_key.columns)
    if not key:
        return _cells(connection, table, column.name, names, DRAWN_ROWS, chance)
    # The keys alone are sorted: MariaDB would write every value of the table to disk for it.
    some = select(*key).where(column.is_not(None)).order_by(chance).limit(DRAWN_ROWS).subquery()
    rows = table.join(some, and_(*(c == some.c[c.name] for c in key)))
    read = select(column, *(table.c[name] for name in names)).select_from(rows).subquery()
    return _cells(connection, read, column.name, names, DRAWN_ROWS)


def _cells(
    connection: Connection, rows: Any, column: str, names: Sequence[str], count: int, *order: Any
) -> list[SampledValue]:
    value = rows.c[column]
    length = (func.length if connection.dialect.name == "sqlite" else func.octet_length)(value)
    read = case((length <= WHOLE_BYTES, value), else_=func.substr(value, 1, EXAMINED_HEAD_BYTES))
    cells = select(type_coerce(read, NullType()), length, *(rows.c[name] for name in names))
    found = connection.execute(cells.where(value.is_not(None)).order_by(*order).limit(count))
    seen = (_cell(row[0], row[1], dict(zip(names, row[2:], strict=True))) for row in found)
    return [cell for cell in seen if cell is not None]


def _cell(read: Any, length: int, row: Mapping[str, Any]) -> SampledValue | None:
    header = examine(read, length).header if read is not None else None
    if header is None:
        return None
    try:
        context = deserialize(header.context)
    except MalformedMessageError:
        return None
    texts = {
        name.removeprefix(ROW_KEY_PREFIX): text
        for name, text in context.items()
        if name.startswith(ROW_KEY_PREFIX)
    }
    whole = bytes(read) if length <= WHOLE_BYTES else None
    logical_name = context.get(COLUMN_KEY, "")
    return SampledValue(logical_name, texts, header.key_id, header.context, row, whole)


def _keyed_by(table: Table, without: Collection[str]) -> list[str]:
    """Columns that a value may be bound to."""
    return [c.name for c in table.columns if c.name not in without and _may_identify(c)]


def _may_identify(column: Column[Any]) -> bool:
    try:
        kind_of(column.type)
    except DeclarationError:
        return False
    # Bytes of any length are a value, unless the table itself says that they are its key.
    bounded = getattr(column.type, "length", None) is not None
    return column.primary_key or bounded or not stores_bytes(column.type)
