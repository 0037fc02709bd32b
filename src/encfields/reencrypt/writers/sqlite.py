"""SQLite: ``executemany`` with compare-and-swap. Its one writer has no row's lock to wait for."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from encfields.reencrypt.job import PreparedJob
    from encfields.reencrypt.values import Change


class SqliteWriter:
    """See :class:`~encfields.reencrypt.writers.base.Writer`."""

    def __init__(self, prepared: PreparedJob) -> None:
        dialect = prepared.dialect
        prepare = dialect.identifier_preparer
        self._table = prepare.format_table(prepared.table)
        self._key = [prepare.quote(column.name) for column in prepared.key]
        self._columns = [prepare.quote(column.name) for column in prepared.columns]
        self._bind = [c.type.dialect_impl(dialect).bind_processor(dialect) for c in prepared.key]

    def write(self, connection: Connection, changes: Sequence[Change]) -> int:
        written = 0
        for touched, group in groupby(changes, key=_touched):
            rows = [self._row(change, touched) for change in group]
            written += connection.exec_driver_sql(self._statement(touched), rows).rowcount
        return written

    def _statement(self, touched: tuple[int, ...]) -> str:
        sets = ", ".join(f"{self._columns[i]} = ?" for i in touched)
        where = [f"{name} = ?" for name in self._key]
        where += [f"{self._columns[i]} = ?" for i in touched]
        # Quoted names and placeholders only, here and in the other writers.
        return f"UPDATE {self._table} SET {sets} WHERE {' AND '.join(where)}"  # noqa: S608

    def _row(self, change: Change, touched: tuple[int, ...]) -> tuple[Any, ...]:
        key = [bind(v) if bind else v for bind, v in zip(self._bind, change.key, strict=True)]
        new, old = ([values[i] for i in touched] for values in (change.new, change.old))
        return (*new, *key, *old)


def _touched(change: Change) -> tuple[int, ...]:
    return tuple(i for i, value in enumerate(change.new) if value is not None)
