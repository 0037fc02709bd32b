"""Finds INSERTs without a key, gives them one, and checks what was stored.

This takes three of SQLAlchemy's events. Before compilation, the statement gets binds for its keys.
Before it reaches the driver, when Python-side defaults are evaluated, the keys are obtained, so
that the values can be sealed. Afterwards the keys are compared with what was stored.
"""

from __future__ import annotations

import re
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import func, literal, select, tuple_
from sqlalchemy.engine.cursor import FullyBufferedCursorFetchStrategy

from encfields.databases import MYSQL_NAMES
from encfields.orm import internals
from encfields.orm.write.generated_keys import savepoint
from encfields.orm.write.generated_keys.choice import MySql, Reserved, reserve, reserve_at_once
from encfields.orm.write.generated_keys.keyed_insert import with_keys, with_keys_to_come
from encfields.orm.write.generated_keys.keyless import KeylessInsert, keyless_insert
from encfields.orm.write.generated_keys.mysql_found_rows import are_skipped
from encfields.orm.write.generated_keys.pending_key import (
    PendingKey,
    has_own_bind,
    settle,
)
from encfields.orm.write.generated_keys.rehearsal import rehearsal_of
from encfields.orm.write.generated_keys.report import report
from encfields.orm.write.generated_keys.upserted import upsert_to_rehearse, were_written
from encfields.orm.write.rows_by_key import rows_by_key
from encfields.orm.write.upsert_targets import only_of_key

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Column, Connection

    from encfields.orm.declare.columns import ColumnBinding
    from encfields.orm.write.execution import WriteExecution
    from encfields.orm.write.generated_keys.mysql_side_connection import SideHook

AwaitedKeys = tuple[KeylessInsert, Reserved | None]
"""An INSERT, and its keys if they are already reserved."""


class GeneratedKeys:
    """The keys of the INSERTs that one engine is executing.

    :param hook: gives an INSERT its placeholders.
    :ivar given: INSERTs that have their keys and have not reached the driver.
    :ivar under_way: executions whose text must be changed, or whose keys or result must be checked
        afterwards.
    """

    def __init__(self, hook: SideHook) -> None:
        self.mysql = MySql(hook)
        self.given: weakref.WeakKeyDictionary[Any, tuple[KeylessInsert, Reserved]] = (
            weakref.WeakKeyDictionary()
        )
        self.under_way: weakref.WeakKeyDictionary[Any, tuple[KeylessInsert, Reserved]] = (
            weakref.WeakKeyDictionary()
        )

    def ask(self, execution: WriteExecution) -> None:
        """Give an INSERT the keys that it lacks, or places for them, before it is compiled."""
        statement, connection = execution.statement, execution.connection
        if rehearsal_of(execution.options):
            return
        parameters = execution.rows if execution.multiparams or execution.params else []
        insert: KeylessInsert | None
        if execution.to_find:
            insert = upsert_to_rehearse(execution, parameters)
            statement = only_of_key(statement, execution.table, execution.to_find)
        else:
            insert = keyless_insert(
                statement, execution.table, execution.bindings, parameters, connection.dialect
            )
        if insert is None:
            return
        known = reserve_at_once(connection, insert)
        if known is None or insert.holds_other:
            keyed, rows = with_keys_to_come(statement, insert, parameters, connection.dialect)
        else:
            plainly = not (known.to_check or known.overriding)
            keyed, rows = with_keys(
                statement, insert, parameters, known.keys, connection.dialect, may_report=plainly
            )
        if known is not None:
            self.given[keyed] = insert, known
        execution.statement = keyed
        if execution.multiparams:
            execution.multiparams, execution.params = rows, {}
        else:
            execution.multiparams, execution.params = [], rows[0] if rows else {}

    def awaited(self, context: Any) -> AwaitedKeys | None:
        """The keys that an execution awaits, or was given; ``None`` if its rows have theirs."""
        write = internals.insert_or_update_in(context.invoked_statement) if self.given else None
        if write in self.given:
            return self.given.pop(write)
        for value in context.compiled_parameters[0].values():
            if type(value) is PendingKey:
                return cast("KeylessInsert", value.insert), None
        return None

    def learn(self, connection: Connection, context: Any, awaited: AwaitedKeys) -> None:
        """Obtain the keys that an INSERT awaits, and add them to its parameters.

        :param context: the INSERT's execution, which has not reached the driver yet.
        :param awaited: the keys that it lacks.
        :raises UnknownIdentityError: they cannot be determined; nothing was stored.
        """
        insert, reserved = awaited
        if reserved is None:
            reserved = reserve(connection, insert, context, self.mysql)
        elif reserved.to_check:
            savepoint.begin(connection)
        if insert.places:
            _settle(insert, reserved, context)
        self.under_way[context] = insert, reserved

    def is_skipped(self, context: Any, binding: ColumnBinding, texts: Sequence[str | None]) -> bool:
        """Whether a row is not stored, and so has no key.

        :param binding: of an encrypted column of the row.
        :param texts: canonical texts of its identity; ``None`` for those that are not known.
        """
        insert, _ = self.under_way.get(context, (None, None))
        if insert is None or insert.last_number is None:
            return False
        parts = zip(binding.identity, texts, strict=True)
        return all(column in insert.missing for column, text in parts if text is None)

    def is_uncounted(self, context: Any) -> bool:
        """Whether nobody will tell if all rows of an upsert were written under the keys found."""
        insert, _ = self.under_way.get(context, (None, None))
        if insert is None or not insert.is_found:
            return False
        return not (insert.is_counted or insert.skipped)

    def wording(self, context: Any, statement: str) -> str:
        """The text of the INSERT to send to the database."""
        _, reserved = self.under_way.get(context, (None, None))
        if reserved is None and context.isinsert and self.given:
            # Its rows have no encrypted value, so their keys are neither obtained nor checked.
            insert, reserved = self.awaited(context) or (None, None)
            if insert is not None and reserved is not None:
                reserved = Reserved(reserved.keys, overriding=reserved.overriding)
                self.under_way[context] = insert, reserved
        if reserved is not None and reserved.overriding:
            return overriding_system_value(statement)
        return statement

    def check(
        self, connection: Connection, context: Any, result: Any, ask: Callable[[], bool | None]
    ) -> tuple[Column[Any], ...]:
        """Check that the rows were stored under their keys; otherwise undo the INSERT.

        :param result: of the INSERT. Its rows are fetched first, because SQLite cannot end a
            savepoint while a statement is open.
        :param ask: returns whether a trigger may give a row another key; ``None`` if there is none.
        :returns: the columns that were checked.
        :raises UnknownIdentityError: the database stored one under another key.
        """
        insert, reserved = self.under_way.pop(context, (None, None))
        if insert is None or reserved is None:
            return ()
        written = None
        if insert.is_found:
            _fetch_at_once(result)
            written = internals.rows_written(context, result)
        if internals.is_part_of_insert(context.invoked_statement) and not result.returns_rows:
            # Its keys were given and need not be returned, but the ORM reads the rows nevertheless.
            result.cursor_strategy = FullyBufferedCursorFetchStrategy(None, initial_buffer=[])
        report(context, result, insert, reserved.keys)
        if not reserved.to_check:
            return ()
        _fetch_at_once(result)
        is_mysql = connection.dialect.name in MYSQL_NAMES
        if insert.is_found:
            is_stored = _are_written_as_rehearsed(connection, insert, reserved.keys, written)
        elif is_mysql and insert.may_skip:
            count = result.rowcount
            if (
                count > _MOST_ROWS
                and (returned := internals.rows_written(context, result)) is not None
            ):
                count = returned
            is_stored = _are_stored_or_skipped(connection, insert, reserved.keys, count)
        elif is_mysql and _is_untouched(reserved.keys, context, ask):
            is_stored = True
        else:
            is_stored = are_stored(connection, insert, reserved.keys)
        if not is_stored:
            savepoint.undo(connection)
            if insert.is_found or (is_mysql and insert.may_skip):
                raise insert.unknown(_MET_OTHERS)
            raise insert.unknown(
                "the database stored the row under another key than the INSERT gave, as a trigger "
                "or a rule can do, and the value would not open there; the row was taken back. "
                "Give the key a value that the trigger or rule keeps"
            )
        savepoint.release(connection)
        return () if insert.is_found or (is_mysql and insert.may_skip) else insert.missing


_MOST_ROWS = 2**63
"""By a larger number a driver says that it does not know, of the rows of a stream."""

_MET_OTHERS = (
    "the statement met other rows than in its rehearsal, as if another transaction has stored one "
    "meanwhile or a trigger changes the key; what it wrote was taken back: execute it again"
)


def _fetch_at_once(result: Any) -> None:
    """Fetch the rows that a statement returns, so that it is no longer open."""
    is_open = result.returns_rows and result.cursor is not None
    if is_open and not isinstance(result.cursor_strategy, FullyBufferedCursorFetchStrategy):
        result.cursor_strategy = FullyBufferedCursorFetchStrategy(result.cursor)


def _settle(insert: KeylessInsert, reserved: Reserved, context: Any) -> None:
    """Put the keys in their places in the parameters of the execution."""
    for places, key in zip(insert.places, reserved.keys, strict=True):
        for column, place, value in zip(insert.missing, places, key, strict=True):
            settle(column, place, value, context.dialect)
    if insert.is_multi:
        (values,) = context.compiled_parameters
        values.update({n: v.value for n, v in values.items() if type(v) is PendingKey})
        return
    names = [insert.bind_name(column, context.dialect) for column in insert.missing]
    for values, places in zip(context.compiled_parameters, insert.places, strict=True):
        for column, name, place in zip(insert.missing, names, places, strict=True):
            internals.note_key(values, column, name, place.value)


_ROWS = 1000
"""Most keys that one query looks for."""


def _is_untouched(
    keys: list[tuple[Any, ...]], context: Any, ask: Callable[[], bool | None]
) -> bool:
    """Whether MySQL can only have stored the given keys.

    :param context: of the INSERT, after it was executed.
    :param keys: row by row, as Python values.
    """
    reported = _reported_key(context)
    if reported and len(keys) == 1:
        return bool(keys == [(reported,)])
    return ask() is None


def _are_stored_or_skipped(
    connection: Connection, insert: KeylessInsert, keys: list[tuple[Any, ...]], written: int
) -> bool:
    """Whether all rows of an upsert have their keys, or all that INSERT IGNORE stored.

    :param written: how many rows it wrote.
    """
    known = [key for key in dict.fromkeys(keys) if key != (None,)]
    if internals.upsert_values(insert.statement):
        return are_stored(connection, insert, known)
    if written < 0:
        return are_skipped(connection, insert, keys)
    query = select(literal(1)).select_from(insert.table)
    stored = rows_by_key(connection, insert.table, query, insert.missing, known) if known else []
    return len([*stored]) == written


def _are_written_as_rehearsed(
    connection: Connection,
    insert: KeylessInsert,
    keys: list[tuple[Any, ...]],
    written: int | None,
) -> bool:
    """Whether all rows that an upsert found, or inserted, in its rehearsal have their values.

    :param written: how many rows it wrote, if known.
    """
    if written is not None:
        return were_written(insert, written)
    known = [key for number, key in enumerate(keys) if number not in insert.skipped]
    return not known or are_stored(connection, insert, [*dict.fromkeys(known)])


def are_stored(connection: Connection, insert: KeylessInsert, keys: list[tuple[Any, ...]]) -> bool:
    """Whether there is a row for each key."""
    columns = insert.missing
    if connection.dialect.name in MYSQL_NAMES:
        query = select(literal(1)).select_from(insert.table)
        stored = rows_by_key(connection, insert.table, query, columns, keys)
        return len([*stored]) == len(keys)
    is_range = len(columns) == 1 and _are_consecutive(keys)
    if is_range and not has_own_bind(columns[0], connection.dialect):
        within = columns[0].between(keys[0][0], keys[-1][0])
        return _count(connection, insert, within) == len(keys)
    for start in range(0, len(keys), _ROWS):
        wanted = keys[start : start + _ROWS]
        if len(columns) == 1:
            among = columns[0].in_([key[0] for key in wanted])
        else:
            among = tuple_(*columns).in_(wanted)
        if _count(connection, insert, among) < len(set(wanted)):
            return False
    return True


def _reported_key(context: Any) -> Any:
    """The last key that MySQL's driver reported, if any."""
    # MariaDB Connector/Python does not report it for a cursor that SQLAlchemy has closed.
    with suppress(AttributeError, context.dialect.loaded_dbapi.Error):
        return context.cursor.lastrowid
    return None


def _are_consecutive(keys: list[tuple[Any, ...]]) -> bool:
    first, last = keys[0][0], keys[-1][0]
    if type(first) is not int or type(last) is not int:
        return False
    return keys == [(number,) for number in range(first, last + 1)]


def _count(connection: Connection, insert: KeylessInsert, criterion: Any) -> int:
    query = select(func.count()).select_from(insert.table).where(criterion)
    return connection.execute(query).scalar_one()


_QUOTED = r'"(?:[^"]|"")*"'
_UP_TO_COLUMNS = rf'INSERT INTO (?:{_QUOTED}|[^"(])+\((?:{_QUOTED}|[^")])*\)'


def overriding_system_value(statement: str) -> str:
    """The INSERT, allowed to assign a column that is ``GENERATED ALWAYS``.

    A statement of another form is returned unchanged, and PostgreSQL refuses it.
    """
    return re.sub(_UP_TO_COLUMNS, lambda m: f"{m[0]} OVERRIDING SYSTEM VALUE", statement, count=1)
