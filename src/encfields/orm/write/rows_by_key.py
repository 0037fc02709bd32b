"""Reading back the rows that a transaction wrote, and nothing more, on MySQL and MariaDB.

Under REPEATABLE READ a transaction sees what was committed until its first plain SELECT. That is
the application's to choose: a SELECT of ours would hide from it what others commit after its write.
A locking read fixes no such moment. By a whole primary key it locks that row alone, which the
transaction has locked by writing it; by a list of keys it would lock the end of the table too, and
by other columns the rows of others. Those are read by a plain SELECT.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, union_all

from encfields.orm import internals

if TYPE_CHECKING:
    from sqlalchemy import Connection, Select, Table
    from sqlalchemy.sql.elements import ColumnClause, ColumnElement

_ROWS = 50
"""Rows of one query, each of which is a SELECT of its own in it."""


def rows_by_key(
    connection: Connection,
    table: Table,
    query: Select[Any],
    columns: Sequence[ColumnClause[Any]],
    keys: Sequence[tuple[Any, ...]],
    options: Mapping[str, Any] | None = None,
) -> Iterator[Any]:
    """What a SELECT has of rows that were just written.

    :param table: that they are of.
    :param query: of one column, without criteria.
    :param columns: that identify a row. :param keys: their values in each row.
    :param options: to execute it with.
    :returns: the column's values.
    """
    query = query.limit(1)
    if _is_whole_key(table, columns) and _keeps_what_it_saw(connection):
        query = query.with_for_update(read=True)
    for start in range(0, len(keys), _ROWS):
        single = [query.where(_is(columns, key)) for key in keys[start : start + _ROWS]]
        rows = union_all(*single) if len(single) > 1 else single[0]
        yield from connection.scalars(rows, execution_options=options or {})


def _is_whole_key(table: Table, columns: Sequence[ColumnClause[Any]]) -> bool:
    """Whether columns tell a row by its primary key, in whose order it is stored."""
    key = {column.name for column in table.primary_key}
    return bool(key) and key.issubset(column.name for column in columns)


def _keeps_what_it_saw(connection: Connection) -> bool:
    """Whether the first plain SELECT of the open transaction settles what it sees."""
    if internals.is_autocommit(connection):
        return False
    return connection.get_isolation_level() == "REPEATABLE READ"


def _is(columns: Sequence[ColumnElement[Any]], key: tuple[Any, ...]) -> ColumnElement[bool]:
    return and_(*(column == value for column, value in zip(columns, key, strict=True)))
