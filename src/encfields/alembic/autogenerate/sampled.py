"""Samples stored values of a table, with their rows and headers.

Anybody with write access may have put a value there. The two ends of the primary key are cheap to
read, but whoever inserts rows chooses what is there, so they only trigger a closer look.
Conclusions rest on rows that the database draws at random.
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
"""Rows at each end of the primary key to search for values."""

END_ROWS = 25
"""Values to take from each end."""

DRAWN_ROWS = 100
"""Values to draw from the whole table."""

WHOLE_BYTES = 64 * 1024
"""Bytes of the longest value that is read whole, to be opened."""


class SampledValue(NamedTuple):
    """One value, and what its header claims.

    :param logical_name: the column's name in its encryption context.
    :param texts: identity column to canonical text.
    :param key_id: its branch key id.
    :param context: its encryption context, serialised.
    :param row: the columns of its row that may be part of an identity.
    :param value: the message; ``None`` if it is too long.
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
    """Values at both ends of the primary key, without those that are not messages.

    :param column: of a reflected table.
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
        # Bounded, so that a column of NULLs does not cause a search of the whole table.
        near = read.order_by(*order).limit(SEARCHED_ROWS).subquery()
        cells += _cells(connection, near, column.name, names, END_ROWS)
    return cells


def drawn(
    connection: Connection, column: Column[Any], without: Collection[str] = ()
) -> list[SampledValue]:
    """Values drawn uniformly from the whole table, which is read once.

    Drawn by the database and not by ranges of keys, which would favour rows beside gaps, and
    whoever inserts rows chooses the gaps.

    :param column: of a reflected table. :param without: as for :func:`near_ends`.
    """
    table = column.table
    names = _keyed_by(table, {*without, column.name})
    chance = func.rand() if connection.dialect.name in MYSQL_NAMES else func.random()
    key = list(table.primary_key.columns)
    if not key:
        return _cells(connection, table, column.name, names, DRAWN_ROWS, chance)
    # Sort only the keys: MariaDB would write every value of the table to disk.
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
    # Unbounded bytes are a value, unless they are in the primary key.
    bounded = getattr(column.type, "length", None) is not None
    return column.primary_key or bounded or not stores_bytes(column.type)
