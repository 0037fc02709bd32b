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


class MysqlWriter:
    """See :class:`~encfields.reencrypt.writers.base.Writer`."""

    def __init__(self, prepared: PreparedJob) -> None:
        dialect = prepared.dialect
        prepare = dialect.identifier_preparer
        self._table = prepare.format_table(prepared.table)
        self._key = [prepare.quote(column.name) for column in prepared.key]
        self._columns = [prepare.quote(column.name) for column in prepared.columns]
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
        match = [f"{column} = %s" for column in self._key]
        self._match = match[0] if len(match) == 1 else f"({' AND '.join(match)})"

    def write(self, connection: Connection, changes: Sequence[Change]) -> int:
        bounds = bound_parameters("first", changes[0].key)
        bounds.update(bound_parameters("last", changes[-1].key))
        width = len(self._key)
        locked = {tuple(row[:width]): row[width:] for row in connection.execute(self._lock, bounds)}
        ours = [
            change
            for change in changes
            if (heads := locked.get(change.key)) is not None and _is_unchanged(change, heads)
        ]
        return sum(self._swap(connection, part) for part in _parts(ours))

    def _swap(self, connection: Connection, changes: Sequence[Change]) -> int:
        """Store rows whose locks are held and whose values were compared."""
        keys = [self._bound(change.key) for change in changes]
        parameters: list[Any] = []
        sets = []
        for i, column in enumerate(self._columns):
            cases = []
            for change, key in zip(changes, keys, strict=True):
                value = change.new[i]
                if value is not None:
                    # Hexadecimal needs no escaping, which in PyMySQL costs more than its bytes.
                    cases.append(f"WHEN {self._match} THEN x'{value.hex()}'")
                    parameters += key
            if cases:
                sets.append(f"{column} = CASE {' '.join(cases)} ELSE {column} END")
        for key in keys:
            parameters += key
        # Quoted names, placeholders and hexadecimal only.
        statement = (
            f"UPDATE {self._table} SET {', '.join(sets)}"  # noqa: S608
            f" WHERE {self._any_of(len(keys))}"
        )
        return connection.exec_driver_sql(statement, tuple(parameters)).rowcount

    def _any_of(self, rows: int) -> str:
        """SQL for "the key is one of so many"; spelt out, where MySQL would scan for a tuple."""
        if len(self._key) == 1:
            return f"{self._key[0]} IN ({','.join(['%s'] * rows)})"
        return " OR ".join([self._match] * rows)

    def _bound(self, key: Key) -> list[Any]:
        return [bind(v) if bind else v for bind, v in zip(self._bind, key, strict=True)]


def _is_unchanged(change: Change, heads: Sequence[bytes | None]) -> bool:
    """Whether the row still holds the values that the change was made from."""
    return all(
        old is None or head == old[:IDENTIFYING_BYTES]
        for old, head in zip(change.old, heads, strict=True)
    )


def _parts(changes: Sequence[Change]) -> Iterator[list[Change]]:
    """The changes in statements of a size that every server takes."""
    part: list[Change] = []
    size = 0
    for change in changes:
        part.append(change)
        size += 2 * sum(len(value) for value in change.new if value is not None)
        if len(part) == MAX_STATEMENT_ROWS or size >= MAX_STATEMENT_BYTES:
            yield part
            part, size = [], 0
    if part:
        yield part
