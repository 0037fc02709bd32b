"""MariaDB and MySQL: lock a batch without waiting, compare under the lock, then swap.

New values are literals in a CASE, which took half the time of a join with a derived table (written
to disk, since its columns are longer than 512 bytes) and a tenth of that of ``executemany``, with
its round trip per row. ``INSERT .. ON DUPLICATE KEY UPDATE`` is never used: it would restore
deleted rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby, repeat
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Connection, CursorResult, select

from encfields.bulk.errors import ReencryptionError
from encfields.bulk.rows.key_order import bound_parameters, key_from, key_upto
from encfields.bulk.rows.row_work import RowChange
from encfields.bulk.rows.stored_keys import key_to_text, readable_key
from encfields.bulk.writers.base import (
    IDENTIFYING_BYTES,
    ChangeShape,
    Statement,
    UnchangedPlaintext,
    shape_of,
    shapes_of,
)

if TYPE_CHECKING:
    from encfields.bulk.rows.prepared_job import PreparedJob

MAX_STATEMENT_ROWS = 250
"""A CASE is searched from its start for every row, so keep it short."""

MAX_STATEMENT_BYTES = 4 * 2**20
"""Approximate bytes of a statement; servers accept 16 MB by default."""

_MOST_ROW_BYTES = 4096
"""Bytes in a statement that suffice for any row's key and everything else but its values."""

_USUAL_ROW_BYTES = 256
"""What most rows take of that, by which rows are divided among statements."""

_AT_ONCE = "SET STATEMENT innodb_lock_wait_timeout=0 FOR "
"""Do not wait for another transaction's uncommitted entry in a unique index: that transaction may
wait for these rows, and in a deadlock the server ends the smaller one, which is the application's.
MySQL has no such prefix, so there it can happen."""


class MysqlWriter:
    """See :class:`~encfields.bulk.writers.base.Writer`."""

    def __init__(self, prepared: PreparedJob) -> None:
        dialect = prepared.dialect
        prepare = dialect.identifier_preparer
        self._prepared = prepared
        self._table = prepare.format_table(prepared.table)
        self._key = [prepare.quote(column.name) for column in prepared.key]
        self._columns = [prepare.quote(column.name) for column in prepared.columns]
        self._indexes = [prepare.quote(column.name) for column in prepared.index_columns]
        kept = (prepare.quote(column.name) for column in prepared.kept_unchanged)
        self._kept = [f"{name} = {name}" for name in kept]
        self._plain = UnchangedPlaintext(prepared)
        self._bind = [c.type.dialect_impl(dialect).bind_processor(dialect) for c in prepared.key]
        name, key = dialect.name, prepared.key
        self._lock = (
            select(*key)
            .where(key_from(key, "first", name), key_upto(key, "last", name))
            .order_by(*key)
            .with_for_update(skip_locked=True)
        )
        self._packet = 0
        self._at_once = (
            _AT_ONCE if prepared.index_columns and getattr(dialect, "is_mariadb", False) else ""
        )

    def made_ready(self, changes: Sequence[RowChange]) -> _Ready | None:
        rows = self._rows(changes)
        # Not what is written in parts, nor what would fill the memory with a second batch; and
        # nothing before the first write, which asks the server how much a packet may hold.
        limit = min(MAX_STATEMENT_BYTES, self._packet // 2 - _MOST_ROW_BYTES)
        if sum(row.size for row in rows) > limit:
            return None
        updates = [self._update(part[0].shape, part) for part in self._parts_of_each_shape(rows)]
        return _Ready(rows, self._lock_of(rows), updates)

    def write(
        self, connection: Connection, changes: Sequence[RowChange], ready: _Ready | None = None
    ) -> int:
        if not self._packet:
            asked = connection.exec_driver_sql("SELECT @@max_allowed_packet")
            self._packet = int(asked.scalar_one())
        if ready is None:
            rows = self._rows(changes)
            ready = _Ready(rows, self._lock_of(rows), None)
        locked = self._lock_rows(connection, ready)
        if ready.updates is not None and len(locked) == len(ready.rows):
            return sum(_execute(connection, *update).rowcount for update in ready.updates)
        return sum(
            self._swap(connection, part[0].shape, part)
            for part in self._parts_of_each_shape(locked)
        )

    def _lock_of(self, rows: Sequence[_Row]) -> Statement | None:
        """The statement that locks and counts rows, if the key has one column."""
        if len(self._key) > 1:
            return None
        parameters: list[Any] = []
        where = self._any_of(rows, parameters)
        statement = f"SELECT COUNT(*) FROM {self._table} WHERE {where} FOR UPDATE SKIP LOCKED"  # noqa: S608
        return Statement(statement, parameters)

    def _lock_rows(self, connection: Connection, ready: _Ready) -> list[_Row]:
        """Lock rows for this transaction; leave out those locked by others."""
        rows = ready.rows
        # A count is read much faster than the keys, and is usually the one expected.
        if ready.lock and _execute(connection, *ready.lock).scalar_one() == len(rows):
            return rows
        bounds = bound_parameters("first", rows[0].change.key)
        bounds.update(bound_parameters("last", rows[-1].change.key))
        locked = {tuple(row) for row in connection.execute(self._lock, bounds)}
        return [row for row in rows if row.change.key in locked]

    def _swap(self, connection: Connection, shape: ChangeShape, rows: Sequence[_Row]) -> int:
        """Store locked rows of one shape, if the old values are still there."""
        if rows[0].size + _MOST_ROW_BYTES >= self._packet:
            return self._store_in_parts(connection, shape, rows[0])
        return _execute(connection, *self._update(shape, rows)).rowcount

    def _update(self, shape: ChangeShape, rows: Sequence[_Row]) -> Statement:
        """The statement that stores rows of one shape."""
        sets = [*self._kept]
        parameters: list[Any] = []
        for i in shape.written:
            values = [row.change.new[i] for row in rows]
            sets.append(self._case(self._columns[i], rows, values, parameters))
        if shape.writes_indexes:
            for i, column in enumerate(self._indexes):
                values = [(row.change.indexes or ())[i] for row in rows]
                sets.append(self._case(column, rows, values, parameters))
        where = self._unchanged(shape, rows, parameters)
        # Quoted names, placeholders, integers and hexadecimal only, here and below.
        update = f"UPDATE {self._table} SET {', '.join(sets)} WHERE {where}"  # noqa: S608
        return Statement(self._at_once + update, parameters)

    def _case(
        self,
        column: str,
        rows: Sequence[_Row],
        values: Sequence[bytes | None],
        parameters: list[Any],
    ) -> str:
        """SQL that gives each row its value of one column."""
        _add_parameters(rows, parameters)
        # Hexadecimal needs no escaping, and the server reads it fastest.
        cases = [
            f"WHEN {row.condition} THEN NULL"
            if value is None
            else f"WHEN {row.condition} THEN x'{value.hex()}'"
            for row, value in zip(rows, values, strict=True)
        ]
        subject = f"{self._key[0]} " if len(self._key) == 1 else ""
        return f"{column} = CASE {subject}{' '.join(cases)} END"

    def _unchanged(self, shape: ChangeShape, rows: Sequence[_Row], parameters: list[Any]) -> str:
        """SQL for "the row is one of these and still holds what was read"."""
        where = [self._any_of(rows, parameters)]
        for i in shape.compared:
            heads = "',x'".join(
                [(row.change.old[i] or b"")[:IDENTIFYING_BYTES].hex() for row in rows]
            )
            where.append(f"LEFT({self._columns[i]}, {IDENTIFYING_BYTES}) IN (x'{heads}')")
        where += [f"{self._columns[i]} IS NULL" for i in shape.absent]
        for number, form in enumerate(self._plain.forms):
            expected = [self._plain.expected(row.change.plain)[number] for row in rows]
            if any(value is not None for value in expected):
                # The CASE is NULL for a row whose plaintext is not compared. The form is NULL if
                # the application set the plaintext to NULL; that must not match any digest.
                case = self._case("", rows, expected, parameters).removeprefix(" = ")
                where.append(f"COALESCE(COALESCE({form}, x'') = {case}, TRUE)")
        return " AND ".join(where)

    def _any_of(self, rows: Sequence[_Row], parameters: list[Any]) -> str:
        """SQL for "the key is one of these"; without tuples, for which MySQL would scan."""
        _add_parameters(rows, parameters)
        conditions = [row.condition for row in rows]
        if len(self._key) == 1:
            return f"{self._key[0]} IN ({','.join(conditions)})"
        return f"({' OR '.join(conditions)})"

    def _rows(self, changes: Sequence[RowChange]) -> list[_Row]:
        """The changes, each with its key in SQL: integers as literals, the rest as parameters."""
        if self._bind == [None]:
            keys = [change.key[0] for change in changes]
            if set(map(type, keys)) == {int}:
                texts, shapes = map(int.__repr__, keys), shapes_of(changes)
                return list(map(_Row, changes, shapes, texts, repeat(()), _sizes(changes)))
        return list(map(self._row, changes))

    def _row(self, change: RowChange) -> _Row:
        key = [bind(v) if bind else v for bind, v in zip(self._bind, change.key, strict=True)]
        texts = [str(value) if type(value) is int else "%s" for value in key]
        condition = texts[0]
        if len(texts) > 1:
            same = (f"{name} = {text}" for name, text in zip(self._key, texts, strict=True))
            condition = f"({' AND '.join(same)})"
        parameters = tuple(value for value in key if type(value) is not int)
        return _Row(change, shape_of(change), condition, parameters, _size(change))

    def _parts_of_each_shape(self, rows: list[_Row]) -> Iterator[list[_Row]]:
        """Rows by statement; all rows of one have the same comparison."""
        for group in _sorted_by_shape(rows):
            yield from self._parts(group)

    def _parts(self, rows: list[_Row]) -> Iterator[list[_Row]]:
        """Split rows into statements that the server accepts; a large row goes alone."""
        limit = min(MAX_STATEMENT_BYTES, self._packet // 2)
        if MAX_STATEMENT_ROWS * max(row.size for row in rows) < limit:
            for first in range(0, len(rows), MAX_STATEMENT_ROWS):
                yield rows[first : first + MAX_STATEMENT_ROWS]
            return
        part: list[_Row] = []
        size = 0
        for row in rows:
            if part and (len(part) == MAX_STATEMENT_ROWS or size + row.size >= limit):
                yield part
                part, size = [], 0
            part.append(row)
            size += row.size
        if part:
            yield part

    def _store_in_parts(self, connection: Connection, shape: ChangeShape, row: _Row) -> int:
        """Store one locked row whose values are too large for one statement."""
        parameters: list[Any] = []
        where = self._unchanged(shape, [row], parameters)
        statement = f"SELECT 1 FROM {self._table} WHERE {where}"  # noqa: S608
        if connection.exec_driver_sql(statement, tuple(parameters)).first() is None:
            return 0
        if shape.writes_indexes:
            index_alone = shape._replace(written=())
            self._swap(connection, index_alone, [_without_values(row)])
        size = max(1, (self._packet - _MOST_ROW_BYTES) // 4)
        this = self._any_of([row], [])
        for column, value in zip(self._columns, row.change.new, strict=True):
            self._check_size(row, value)
            for start in range(0, len(value or b""), size):
                part = f"x'{value[start : start + size].hex()}'"
                new = f"CONCAT({column}, {part})" if start else part
                sets = ", ".join([f"{column} = {new}", *self._kept])
                statement = f"UPDATE {self._table} SET {sets} WHERE {this}"  # noqa: S608
                connection.exec_driver_sql(statement, tuple(row.parameters))
        return 1

    def _check_size(self, row: _Row, value: bytes | None) -> None:
        if value is None or len(value) + _MOST_ROW_BYTES < self._packet:
            return
        names = [column.name for column in self._prepared.key]
        key = readable_key(names, key_to_text(row.change.key))
        row_key = ", ".join(f"{name}={part}" for name, part in key.items())
        raise ReencryptionError(
            f"the row {row_key} would get a value of {len(value)} bytes, and the server takes no "
            f"more than {self._packet} at once: raise its max_allowed_packet",
            table=self._prepared.job.table_name,
            reason="max-allowed-packet",
        )


class _Row(NamedTuple):
    """A change with its key in SQL.

    :param condition: matches this row in the CASE, whose subject is the key if it has one column.
    :param parameters: of the placeholders in it.
    :param size: approximate bytes of the row in a statement.
    """

    change: RowChange
    shape: ChangeShape
    condition: str
    parameters: tuple[Any, ...]
    size: int


class _Ready(NamedTuple):
    """A batch to be written.

    :param lock: counts the rows that it locks; ``None`` if the key has several columns.
    :param updates: for when all rows are locked; ``None`` if they are not made yet.
    """

    rows: list[_Row]
    lock: Statement | None
    updates: list[Statement] | None


def _execute(
    connection: Connection, statement: str, parameters: Sequence[Any]
) -> CursorResult[Any]:
    """The result of a statement."""
    if not parameters and "%" not in statement:
        # Else the driver searches and copies a megabyte to fill nothing in.
        return connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
    return connection.exec_driver_sql(statement, tuple(parameters))


def _sorted_by_shape(rows: list[_Row]) -> list[list[_Row]]:
    """Rows of the same shape together; the shapes in their order."""
    if not rows or all(row.shape is rows[0].shape for row in rows):
        return [rows] if rows else []
    rows = sorted(rows, key=lambda row: row.shape)
    return [list(group) for _, group in groupby(rows, key=lambda row: row.shape)]


def _add_parameters(rows: Sequence[_Row], parameters: list[Any]) -> None:
    for row in rows:
        if row.parameters:  # integers are literals
            parameters += row.parameters


def _size(change: RowChange) -> int:
    return 2 * sum(len(value or b"") for value in change.new) + _USUAL_ROW_BYTES


def _sizes(changes: Sequence[RowChange]) -> list[int]:
    """:func:`_size` of many changes."""
    if len(changes[0].new) == 1:
        return [2 * len(new or b"") + _USUAL_ROW_BYTES for _, _, (new,), _, _ in changes]
    return list(map(_size, changes))


def _without_values(row: _Row) -> _Row:
    """The row without its values: only its blind indexes."""
    change = row.change._replace(new=(None,) * len(row.change.new))
    return row._replace(change=change, shape=shape_of(change), size=_size(change))
