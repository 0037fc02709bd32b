"""SQLite: ``executemany`` with compare-and-swap. Its single writer needs no row locks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from encfields.bulk.writers.base import ChangeShape, UnchangedPlaintext, by_shape

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from encfields.bulk.rows.prepared_job import PreparedJob
    from encfields.bulk.rows.row_work import RowChange


class SqliteWriter:
    """See :class:`~encfields.bulk.writers.base.Writer`."""

    def __init__(self, prepared: PreparedJob) -> None:
        dialect = prepared.dialect
        prepare = dialect.identifier_preparer
        self._table = prepare.format_table(prepared.table)
        self._key = [prepare.quote(column.name) for column in prepared.key]
        self._columns = [prepare.quote(column.name) for column in prepared.columns]
        self._indexes = [prepare.quote(column.name) for column in prepared.index_columns]
        self._plain = UnchangedPlaintext(prepared)
        self._bind = [c.type.dialect_impl(dialect).bind_processor(dialect) for c in prepared.key]

    def made_ready(self, changes: Sequence[RowChange]) -> None:
        return None

    def write(
        self, connection: Connection, changes: Sequence[RowChange], ready: None = None
    ) -> int:
        written = 0
        for shape, group in by_shape(changes):
            rows = [self._row(change, shape) for change in group]
            written += connection.exec_driver_sql(self._statement(shape), rows).rowcount
        return written

    def _statement(self, shape: ChangeShape) -> str:
        sets = [f"{self._columns[i]} = ?" for i in shape.written]
        if shape.writes_indexes:
            sets += [f"{column} = ?" for column in self._indexes]
        where = [f"{name} = ?" for name in self._key]
        where += [f"{self._columns[i]} = ?" for i in shape.compared]
        where += [f"{self._columns[i]} IS NULL" for i in shape.absent]
        where += [f"(? IS NULL OR {form} = ?)" for form in self._plain.forms]
        # Quoted names and placeholders only, here and in the other writers.
        return f"UPDATE {self._table} SET {', '.join(sets)} WHERE {' AND '.join(where)}"  # noqa: S608

    def _row(self, change: RowChange, shape: ChangeShape) -> tuple[Any, ...]:
        key = [bind(v) if bind else v for bind, v in zip(self._bind, change.key, strict=True)]
        new = [change.new[i] for i in shape.written]
        old = [change.old[i] for i in shape.compared]
        plain = [value for value in self._plain.expected(change.plain) for _ in range(2)]
        return (*new, *(change.indexes or ()), *key, *old, *plain)
