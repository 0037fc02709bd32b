"""Reads back written rows, to check that they have the keys that their values are sealed for.

A trigger or rule can store a row under another key, or another tenant, than the statement gave. Its
values would open nowhere. So for tables with triggers or rules the keys are read in the same
transaction, and if one is missing, the transaction is rolled back.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Column, LargeBinary, func, select, tuple_
from sqlalchemy import column as sql_column
from sqlalchemy import table as sql_table
from sqlalchemy.exc import DBAPIError

from encfields.databases import MYSQL_NAMES
from encfields.errors import IdentityChangeError
from encfields.identity import IdentityKind
from encfields.keys.sql.failures import is_denied
from encfields.orm import internals
from encfields.orm.declare.row_keys import kind_of, padded_length
from encfields.orm.read.delivered_keys import from_delivered
from encfields.orm.read.packed import Packed
from encfields.orm.read.row_reader import RowReader
from encfields.orm.write.rows_by_key import rows_by_key
from encfields.orm.write.triggered_tables import cannot_look
from encfields.orm.write.upsert_choices import (
    is_chosen_by_upsert,
    is_left_by_upsert,
    set_by_upsert,
)

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.engine import Dialect

    from encfields.orm.declare.columns import ColumnBinding
    from encfields.orm.write.sealing import Ready

_ROWS = 500
"""Most rows in one query."""

_START = 35
"""Bytes of a message up to the end of its unique id."""


Found = list[tuple[tuple[str, ...], bytes]]
"""The canonical texts of rows' identities, and the first bytes of their messages."""


class WrittenRow:
    """A row, and one column of it that a value was sealed for.

    :ivar key: the row's identity as Python sees it.
    :ivar texts: its canonical texts.
    :ivar starts: the first bytes of the row's message, or of each of several.
    :ivar may_stay: whether the row may rightly have kept another value.
    """

    __slots__ = ("binding", "key", "may_stay", "starts", "texts")

    def __init__(
        self,
        binding: ColumnBinding,
        key: Iterable[Any],
        texts: Iterable[str],
        message: bytes,
        *,
        may_stay: bool = False,
    ) -> None:
        self.binding = binding
        self.key = tuple(key)
        self.texts = tuple(texts)
        self.starts = [message[:_START]]
        self.may_stay = may_stay


def rows_to_read_back(
    ready: Sequence[Ready], keys: Sequence[Iterable[Any]], compiled: Any
) -> list[WrittenRow]:
    """The rows of an execution to read back, without those that an upsert leaves as they are.

    :param ready: the values that were sealed.
    :param keys: their rows' identities, as Python sees them.
    :param compiled: what was executed.
    """
    set_to = {binding.column: set_by_upsert(binding.column, compiled) for binding, *_ in ready}
    chosen = {column for column, values in set_to.items() if is_chosen_by_upsert(values)}
    return [
        WrittenRow(b, key, texts, pending.sealed or b"", may_stay=b.column in chosen)
        for (b, pending, texts, _), key in zip(ready, keys, strict=True)
        if not is_left_by_upsert(set_to[b.column])
    ]


class _Written(NamedTuple):
    """What one execution writes.

    :ivar row_count: number of its rows, including those without a value.
    :ivar may_match_none: an UPDATE, or an INSERT that may skip a row.
    :ivar is_required: whether the table is known to have triggers; otherwise a role without SELECT
        may skip the check. ``None`` if not known yet.
    """

    rows: list[WrittenRow]
    row_count: int
    may_match_none: bool
    is_required: bool | None


class ReadBack:
    """The pending checks of one engine's executions.

    :ivar due: what each of them writes.
    """

    def __init__(self) -> None:
        self.due: weakref.WeakKeyDictionary[Any, _Written] = weakref.WeakKeyDictionary()

    def note(
        self,
        context: Any,
        rows: Iterable[WrittenRow],
        *,
        count: int,
        may_match_none: bool,
        is_required: bool | None,
    ) -> None:
        """Remember what an execution is about to write: one column of each row and identity.

        :param count: of its rows, those without a value included.
        :param context: the execution.
        :param rows: those that have a value.
        :param may_match_none: whether there may be fewer rows than parameter sets.
        :param is_required: as :meth:`TriggeredTables.may_move` says, ``None`` if nobody has asked
            yet.
        """
        first: dict[Any, WrittenRow] = {}
        for row in rows:
            known = first.setdefault((row.binding.identity, row.texts), row)
            if known is not row and known.binding is row.binding:
                known.starts.extend(row.starts)
        self.due[context] = _Written(list(first.values()), count, may_match_none, is_required)

    def check(
        self,
        connection: Connection,
        context: Any,
        result: Any,
        seen: Sequence[Column[Any]],
        ask: Callable[[], bool | None],
    ) -> None:
        """Check that the rows have their keys.

        :param result: of the execution.
        :param seen: columns that were looked at already.
        :param ask: whether a look is required, or is none needed, where nobody has asked yet.
        :raises IdentityChangeError: a row was stored under another key. What the transaction, or
            the savepoint that it is in, wrote was taken back.
        :raises UnknownIdentityError: this role may not look, and all was taken back likewise.
        """
        due = self.due.pop(context, None)
        if due is None:
            return
        is_required = ask() if due.is_required is None else due.is_required
        if is_required is None:
            return
        rows = [r for r in due.rows if not set(r.binding.identity).issubset(seen)]
        try:
            own = internals.without_listeners(connection)
            # Under AUTOCOMMIT somebody else may have changed the row since.
            is_ours = not internals.is_autocommit(connection)
            written = _rowcount(connection, result, due.row_count)
            moved = _row_stored_elsewhere(own, rows, due, written, is_ours=is_ours)
        except DBAPIError as error:
            refused = is_denied(error)
            # Otherwise PostgreSQL would roll back at COMMIT without an error.
            if refused and not is_required and connection.dialect.name in MYSQL_NAMES:
                return
            with suppress(DBAPIError):
                _take_back(connection)
            if refused and rows:
                raise cannot_look(rows[0].binding.table) from None
            raise
        if moved is not None:
            result.close()  # SQLite cannot end a transaction with unfetched rows
            raise _moved_error(moved, is_undone=_take_back(connection))


def _row_stored_elsewhere(
    connection: Connection,
    rows: list[WrittenRow],
    due: _Written,
    written: int | None,
    *,
    is_ours: bool,
) -> WrittenRow | None:
    """A row that is not where its value was sealed for, if there is one.

    :param written: number of rows written, if known.
    :param is_ours: nobody else can write to the rows before this transaction ends.
    """
    by_column: dict[str, list[WrittenRow]] = {}
    for row in rows:
        by_column.setdefault(row.binding.column.key, []).append(row)
    for some in by_column.values():
        held = _stored_starts(connection, some)
        missing = [row for row in some if held.get(row.texts) not in row.starts]
        if not missing:
            continue
        if due.may_match_none and written == due.row_count - len(missing):
            continue
        all_written = written == due.row_count or (written is None and not due.may_match_none)
        for row in missing:
            # A missing row is hidden from this role, deleted, or NULL: nothing is unreadable.
            is_altered = is_ours and all_written and held.get(row.texts) is not None
            if is_altered and not row.may_stay:
                return row
        if (moved := _row_with_message_elsewhere(connection, missing)) is not None:
            return moved
    return None


def _stored_starts(connection: Connection, rows: list[WrittenRow]) -> dict[tuple[str, ...], bytes]:
    """The first bytes of rows' values in one column, by the texts of their identity."""
    held: dict[tuple[str, ...], bytes] = {}
    for start in range(0, len(rows), _ROWS):
        held.update(_stored_starts_of_few(connection, rows[start : start + _ROWS]))
    return held


def _stored_starts_of_few(connection: Connection, rows: list[WrittenRow]) -> Found:
    binding = rows[0].binding
    source = _StoredMessages(connection, binding)
    keys = [_key_as_stored(binding, row.key, connection.dialect) for row in rows]
    if connection.dialect.name in MYSQL_NAMES:
        return source.of(keys)
    if len(source.identity) == 1:
        return source.where(source.identity[0].in_([key for (key,) in keys]))
    return source.where(tuple_(*source.identity).in_(keys))


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


class _MessageStartReader(RowReader):
    """Reads the first bytes of a message with its row's identity, and opens nothing."""

    @property
    def key_columns(self) -> tuple[Column[Any], ...]:
        return self.binding.identity

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any]:
        to_texts = [from_delivered(c.type, dialect) for c in self.binding.identity]

        def read(cell: Any) -> Any:
            if cell is None:
                return None
            packed = cell.encode() if isinstance(cell, str) else bytes(cell)
            _, *parts, start = packed.split(b":", len(to_texts) + 1)
            try:
                return tuple(to(part) for to, part in zip(to_texts, parts, strict=True)), start
            except ValueError:  # a key that identifies no row
                return (), start

        return read


def _row_with_message_elsewhere(
    connection: Connection, rows: list[WrittenRow]
) -> WrittenRow | None:
    """One of several rows whose message is in another row; this searches the whole table."""
    source = _StoredMessages(connection, rows[0].binding)
    sealed_for = {start: row for row in rows for start in row.starts}
    starts = list(sealed_for)
    for first in range(0, len(starts), _ROWS):
        for texts, start in source.where(source.start.in_(starts[first : first + _ROWS])):
            if texts != sealed_for[start].texts:
                return sealed_for[start]
    return None


class _StoredMessages:
    """The messages of one column, undecrypted.

    :ivar identity: the columns that identify their rows.
    :ivar start: the first bytes of a message.
    """

    def __init__(self, connection: Connection, binding: ColumnBinding) -> None:
        table, name = binding.column.table, binding.column_name
        source = sql_table(
            table.name,
            *(sql_column(c.name, c.type) for c in binding.identity),
            sql_column(name, LargeBinary()),
            schema=connection.schema_for_object(table),
        )
        self.identity = tuple(source.c[column.name] for column in binding.identity)
        self.start = func.substr(source.c[name], 1, _START, type_=LargeBinary())
        self._connection = connection
        self._table = table
        self._select = select(Packed(self.start, self.identity, _MessageStartReader(binding)))
        self._select = self._select.select_from(source)

    def where(self, criterion: Any) -> Found:
        """The identity of rows, as in a read, and the first bytes of their messages."""
        identities = self._connection.scalars(
            self._select.where(criterion), execution_options=internals.UNTRANSLATED
        )
        return [identity for identity in identities if identity is not None]

    def of(self, keys: Sequence[tuple[Any, ...]]) -> Found:
        """The rows with these keys."""
        identities = rows_by_key(
            self._connection,
            self._table,
            self._select,
            self.identity,
            keys,
            internals.UNTRANSLATED,
        )
        return [one for one in identities if one is not None]


def _rowcount(connection: Connection, result: Any, rows: int) -> int | None:
    """Number of rows written, if the driver's count is reliable."""
    if rows > 1 and not connection.dialect.supports_sane_multi_rowcount:
        return None
    if result.returns_rows and connection.dialect.name == "sqlite":
        return None  # it is 0 while rows of RETURNING are unfetched
    with suppress(AttributeError, connection.dialect.loaded_dbapi.Error):
        count: int = result.rowcount
        return count if count >= 0 else None
    return None


def _take_back(connection: Connection) -> bool:
    """Roll back what was written, if there is a transaction."""
    if internals.is_autocommit(connection) or not connection.in_transaction():
        return False
    internals.roll_back_innermost(connection)
    return True


def _moved_error(row: WrittenRow, *, is_undone: bool) -> IdentityChangeError:
    binding = row.binding
    names = ", ".join(column.name for column in binding.identity)
    end = (
        "the transaction was rolled back"
        if is_undone
        else "under AUTOCOMMIT the row stays, and its value opens nowhere: delete it"
    )
    return IdentityChangeError(
        f"the database stored the row under another {names} than the statement gave, or in another "
        "form, or altered the value, as a trigger, a rule or an upsert that hits another unique "
        f"key can do: its value would not open there; {end}. Give the row the key under which the "
        "database stores it",
        table=binding.table,
        column=binding.column_name,
        row=dict(binding.row(list(row.texts))),
        reason="trigger",
    )
