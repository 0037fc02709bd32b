"""Finds stored messages by the keys of their rows, or by how they begin, without opening them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, Integer, LargeBinary, func, select, tuple_
from sqlalchemy import column as sql_column
from sqlalchemy import table as sql_table

from encfields.databases import MYSQL_NAMES
from encfields.identity import IdentityKind
from encfields.orm import internals
from encfields.orm.declare.row_keys import kind_of, padded_length
from encfields.orm.read.delivered_keys import from_delivered
from encfields.orm.read.packed import Packed
from encfields.orm.read.row_reader import RowReader
from encfields.orm.write.rows_by_key import rows_by_key

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.engine import Dialect

    from encfields.orm.declare.columns import ColumnBinding

_ROWS = 500
"""Most rows in one query."""

_START = 35
"""Bytes of a message up to the end of its unique id."""

_LENGTH: Column[int] = Column("length", Integer)
"""Stands for the length of a message, beside the columns that identify its row."""

Mark = tuple[bytes, int]
"""What a message is recognised by: its first bytes, and its length. A server that is not in strict
mode cuts short what does not fit its column, and what is left of a message opens no more."""

Found = list[tuple[tuple[str, ...], Mark]]
"""The canonical texts of rows' identities, and the marks of their messages."""


def mark_of(message: bytes) -> Mark:
    """What a message is recognised by."""
    return message[:_START], len(message)


class _MarkReader(RowReader):
    """Reads the mark of a message with its row's identity, and opens nothing."""

    @property
    def key_columns(self) -> tuple[Column[Any], ...]:
        return *self.binding.identity, _LENGTH

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any]:
        to_texts = [from_delivered(c.type, dialect) for c in self.binding.identity]

        def read(cell: Any) -> Any:
            if cell is None:
                return None
            packed = cell.encode() if isinstance(cell, str) else bytes(cell)
            _, *parts, length, start = packed.split(b":", len(to_texts) + 2)
            mark = start, int(length)
            try:
                return tuple(to(part) for to, part in zip(to_texts, parts, strict=True)), mark
            except ValueError:  # a key that identifies no row
                return (), mark

        return read


class StoredMessages:
    """The messages of one column.

    :param connection: to look with.
    :param binding: of the column.
    """

    def __init__(self, connection: Connection, binding: ColumnBinding) -> None:
        table, name = binding.column.table, binding.column_name
        source = sql_table(
            table.name,
            *(sql_column(c.name, c.type) for c in binding.identity),
            sql_column(name, LargeBinary()),
            schema=connection.schema_for_object(table),
        )
        self._binding = binding
        self._identity = tuple(source.c[column.name] for column in binding.identity)
        self._start = func.substr(source.c[name], 1, _START, type_=LargeBinary())
        self._connection = connection
        self._table = table
        delivered = *self._identity, func.length(source.c[name], type_=_LENGTH.type)
        self._select = select(Packed(self._start, delivered, _MarkReader(binding)))
        self._select = self._select.select_from(source)

    def marks_of(self, keys: Sequence[Iterable[Any]]) -> dict[tuple[str, ...], Mark]:
        """The marks of the messages in some rows, by the texts of their identity.

        :param keys: the rows' identities, as Python sees them.
        """
        dialect = self._connection.dialect
        stored = [_key_as_stored(self._binding, key, dialect) for key in keys]
        held: dict[tuple[str, ...], Mark] = {}
        for some in _in_batches(stored):
            held.update(self._of_few(some))
        return held

    def starting_with(self, starts: Sequence[bytes]) -> Iterator[tuple[tuple[str, ...], Mark]]:
        """The rows whose messages begin so; this searches the whole table."""
        for some in _in_batches(starts):
            yield from self._where(self._start.in_(some))

    def _of_few(self, keys: Sequence[tuple[Any, ...]]) -> Found:
        if self._connection.dialect.name in MYSQL_NAMES:
            identities = rows_by_key(
                self._connection,
                self._table,
                self._select,
                self._identity,
                keys,
                internals.UNTRANSLATED,
            )
            return [one for one in identities if one is not None]
        if len(self._identity) == 1:
            return self._where(self._identity[0].in_([key for (key,) in keys]))
        return self._where(tuple_(*self._identity).in_(keys))

    def _where(self, criterion: Any) -> Found:
        identities = self._connection.scalars(
            self._select.where(criterion), execution_options=internals.UNTRANSLATED
        )
        return [identity for identity in identities if identity is not None]


def _in_batches(several: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for first in range(0, len(several), _ROWS):
        yield several[first : first + _ROWS]


def _key_as_stored(binding: ColumnBinding, key: Iterable[Any], dialect: Dialect) -> tuple[Any, ...]:
    """A row's key as WHERE matches it: servers pad some keys, or strip blanks."""
    stored: list[Any] = []
    for column, value in zip(binding.identity, key, strict=True):
        if isinstance(value, bytes):
            stored.append(value.ljust(padded_length(column.type, dialect), b"\0"))
        elif isinstance(value, str) and kind_of(column.type, dialect) is IdentityKind.CHAR:
            stored.append(value.rstrip(" "))
        else:
            stored.append(value)
    return tuple(stored)
