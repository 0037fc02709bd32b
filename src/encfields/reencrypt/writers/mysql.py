"""MariaDB and MySQL: lock a batch without waiting, compare under the lock, then swap.

The new values come as literals of a CASE, which took half the time of a join with a derived
table (it would be written to disk: its columns are longer than 512 bytes), and a tenth of that
of ``executemany``, one round trip a row. ``INSERT .. ON DUPLICATE KEY UPDATE`` is never used: it
is made to bring back rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, func, select, type_coerce
from sqlalchemy.types import NullType

from encfields.message_header import CONTEXT_OFFSET
from encfields.reencrypt.batches import bound_parameters, key_from, key_upto
from encfields.reencrypt.errors import ReencryptionError
from encfields.reencrypt.key_codec import key_to_text, readable_key
from encfields.reencrypt.values import ABSENT

if TYPE_CHECKING:
    from encfields.reencrypt.job import PreparedJob
    from encfields.reencrypt.key_codec import Key
    from encfields.reencrypt.values import Change

IDENTIFYING_BYTES = CONTEXT_OFFSET - 2
"""The first bytes of a message, up to its 32 random bytes of message id: no two share them, so
they tell whether a value is still the one that was read, for a sixteenth of the bytes."""

MAX_STATEMENT_ROWS = 250
"""A CASE is searched from its start for every row."""

MAX_STATEMENT_BYTES = 4 * 2**20
"""Size of a statement, about; servers take 16 MB by default."""

_ROW_BYTES = 4096
"""Room in a statement for a row's key and all else beside the values."""


class MysqlWriter:
    """See :class:`~encfields.reencrypt.writers.base.Writer`."""

    def __init__(self, prepared: PreparedJob) -> None:
        dialect = prepared.dialect
        prepare = dialect.identifier_preparer
        self._prepared = prepared
        self._table = prepare.format_table(prepared.table)
        self._key = [prepare.quote(column.name) for column in prepared.key]
        self._columns = [prepare.quote(column.name) for column in prepared.columns]
        self._derived = [prepare.quote(column.name) for column in prepared.derived]
        self._bind = [c.type.dialect_impl(dialect).bind_processor(dialect) for c in prepared.key]
        name, key = dialect.name, prepared.key
        heads = [
            type_coerce(func.left(column, IDENTIFYING_BYTES), NullType).label(f"h{i}")
            for i, column in enumerate(prepared.columns)
        ]
        self._lock = (
            select(*key, *heads)
            .where(key_from(key, "first", name), key_upto(key, "last", name))
            .order_by(*key)
            .with_for_update(skip_locked=True)
        )
        self._packet = 0

    def write(self, connection: Connection, changes: Sequence[Change]) -> int:
        if not self._packet:
            asked = connection.exec_driver_sql("SELECT @@max_allowed_packet")
            self._packet = int(asked.scalar_one())
        bounds = bound_parameters("first", changes[0].key)
        bounds.update(bound_parameters("last", changes[-1].key))
        width = len(self._key)
        locked = {tuple(row[:width]): row[width:] for row in connection.execute(self._lock, bounds)}
        ours = [
            change
            for change in changes
            if (heads := locked.get(change.key)) is not None and _is_unchanged(change, heads)
        ]
        written = 0
        for part in self._parts(ours):
            is_large = _statement_bytes(part[0]) + _ROW_BYTES >= self._packet
            if is_large:
                written += self._store_in_parts(connection, part[0])
            else:
                written += self._swap(connection, part)
        return written

    def _swap(self, connection: Connection, changes: Sequence[Change]) -> int:
        """Store rows whose locks are held and whose values were compared."""
        keys = [_Literals(self._bound(change.key)) for change in changes]
        sets: list[str] = []
        parameters: list[Any] = []
        for i, column in enumerate(self._columns):
            values = [change.new[i] for change in changes]
            wanted = [value is not None for value in values]
            self._set(column, keys, values, wanted, sets, parameters)
        wanted = [change.derived is not None for change in changes]
        for i, column in enumerate(self._derived):
            values = [None if change.derived is None else change.derived[i] for change in changes]
            self._set(column, keys, values, wanted, sets, parameters)
        where = self._any_of(keys, parameters)
        # Quoted names, placeholders, integers and hexadecimal only.
        statement = f"UPDATE {self._table} SET {', '.join(sets)} WHERE {where}"  # noqa: S608
        return connection.exec_driver_sql(statement, tuple(parameters)).rowcount

    def _set(
        self,
        column: str,
        keys: Sequence[_Literals],
        values: Sequence[bytes | None],
        wanted: Sequence[bool],
        sets: list[str],
        parameters: list[Any],
    ) -> None:
        """Add one column's part of a statement, if any row wants it."""
        cases = []
        for key, value, is_wanted in zip(keys, values, wanted, strict=True):
            if not is_wanted:
                continue
            parameters += key.parameters
            # Hexadecimal needs no escaping, and is what the server reads fastest.
            new = "NULL" if value is None else f"x'{value.hex()}'"
            cases.append(f"WHEN {key.condition(self._key)} THEN {new}")
        if cases:
            subject = f"{self._key[0]} " if len(self._key) == 1 else ""
            sets.append(f"{column} = CASE {subject}{' '.join(cases)} ELSE {column} END")

    def _any_of(self, keys: Sequence[_Literals], parameters: list[Any]) -> str:
        """SQL for "the key is one of these"; spelt out, where MySQL would scan for a tuple."""
        for key in keys:
            parameters += key.parameters
        if len(self._key) == 1:
            return f"{self._key[0]} IN ({','.join(key.texts[0] for key in keys)})"
        return " OR ".join(key.condition(self._key) for key in keys)

    def _bound(self, key: Key) -> list[Any]:
        return [bind(v) if bind else v for bind, v in zip(self._bind, key, strict=True)]

    def _parts(self, changes: Sequence[Change]) -> Iterator[list[Change]]:
        """The changes in statements of a size that the server takes; a large one by itself."""
        limit = min(MAX_STATEMENT_BYTES, self._packet // 2)
        part: list[Change] = []
        size = 0
        for change in changes:
            bytes_ = _statement_bytes(change)
            if part and (len(part) == MAX_STATEMENT_ROWS or size + bytes_ >= limit):
                yield part
                part, size = [], 0
            part.append(change)
            size += bytes_
        if part:
            yield part

    def _store_in_parts(self, connection: Connection, change: Change) -> int:
        """Store one row whose values no statement takes at once; its lock is held."""
        size = max(1, (self._packet - _ROW_BYTES) // 4)
        left = change._replace(new=(None,) * len(change.new))
        if change.derived is not None:
            self._swap(connection, [left])
        key = _Literals(self._bound(change.key))
        where = self._any_of([key], [])
        for column, value in zip(self._columns, change.new, strict=True):
            self._check_size(change, value)
            for start in range(0, len(value or b""), size):
                part = f"x'{value[start : start + size].hex()}'"
                new = f"CONCAT({column}, {part})" if start else part
                statement = f"UPDATE {self._table} SET {column} = {new} WHERE {where}"  # noqa: S608
                stored = connection.exec_driver_sql(statement, tuple(key.parameters))
                if stored.rowcount != 1:
                    return 0
        return 1

    def _check_size(self, change: Change, value: bytes | None) -> None:
        if value is None or len(value) + _ROW_BYTES < self._packet:
            return
        names = [column.name for column in self._prepared.key]
        row = readable_key(names, key_to_text(change.key))
        told = ", ".join(f"{name}={part}" for name, part in row.items())
        raise ReencryptionError(
            f"the row {told} is to hold a value of {len(value)} bytes, and the server takes no "
            f"more than {self._packet} at once: raise its max_allowed_packet",
            table=self._prepared.job.table_name,
            reason="max-allowed-packet",
        )


class _Literals:
    """A row's key in SQL: integers as they are, all else as parameters.

    :ivar texts: one for each column. :ivar parameters: those of the placeholders among them.
    """

    __slots__ = ("parameters", "texts")

    def __init__(self, key: Sequence[Any]) -> None:
        self.texts = [str(value) if type(value) is int else "%s" for value in key]
        self.parameters = [value for value in key if type(value) is not int]

    def condition(self, columns: Sequence[str]) -> str:
        """SQL for "it is this row", in a CASE whose subject is the key if it is a single one."""
        if len(columns) == 1:
            return self.texts[0]
        same = (f"{column} = {text}" for column, text in zip(columns, self.texts, strict=True))
        return f"({' AND '.join(same)})"


def _is_unchanged(change: Change, heads: Sequence[bytes | None]) -> bool:
    """Whether the row still holds the values that the change was made from."""
    return all(
        old is None or (head is None if old == ABSENT else head == old[:IDENTIFYING_BYTES])
        for old, head in zip(change.old, heads, strict=True)
    )


def _statement_bytes(change: Change) -> int:
    """Bytes that a change takes in a statement, about."""
    return 2 * sum(len(value) for value in change.new if value is not None) + 128
