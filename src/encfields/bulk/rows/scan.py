"""Reading a table from end to end in short steps, or a part of it that is drawn by chance."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, and_, or_, select, tuple_

from encfields.orm.declare.row_keys import MYSQL_NAMES

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, FromClause, Select
    from sqlalchemy.engine import Dialect

    from encfields.bulk.rows.description import ReflectedTable
    from encfields.orm.declare.columns import ColumnBinding

ScannedRows = Sequence[Any]
"""Rows of a result. (The type of a row differs between SQLAlchemy 2.0 and 2.1.)"""
Cells = Callable[["FromClause"], Sequence["ColumnElement[Any]"]]


class RowSource:
    """Where rows are read: an engine, a short transaction per step; or the caller's connection.

    :param bind: ``Engine`` or ``Connection`` of a synchronous driver; within
        ``AsyncConnection.run_sync``, the connection that it gives.
    """

    def __init__(self, bind: Engine | Connection) -> None:
        self._bind = bind
        self.dialect: Dialect = bind.dialect

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection; what an engine gave is handed back at once."""
        if isinstance(self._bind, Connection):
            yield self._bind
        else:
            with self._bind.connect() as connection:
                yield connection

    def fetch(self, statement: Select[Any]) -> ScannedRows:
        """All rows of a bounded statement."""
        with self.connection() as connection:
            return connection.execute(statement).all()

    def stream(self, statement: Select[Any], rows: int) -> Iterator[ScannedRows]:
        """The rows of an unbounded statement, `rows` at a time.

        An engine's are not held in memory at once. A caller's connection is free for other
        statements meanwhile, which costs the memory.
        """
        if not isinstance(self._bind, Connection):
            statement = statement.execution_options(yield_per=rows)
        with self.connection() as connection:
            yield from connection.execute(statement).partitions(rows)


class Scan:
    """The SELECT that a census or a verification works through.

    Each row holds the columns in :attr:`carried`, then the cells.

    :param reflected: the table.
    :param source: where it is read.
    :param cells: given the table, or a sample of it, the expressions to select.
    :param batch_rows: rows per step; may be changed between two steps.
    :ivar key: columns that distinguish rows: the primary key, else what the encrypted
        columns are bound to.
    """

    def __init__(
        self, reflected: ReflectedTable, source: RowSource, cells: Cells, *, batch_rows: int
    ) -> None:
        self.table = reflected.table
        self.source = source
        self.batch_rows = batch_rows
        self._cells = cells
        identity = [c.name for binding in reflected.bindings for c in binding.identity]
        primary = [column.name for column in self.table.primary_key.columns]
        self.key = primary or list(dict.fromkeys(identity))
        self.has_primary_key = bool(primary)
        self.carried = list(dict.fromkeys([*primary, *identity]))

    def statement(self, table: FromClause | None = None) -> Select[Any]:
        """The SELECT, without an order or a bound.

        :param table: a sample of the table; by default the table.
        """
        place = self.table if table is None else table
        return select(*(place.c[name] for name in self.carried), *self._cells(place))

    def batches(self) -> Iterator[ScannedRows]:
        """Every row once, in the order of the primary key; a table without one is streamed.

        What is inserted behind the cursor meanwhile is not seen.
        """
        if not self.has_primary_key:
            yield from self.source.stream(self.statement(), self.batch_rows)
            return
        columns = [self.table.c[name] for name in self.key]
        ordered = self.statement().order_by(*columns)
        last: Sequence[Any] | None = None
        while True:
            limit = self.batch_rows
            statement = ordered.limit(limit)
            if last is not None:
                statement = statement.where(after(columns, last, self.source.dialect))
            found = self.source.fetch(statement)
            if found:
                yield found
                last = tuple(found[-1])[: len(columns)]
            if len(found) < limit:
                return

    def positions(self, binding: ColumnBinding) -> tuple[int, ...]:
        """Where in a row the identity of `binding` stands."""
        return tuple(self.carried.index(column.name) for column in binding.identity)

    def key_of(self, row: Sequence[Any]) -> tuple[Any, ...]:
        """The values of :attr:`key` in a row."""
        return tuple(row[self.carried.index(name)] for name in self.key)

    def whole_values(self, name: str, rows: ScannedRows) -> dict[tuple[Any, ...], Any]:
        """The values of one column of rows already read, by key; not of those that are gone."""
        keys = [self.key_of(row) for row in rows]
        columns = [self.table.c[key] for key in self.key]
        if len(columns) == 1:
            condition = columns[0].in_([key[0] for key in keys])
        else:
            condition = tuple_(*columns).in_(keys)
        found = self.source.fetch(select(*columns, self.table.c[name]).where(condition))
        return {tuple(row[: len(columns)]): row[len(columns)] for row in found}


def after(
    columns: Sequence[ColumnElement[Any]], values: Sequence[Any], dialect: Dialect
) -> ColumnElement[bool]:
    """The condition for rows whose key comes after `values`.

    MariaDB and MySQL do not use an index for the comparison of tuples, so it is spelt out.
    """
    condition: ColumnElement[bool]
    if len(columns) == 1:
        condition = columns[0] > values[0]
        return condition
    if dialect.name not in MYSQL_NAMES:
        condition = tuple_(*columns) > tuple_(*values)
        return condition
    steps = [
        and_(*(columns[i] == values[i] for i in range(n)), columns[n] > values[n])
        for n in range(len(columns))
    ]
    return and_(columns[0] >= values[0], or_(*steps))
