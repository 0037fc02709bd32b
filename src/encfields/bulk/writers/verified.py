"""Checks what was just written, if the database may have altered it.

A trigger or rule that truncates a value, sets it to NULL, changes the row's key or keeps the old
row, and a non-strict MySQL with too short a column, would lose data: the COMMIT removes the old
value. The same goes for another value of the row or a blind index. So such rows are locked and read
before and after writing, in the same transaction, and a wrong row is rolled back.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, false, func, select, update

from encfields.bulk.errors import RowAlteredError
from encfields.bulk.rows.job import ADOPT, REFILL
from encfields.bulk.rows.key_order import bound_parameters, key_from, key_upto
from encfields.bulk.rows.row_work import ABSENT, same_value
from encfields.databases import MYSQL_NAMES
from encfields.orm.write.triggered_tables import may_alter_updates

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from encfields.bulk.rows.prepared_job import PreparedJob
    from encfields.bulk.rows.row_work import RowChange
    from encfields.bulk.rows.stored_keys import Key
    from encfields.bulk.writers.base import Writer

_KNOWN_SECONDS = 1.0
"""Seconds to trust the catalog's answer: a trigger may be created during a run."""


class VerifiedWriter:
    """Wraps a writer, and checks that every row it wrote holds what was written.

    :param writer: the wrapped writer. :param prepared: the run's job.
    """

    def __init__(self, writer: Writer, prepared: PreparedJob) -> None:
        self._writer = writer
        self._prepared = prepared
        self._always = prepared.job.to_plaintext is not None
        self._until = 0.0
        self._is_altered = False
        self._rows = _StoredRows(prepared)

    def made_ready(self, changes: Sequence[RowChange]) -> Any:
        return self._writer.made_ready(changes)

    def write(self, connection: Connection, changes: Sequence[RowChange], ready: Any = None) -> int:
        """Store some rows.

        :param ready: what :meth:`made_ready` returned for them.
        :returns: how many were stored.
        :raises RowAlteredError: a row holds something else, or refuses to change. The caller rolls
            everything back.
        """
        if not self._may_be_altered(connection):
            return self._writer.write(connection, changes, ready)
        before = self._rows.lock(connection, changes)
        # Locked: nobody else can change these now.
        held = ((change, before.get(_comparable(change.key))) for change in changes)
        free = [(c, row) for c, row in held if row is not None and self._rows.is_old(row, c)]
        if not free:
            return 0
        written = [change for change, _ in free]
        if self._writer.write(connection, written) < len(written):
            raise RowAlteredError
        after = self._rows.read(connection, written)
        for change, was in free:
            row = after.get(_comparable(change.key))
            if row is None or not self._rows.is_new(row, change, was):
                raise RowAlteredError
        return len(free)

    def _may_be_altered(self, connection: Connection) -> bool:
        if self._always:
            return True
        now = time.monotonic()
        if now >= self._until:
            self._is_altered = may_alter_updates(connection, self._prepared.table)
            self._until = now + _KNOWN_SECONDS
        return self._is_altered


class _StoredRow:
    """A row's columns that matter to a run.

    :param places: the positions at which each of the following begins.
    :ivar cells: its encrypted values, or their digests if the database can hash.
    :ivar indexes: its blind indexes. :ivar identity: what its values are bound to besides the key.
    :ivar plain: its plaintext columns, as written or compared; for a run that refills them,
        whether each holds a value.
    """

    __slots__ = ("cells", "identity", "indexes", "plain")

    def __init__(self, row: Sequence[Any], places: Sequence[int]) -> None:
        indexes, identity, plain = places
        self.cells = [_bytes(value) for value in row[:indexes]]
        self.indexes = [_bytes(value) for value in row[indexes:identity]]
        self.identity = row[identity:plain]
        self.plain = row[plain:]


class _StoredRows:
    """Reads a batch's rows as stored, with short digests in place of messages."""

    def __init__(self, prepared: PreparedJob) -> None:
        name, key = prepared.dialect.name, prepared.key
        self._hashes = name == "postgresql" or name in MYSQL_NAMES
        self._is_mysql = name in MYSQL_NAMES
        self._key_width = len(key)
        self._to_plaintext = prepared.job.to_plaintext is not None
        self._adopts = prepared.job.kind == ADOPT
        self._refilled = prepared.adopted_numbers if prepared.job.kind == REFILL else ()
        cells = [self._cell(column) for column in prepared.columns]
        beside = [*prepared.index_columns, *prepared.identity]
        plain: Sequence[ColumnElement[Any]] = prepared.plain if self._to_plaintext else ()
        if self._adopts:
            plain = [self._cell(cell) for cell in prepared.plain_cells]
        if self._refilled:
            plain = [column.is_not(None) for column in prepared.plain]
        indexes = len(cells)
        identity = indexes + len(prepared.index_columns)
        self._places = (indexes, identity, identity + len(prepared.identity))
        self._select = (
            select(*key, *cells, *beside, *plain)
            .select_from(prepared.table)
            .where(key_from(key, "first", name), key_upto(key, "last", name))
            .order_by(*key)
        )
        self._begin = None
        if name == "sqlite":
            # A SELECT begins no transaction there, so what it reads could change.
            self._begin = update(prepared.table).where(false()).values({key[0]: key[0]})

    def _cell(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        if self._is_mysql:
            return func.unhex(func.sha2(column, 256))
        return func.sha256(column) if self._hashes else column

    def lock(
        self, connection: Connection, changes: Sequence[RowChange]
    ) -> Mapping[Key, _StoredRow]:
        """Lock and read the rows from a batch's first key to its last, skipping locked ones."""
        if self._begin is not None:
            connection.execute(self._begin)
        return self._read(
            connection, changes, self._select.with_for_update(skip_locked=True, key_share=True)
        )

    def read(
        self, connection: Connection, changes: Sequence[RowChange]
    ) -> Mapping[Key, _StoredRow]:
        """Read the rows from a batch's first key to its last."""
        return self._read(connection, changes, self._select)

    def _read(
        self, connection: Connection, changes: Sequence[RowChange], statement: Any
    ) -> Mapping[Key, _StoredRow]:
        bounds = bound_parameters("first", changes[0].key)
        bounds.update(bound_parameters("last", changes[-1].key))
        rows = connection.execute(statement, bounds)
        width = self._key_width
        return {_comparable(row[:width]): _StoredRow(row[width:], self._places) for row in rows}

    def is_old(self, row: _StoredRow, change: RowChange) -> bool:
        """Whether a row holds what a change replaces."""
        if not all(map(self._is, row.cells, change.old)):
            return False
        if not self._adopts or change.plain is None:
            return True
        return all(
            value is None or self._holds(_bytes(stored), value)
            for stored, value in zip(row.plain, change.plain, strict=True)
        )

    def is_new(self, row: _StoredRow, change: RowChange, before: _StoredRow) -> bool:
        """Whether a row holds all that a change writes, and otherwise what it held before."""
        new: Sequence[Any] = change.new
        if self._to_plaintext:
            if not all(n is None or same_value(p, n) for p, n in zip(row.plain, new, strict=True)):
                return False
            new = [None] * len(new)
        if not all(map(self._is, row.cells, new)) or self._stays_empty(row, change):
            return False
        kept = (s == b for s, b, n in zip(row.cells, before.cells, new, strict=True) if n is None)
        indexes = before.indexes if change.indexes is None else list(map(_bytes, change.indexes))
        return all(kept) and row.indexes == indexes and row.identity == before.identity

    def _stays_empty(self, row: _StoredRow, change: RowChange) -> bool:
        """Whether a plaintext that was written is NULL, as SQLite stores NaN: the run would find
        the row again and again."""
        refilled = zip(self._refilled, row.plain, strict=False)
        return any(change.new[number] is not None and not held for number, held in refilled)

    def _is(self, stored: Any, value: bytes | None) -> bool:
        if value is None:
            return True
        if value == ABSENT or stored is None:
            return stored is None and value == ABSENT
        return self._holds(stored, value)

    def _holds(self, stored: Any, value: bytes) -> bool:
        return bool(stored == (hashlib.sha256(value).digest() if self._hashes else value))


def _comparable(key: Sequence[Any]) -> Key:
    """A row's key in a form that equals itself, which NaN does not."""
    return tuple(None if value != value else value for value in key)


def _bytes(value: Any) -> Any:
    return bytes(value) if isinstance(value, memoryview | bytearray) else value
