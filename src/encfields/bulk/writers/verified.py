"""Looks at what was just written, where something may have stored it otherwise.

A trigger or a rule that cuts a value, sets it to NULL, gives the row another key or leaves it as
it was destroys what the run replaces: the old value is gone with the COMMIT. So does a MySQL that
is not strict, with a column that is too short. So such rows are read back in the same transaction,
and one that holds something else is undone.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Column, ColumnElement, func, select

from encfields.bulk.errors import RowAlteredError
from encfields.bulk.rows.key_order import bound_parameters, key_from, key_upto
from encfields.bulk.rows.row_work import ABSENT
from encfields.databases import MYSQL_NAMES
from encfields.orm.write.triggered_tables import may_alter_updates

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from encfields.bulk.rows.prepared_job import PreparedJob
    from encfields.bulk.rows.row_work import RowChange
    from encfields.bulk.rows.stored_keys import Key
    from encfields.bulk.writers.base import Writer

_KNOWN_SECONDS = 1.0
"""For how long the catalog's answer is believed: a trigger may be made while a run is at work."""


class VerifiedWriter:
    """Another writer, of which every row that it counts as written holds what it was given.

    :param writer: the one that writes. :param prepared: the run's job.
    """

    def __init__(self, writer: Writer, prepared: PreparedJob) -> None:
        self._writer = writer
        self._prepared = prepared
        self._always = prepared.job.to_plaintext is not None
        self._until = 0.0
        self._is_altered = False
        self._rows = _StoredRows(prepared)

    def write(self, connection: Connection, changes: Sequence[RowChange]) -> int:
        """Store some rows.

        :returns: how many were stored.
        :raises RowAlteredError: one of them holds something else, or is left as it was whatever
            is written to it. The caller takes all of it back.
        """
        written = self._writer.write(connection, changes)
        if not self._may_be_altered(connection):
            return written
        if written:
            stored = self._rows.read(connection, changes)
            if sum(stored.is_new(change) for change in changes) < written:
                raise RowAlteredError
        if written < len(changes):
            written += self._again(connection, changes)
        return written

    def _again(self, connection: Connection, changes: Sequence[RowChange]) -> int:
        """Write rows that are as they were, now that their locks are held; how many were stored."""
        held = self._rows.read(connection, changes, locks=True)
        left = [change for change in changes if held.is_old(change)]
        if left and self._writer.write(connection, left) < len(left):
            raise RowAlteredError
        if left:
            stored = self._rows.read(connection, left)
            if not all(map(stored.is_new, left)):
                raise RowAlteredError
        return len(left)

    def _may_be_altered(self, connection: Connection) -> bool:
        if self._always:
            return True
        now = time.monotonic()
        if now >= self._until:
            self._is_altered = may_alter_updates(connection, self._prepared.table)
            self._until = now + _KNOWN_SECONDS
        return self._is_altered


class _Stored(NamedTuple):
    """What rows hold.

    :param rows: what stands in the columns of each, by its key.
    :param rows_of: how a change says what it writes, and what it replaces.
    """

    rows: Mapping[Key, Sequence[Any]]
    of: _StoredRows

    def is_new(self, change: RowChange) -> bool:
        """Whether the row holds all that the change writes."""
        row = self.rows.get(change.key)
        return row is not None and self.of.holds(row, change.new, change.indexes)

    def is_old(self, change: RowChange) -> bool:
        """Whether the row holds what the change replaces."""
        row = self.rows.get(change.key)
        return row is not None and self.of.holds_old(row, change.old)


class _StoredRows:
    """Reads the rows of a batch as they stand: of a message its digest, which is short."""

    def __init__(self, prepared: PreparedJob) -> None:
        name, key = prepared.dialect.name, prepared.key
        self._hashes = name == "postgresql" or name in MYSQL_NAMES
        self._is_mysql = name in MYSQL_NAMES
        self._key_width = len(key)
        self._width = len(prepared.columns)
        self._plain = prepared.plain if prepared.job.to_plaintext is not None else ()
        cells = [self._cell(column) for column in prepared.columns]
        self._select = (
            select(*key, *cells, *prepared.index_columns, *self._plain)
            .where(key_from(key, "first", name), key_upto(key, "last", name))
            .order_by(*key)
        )

    def _cell(self, column: Column[Any]) -> ColumnElement[Any]:
        if self._is_mysql:
            return func.unhex(func.sha2(column, 256))
        return func.sha256(column) if self._hashes else column

    def read(
        self, connection: Connection, changes: Sequence[RowChange], *, locks: bool = False
    ) -> _Stored:
        """The rows from a batch's first key to its last.

        :param locks: take those alone whose lock is free, and hold it.
        """
        bounds = bound_parameters("first", changes[0].key)
        bounds.update(bound_parameters("last", changes[-1].key))
        statement = self._select
        if locks:
            statement = statement.with_for_update(skip_locked=True, key_share=True)
        width = self._key_width
        rows = {tuple(row[:width]): row[width:] for row in connection.execute(statement, bounds)}
        return _Stored(rows, self)

    def holds(self, row: Sequence[Any], new: Sequence[Any], indexes: Sequence[Any] | None) -> bool:
        """Whether a row holds these values and indexes, ``None`` for what does not matter."""
        if self._plain:
            values = row[len(row) - len(self._plain) :]
            return all(n is None or v == n for v, n in zip(values, new, strict=True))
        if not all(map(self._is, row, new)):
            return False
        stored = row[self._width : self._width + len(indexes or ())]
        return all(_bytes(s) == _bytes(i) for s, i in zip(stored, indexes or (), strict=True))

    def holds_old(self, row: Sequence[Any], old: Sequence[bytes | None]) -> bool:
        """Whether a row holds what a change replaces."""
        return all(map(self._is, row, old))

    def _is(self, stored: Any, value: bytes | None) -> bool:
        if value is None:
            return True
        if value == ABSENT or stored is None:
            return stored is None and value == ABSENT
        if not self._hashes:
            return bytes(stored) == value
        return bytes(stored) == hashlib.sha256(value).digest()


def _bytes(value: Any) -> Any:
    return bytes(value) if isinstance(value, memoryview | bytearray) else value
