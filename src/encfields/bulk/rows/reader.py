"""Reads a table in batches, in primary key order.

Each statement starts after the previous batch's last key (no OFFSET, no open cursor), so a batch
costs the same anywhere in the table and nothing is held between batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    bindparam,
    func,
    select,
    type_coerce,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.types import NullType

from encfields.bulk.failures import is_operational
from encfields.bulk.row_refusals import refuses_row
from encfields.bulk.rows.key_order import (
    Bounds,
    bound_parameters,
    key_after,
    key_binds,
    key_upto,
    part_parameters,
)
from encfields.bulk.rows.prepared_job import PreparedJob
from encfields.bulk.rows.stored_keys import Key
from encfields.bulk.rows.walkable_keys import read_with_keys, require_later, require_text
from encfields.keys.sql.failures import sql_state
from encfields.orm.adoption.text_form import read_in_sql

DELIVERED_HEAD_BYTES = 512
"""Bytes of each value that a sweep reads: the header, unless the row's key is very long."""

FIRST_ROWS = 50
"""Rows of the first batch, while the size of values is unknown."""


UNREADABLE = object()
"""Stands for what the database could not read."""


_OF_VALUES = ("22", "38", "39", "P0")
"""SQLSTATE prefixes of arguments that a function rejects."""


def _is_of_connection(error: Exception) -> bool:
    """Whether an error is about the connection and not about the value read."""
    if not isinstance(error, DBAPIError):
        return False
    if (sql_state(error.orig) or "").startswith(_OF_VALUES) or refuses_row(error):
        return False
    # SQLite raises this class for a registered function that fails, too.
    is_of_function = "user-defined function" in str(error.orig)
    outage = is_operational(error) and not is_of_function
    return outage or error.connection_invalidated


class BatchReader:
    """Reads rows: the key, identity columns, the values, then plaintext and index columns.

    :param prepared: the job.
    :param heads: read only the first :data:`DELIVERED_HEAD_BYTES` of each value.
    :ivar read_places: for each plaintext column, the position in a row of the SQL result that its
        type reads; ``None`` if the type reads the stored value.
    """

    def __init__(self, prepared: PreparedJob, *, heads: bool = False) -> None:
        self._table = prepared.table
        self._key = prepared.key
        self._dialect_name = prepared.dialect.name
        values = [
            # SQLite's substr() of an empty value is NULL.
            func.coalesce(func.substr(column, 1, DELIVERED_HEAD_BYTES), column) if heads else column
            for column in prepared.columns
        ]
        # Untyped, so that anything stored is read as it is, even text in a binary column.
        raw = [type_coerce(value, NullType).label(f"v{i}") for i, value in enumerate(values)]
        beside = [
            type_coerce(c, NullType).label(f"d{i}") for i, c in enumerate(prepared.index_columns)
        ]
        plain = [
            cell if cell is column else cell.label(f"p{i}")
            for i, (cell, column) in enumerate(
                zip(prepared.plain_cells, prepared.plain, strict=True)
            )
        ]
        self._columns = [*prepared.key, *prepared.identity, *raw, *plain, *beside]
        self._reads = {} if heads else read_cells(prepared)
        self.key_width = len(prepared.key)
        self.value_start = self.key_width + len(prepared.identity)
        self.value_end = self.value_start + len(prepared.columns)
        self.indexes_start = self.value_end + len(prepared.plain)
        end = self.indexes_start + len(prepared.index_columns)
        places = dict(zip(self._reads, range(end, end + len(self._reads)), strict=True))
        self.read_places = [places.get(number) for number in range(len(prepared.plain))]
        self._statements: dict[tuple[bool, bool], Select[Any]] = {}

    def read(self, connection: Connection, bounds: Bounds, limit: int) -> Sequence[Any]:
        """At most `limit` rows of a part of the table, in key order.

        :raises DeclarationError: the table cannot be walked by a key that is among them.
        """
        shape = (bounds.after is not None, bounds.upto is not None)
        statement = self._statements.get(shape)
        if statement is None:
            statement = self._statements[shape] = self._statement(*shape)
        parameters = {"row_limit": limit, **part_parameters(bounds)}
        rows = read_with_keys(self._table, lambda: self._rows(connection, statement, parameters))
        if rows:
            last = self.key_of(rows[-1])
            require_text(self._key, last)
            require_later(self._table, last, bounds.after)
        return rows

    def _rows(
        self, connection: Connection, statement: Select[Any], parameters: dict[str, Any]
    ) -> Sequence[Any]:
        if not self._reads:
            return connection.execute(statement, parameters).all()
        return self._read_in_sql(connection, statement, parameters)

    def _read_in_sql(
        self, connection: Connection, statement: Select[Any], parameters: dict[str, Any]
    ) -> Sequence[Any]:
        """Rows with the plaintext that SQL reads; one by one if the statement fails."""
        cells = list(self._reads.values())
        try:
            return connection.execute(statement.add_columns(*cells), parameters).all()
        except Exception as error:  # the application's own type may raise anything
            if _is_of_connection(error):
                raise
        same = [k == bind for k, bind in zip(self._key, key_binds(self._key, "key"), strict=True)]
        single = select(*self._columns, *cells).where(*same)
        rows = connection.execute(statement, parameters).all()
        return [self._read_one(connection, single, row) for row in rows]

    def _read_one(self, connection: Connection, statement: Select[Any], row: Any) -> Any:
        """A row with the plaintext that SQL reads, or :data:`UNREADABLE` in its place."""
        unread = (*row, *(UNREADABLE for _ in self._reads))
        try:
            result = connection.execute(statement, bound_parameters("key", self.key_of(row)))
            return result.first() or unread  # a deleted row is not written either
        except Exception as error:
            if _is_of_connection(error):
                raise
        return unread

    def key_of(self, row: Any) -> Key:
        """The primary key of a row."""
        return tuple(row[: self.key_width])

    def size_of(self, rows: Sequence[Any]) -> int:
        """Total bytes of the values in some rows."""
        columns = range(self.value_start, self.value_end)
        try:
            return sum(sum(map(len, filter(None, [row[at] for row in rows]))) for at in columns)
        except TypeError:  # neither bytes nor text: it has no length
            values = (row[at] for at in columns for row in rows)
            return sum(len(v) for v in values if isinstance(v, bytes | str))

    def _statement(self, after: bool, upto: bool) -> Select[Any]:
        statement = select(*self._columns).order_by(*self._key).limit(bindparam("row_limit"))
        if after:
            statement = statement.where(key_after(self._key, "after", self._dialect_name))
        if upto:
            statement = statement.where(key_upto(self._key, "upto", self._dialect_name))
        return statement


def read_cells(prepared: PreparedJob) -> dict[int, ColumnElement[Any]]:
    """SQL of the plaintext columns whose types read them through SQL, by number."""
    if prepared.job.adopted is None:
        return {}
    return {
        number: type_coerce(column, column.type).label(f"r{number}")
        for number, column in enumerate(prepared.plain)
        if read_in_sql(column.type, column, prepared.dialect) is not None
    }


def key_at(prepared: PreparedJob, connection: Connection, part: Bounds, rows: int) -> Any:
    """The key of the last of `rows` rows of a part, or ``None`` if it has fewer."""
    key, name = prepared.key, prepared.dialect.name
    statement = select(*key).order_by(*key).limit(1).offset(rows - 1)
    if part.after is not None:
        statement = statement.where(key_after(key, "after", name))
    if part.upto is not None:
        statement = statement.where(key_upto(key, "upto", name))
    row = read_with_keys(
        prepared.table, lambda: connection.execute(statement, part_parameters(part)).first()
    )
    if row is None:
        return None
    require_text(key, tuple(row))
    require_later(prepared.table, tuple(row), part.after)
    return tuple(row)


def require_walkable(prepared: PreparedJob, connection: Connection) -> None:
    """See that a batch can begin after the table's first row.

    :raises DeclarationError: its key is of a type that a table cannot be walked by.
    """
    reader = BatchReader(prepared, heads=True)
    first = reader.read(connection, Bounds(None, None), 1)
    if first:
        reader.read(connection, Bounds(reader.key_of(first[0]), None), 1)
