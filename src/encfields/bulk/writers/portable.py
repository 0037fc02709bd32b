"""Any database, driver and column type, through SQLAlchemy.

Rows are locked with ``SKIP LOCKED`` if the database has it, then written by ``executemany`` with
compare-and-swap.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    ColumnElement,
    LargeBinary,
    Update,
    bindparam,
    cast,
    func,
    literal_column,
    or_,
    select,
    update,
)

from encfields.bulk.rows.job import REFILL
from encfields.bulk.rows.key_order import bound_parameters, key_from, key_upto
from encfields.bulk.writers.base import ChangeShape, UnchangedPlaintext, by_shape

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from encfields.bulk.rows.prepared_job import PreparedJob
    from encfields.bulk.rows.row_work import RowChange


class PortableWriter:
    """See :class:`~encfields.bulk.writers.base.Writer`."""

    def __init__(self, prepared: PreparedJob) -> None:
        self._prepared = prepared
        self._refills = prepared.job.kind == REFILL
        self._stored = (prepared.job.to_plaintext and prepared.plain) or prepared.columns
        self._plain = UnchangedPlaintext(prepared)
        name, key = prepared.dialect.name, prepared.key
        self._lock = (
            select(*key)
            .where(key_from(key, "first", name), key_upto(key, "last", name))
            .order_by(*key)
            # PostgreSQL's weaker lock, which does not block foreign keys that point here.
            .with_for_update(skip_locked=True, key_share=True)
        )

    def made_ready(self, changes: Sequence[RowChange]) -> None:
        return None

    def write(
        self, connection: Connection, changes: Sequence[RowChange], ready: None = None
    ) -> int:
        bounds = bound_parameters("first", changes[0].key)
        bounds.update(bound_parameters("last", changes[-1].key))
        locked = {tuple(row) for row in connection.execute(self._lock, bounds)}
        held = [change for change in changes if change.key in locked]
        written = 0
        for shape, group in by_shape(held):
            rows = [self._row(change, shape) for change in group]
            statement = self._statement(shape)
            if _may_write_many(connection):
                written += connection.execute(statement, rows).rowcount
            else:
                written += sum(connection.execute(statement, row).rowcount for row in rows)
        return written

    def _statement(self, shape: ChangeShape) -> Update:
        key, columns = self._prepared.key, self._prepared.columns
        same: list[Any] = [c == bindparam(f"k_{i}", type_=c.type) for i, c in enumerate(key)]
        same += [columns[i] == bindparam(f"o_{i}", type_=columns[i].type) for i in shape.compared]
        same += [columns[i].is_(None) for i in shape.absent]
        if not self._refills:
            same += [self._unchanged(i, form) for i, form in enumerate(self._plain.forms)]
        new: dict[Any, Any] = dict(self._prepared.kept_unchanged)
        new |= {
            self._stored[i]: bindparam(f"n_{i}", type_=self._stored[i].type) for i in shape.written
        }
        if shape.writes_indexes:
            for i, column in enumerate(self._prepared.index_columns):
                new[column] = bindparam(f"d_{i}", type_=column.type)
        if self._refills:
            for i, column in enumerate(self._prepared.plain):
                new[column] = func.coalesce(column, bindparam(f"p_{i}", type_=column.type))
        return update(self._prepared.table).where(*same).values(new)

    def _unchanged(self, number: int, form: str) -> ColumnElement[bool]:
        """Whether a plaintext is still what was sealed; any is where there is no comparison.

        :param form: SQL, in which SQLAlchemy would double a % once more.
        """
        doubles = "%%" in self._prepared.dialect.identifier_preparer.quote("%")
        held: ColumnElement[Any] = literal_column(form.replace("%%", "%") if doubles else form)
        expected = bindparam(f"p_{number}", type_=LargeBinary)
        # With the type, which PostgreSQL cannot make out of IS NULL.
        return or_(cast(expected, LargeBinary).is_(None), held == expected)

    def _row(self, change: RowChange, shape: ChangeShape) -> dict[str, Any]:
        row = _row(change, shape)
        plain = change.plain if self._refills else self._plain.expected(change.plain)
        row.update((f"p_{i}", value) for i, value in enumerate(plain or ()))
        return row


def _row(change: RowChange, shape: ChangeShape) -> dict[str, Any]:
    row: dict[str, Any] = {f"k_{i}": value for i, value in enumerate(change.key)}
    row.update((f"o_{i}", change.old[i]) for i in shape.compared)
    row.update((f"n_{i}", change.new[i]) for i in shape.written)
    row.update((f"d_{i}", value) for i, value in enumerate(change.indexes or ()))
    return row


def _may_write_many(connection: Connection) -> bool:
    """Whether one call may write all rows.

    psycopg logs the server's error for a call of many rows, and its detail shows the row that a
    constraint refused.
    """
    dialect = connection.dialect
    return dialect.supports_sane_multi_rowcount and dialect.driver != "psycopg"
