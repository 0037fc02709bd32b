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

from sqlalchemy import Column
from sqlalchemy.exc import DBAPIError

from encfields.databases import MYSQL_NAMES
from encfields.errors import EncFieldsError, IdentityChangeError, ValueEncodingError
from encfields.keys.sql.failures import is_denied
from encfields.orm import internals
from encfields.orm.write.stored_messages import StoredMessages, mark_of
from encfields.orm.write.triggered_tables import cannot_look
from encfields.orm.write.upsert_choices import (
    is_chosen_by_upsert,
    is_left_by_upsert,
    set_by_upsert,
)

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from encfields.orm.declare.columns import ColumnBinding
    from encfields.orm.write.sealing import Ready


class WrittenRow:
    """A row, and one column of it that a value was sealed for.

    :ivar key: the row's identity as Python sees it.
    :ivar texts: its canonical texts.
    :ivar marks: that of the row's message, or of each of several.
    :ivar may_stay: whether the row may rightly have kept another value.
    """

    __slots__ = ("binding", "key", "marks", "may_stay", "texts")

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
        self.marks = [mark_of(message)]
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
                known.marks.extend(row.marks)
        self.due[context] = _Written(list(first.values()), count, may_match_none, is_required)

    def check(
        self,
        connection: Connection,
        context: Any,
        result: Any,
        seen: Sequence[Column[Any]],
        ask: Callable[[], bool | None],
        cuts: Callable[[], bool],
    ) -> None:
        """Check that the rows have their keys.

        :param result: of the execution.
        :param seen: columns that were looked at already.
        :param cuts: whether values that do not fit may be cut, so that columns are not enough.
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
        known = () if cuts() else seen
        rows = [r for r in due.rows if not set(r.binding.identity).issubset(known)]
        try:
            own = internals.without_listeners(connection)
            # Under AUTOCOMMIT somebody else may have changed the row since.
            is_ours = not internals.is_autocommit(connection)
            written = _rowcount(connection, result, due.row_count)
            lost = _lost_row(own, rows, due, written, is_ours=is_ours)
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
        if lost is not None:
            result.close()  # SQLite cannot end a transaction with unfetched rows
            raise lost.error(is_undone=_take_back(connection))


class _Lost(NamedTuple):
    """A row whose value would not open.

    :ivar cut_to: the bytes of its message that were stored; ``None`` if it is not cut.
    """

    row: WrittenRow
    cut_to: int | None = None

    def error(self, *, is_undone: bool) -> EncFieldsError:
        """The error that names the row."""
        if self.cut_to is None:
            return _moved_error(self.row, is_undone=is_undone)
        return _cut_error(self.row, self.cut_to, is_undone=is_undone)


def _lost_row(
    connection: Connection,
    rows: list[WrittenRow],
    due: _Written,
    written: int | None,
    *,
    is_ours: bool,
) -> _Lost | None:
    """A row whose value is not as it was sealed, or not where, if there is one.

    :param written: number of rows written, if known.
    :param is_ours: nobody else can write to the rows before this transaction ends.
    """
    by_column: dict[str, list[WrittenRow]] = {}
    for row in rows:
        by_column.setdefault(row.binding.column.key, []).append(row)
    for some in by_column.values():
        messages = StoredMessages(connection, some[0].binding)
        held = messages.marks_of([row.key for row in some])
        missing = [row for row in some if held.get(row.texts) not in row.marks]
        for row in missing:
            start, length = held.get(row.texts, (b"", 0))
            if any(start == of_message for of_message, _ in row.marks):
                return _Lost(row, cut_to=length)
        if not missing:
            continue
        if due.may_match_none and written == due.row_count - len(missing):
            continue
        all_written = written == due.row_count or (written is None and not due.may_match_none)
        for row in missing:
            # A missing row is hidden from this role, deleted, or NULL: nothing is unreadable.
            is_altered = is_ours and all_written and held.get(row.texts) is not None
            if is_altered and not row.may_stay:
                return _Lost(row)
        if (moved := _row_with_message_elsewhere(messages, missing)) is not None:
            return _Lost(moved)
    return None


def _row_with_message_elsewhere(
    messages: StoredMessages, rows: list[WrittenRow]
) -> WrittenRow | None:
    """One of several rows whose message is in another row; this searches the whole table."""
    sealed_for = {start: row for row in rows for start, _ in row.marks}
    for texts, (start, _) in messages.starting_with(list(sealed_for)):
        if texts != sealed_for[start].texts:
            return sealed_for[start]
    return None


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


def _cut_error(row: WrittenRow, stored: int, *, is_undone: bool) -> ValueEncodingError:
    binding, (_, length) = row.binding, max(row.marks, key=lambda mark: mark[1])
    end = (
        "the transaction was rolled back"
        if is_undone
        else "under AUTOCOMMIT the row keeps what opens no more: write it again"
    )
    return ValueEncodingError(
        f"the database stored {stored} of the value's {length} bytes, as a server does that is not "
        f"in strict mode, or is told to IGNORE errors, if the column is too short; {end}. Alter "
        "the column's type to LONGBLOB, or to what storage= declares",
        table=binding.table,
        column=binding.column_name,
        row=dict(binding.row(list(row.texts))),
        reason="cut",
    )
