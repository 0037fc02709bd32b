"""PostgreSQL and SQLite: the keys of rows that an upsert finds by another unique key.

Which row that is, only the database knows. So the upsert is rehearsed, row by row and in one
savepoint, because a row may find one of those before it. What it stores meanwhile for values is
random bytes, and all of it is rolled back.

The INSERT is then given the keys that were found, and changes a row only if it has that key. So
where somebody else stores such a row in between, no value gets into it; the check that follows
notices, and takes back the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, Table

from encfields.orm import internals
from encfields.orm.declare.columns import is_encrypted
from encfields.orm.declare.index_column_type import IndexColumnType
from encfields.orm.write.generated_keys import savepoint
from encfields.orm.write.generated_keys.keyless import (
    KeylessInsert,
    is_missing,
    values_and_rows,
)
from encfields.orm.write.generated_keys.rehearsal import (
    REHEARSAL_OPTION,
    Keys,
    Rehearsal,
    refuse_skipping,
    rows_with_defaults,
)
from encfields.orm.write.generated_keys.sqlite_rowids import lock_for_writing

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from encfields.orm.write.execution import WriteExecution


def upsert_to_rehearse(execution: WriteExecution, parameters: list[Any]) -> KeylessInsert:
    """An upsert that may find its rows by another unique key than theirs.

    :param execution: of the upsert, which knows the columns that are to be found out.
    :param parameters: the parameter sets that it is executed with; may be empty.
    """
    statement, table, columns = execution.statement, execution.table, execution.to_find
    multi = internals.multi_value_rows(statement)
    values, rows = values_and_rows(statement, table, parameters)
    dialect = execution.connection.dialect
    is_generated = any(is_missing(column, values, rows) for column in columns)
    return KeylessInsert(
        table=table,
        written=[one for one in execution.bindings.values() if {*columns} & {*one.identity}],
        missing=columns,
        values=values,
        rows=rows,
        is_multi=multi is not None,
        is_partial=True,
        may_skip=True,
        are_reported=is_generated
        and internals.would_return_keys(statement, table, dialect, len(rows)),
        holds_other=multi is None and internals.holds_other_write(statement),
        statement=statement,
        is_found=True,
    )


def keys_of_upserted_rows(connection: Connection, insert: KeylessInsert, context: Any) -> Keys:
    """The key of each row, found or new. Leaves a savepoint set, for a later check.

    :param context: of the INSERT, which has not been sent.
    :raises UnknownIdentityError: they cannot be found out.
    """
    if internals.is_autocommit(connection):
        raise insert.unknown(
            "under AUTOCOMMIT nothing keeps the row that the upsert finds as it is until the value "
            "is stored: use a transaction, or make the conflict target the row's key"
        )
    if not connection.dialect.insert_returning:
        refuse_skipping(insert)
    if connection.dialect.name == "sqlite":
        lock_for_writing(connection, insert)
    is_single = insert.is_multi or len(insert.rows) == 1
    if is_single or connection.dialect.supports_sane_multi_rowcount:
        insert.is_counted = internals.keep_count(context)
    keys: Keys = []
    with savepoint.set_for_rehearsal(connection):
        for number, row in enumerate(rows_with_defaults(insert, context)):
            keys.append(_key_of_row(connection, insert, number, row))
        savepoint.undo(connection)
    return keys


def _key_of_row(
    connection: Connection, insert: KeylessInsert, number: int, row: dict[str, Any]
) -> tuple[Any, ...]:
    statement = internals.upsert_alone(insert.statement, insert.table)
    key = _returned(connection, insert, statement, row)
    if key is None:
        # Its where= leaves the row as it is.
        insert.skipped.add(number)
        kept = internals.upsert_that_keeps(statement, _column_to_keep(insert.table))
        key = _returned(connection, insert, kept, row)
    if key is None:
        raise insert.unknown(
            "the database did not report which row the upsert finds, as a trigger or a rule can do"
            ": make the conflict target the row's key"
        )
    return key


def _returned(
    connection: Connection, insert: KeylessInsert, upsert: Any, row: dict[str, Any]
) -> tuple[Any, ...] | None:
    options = {REHEARSAL_OPTION: Rehearsal(finds_rows=True)}
    values, parameters = insert.row_alone(row)
    statement = upsert.values(values) if values else upsert
    reporting = statement.returning(*insert.missing)
    first = connection.execute(reporting, parameters, execution_options=options).first()
    return None if first is None else tuple(first)


def _column_to_keep(table: Table) -> Column[Any]:
    """A column that an UPDATE may set to its own value."""
    return min(table.c, key=_is_kept_by_others)


def _is_kept_by_others(column: Column[Any]) -> int:
    is_ours = is_encrypted(column) or isinstance(column.type, IndexColumnType)
    is_theirs = column.computed is not None or column.identity is not None
    return 3 if is_ours else 2 if is_theirs else 1 if column.primary_key else 0


def were_written(insert: KeylessInsert, written: int) -> bool:
    """Whether as many rows were written as in the rehearsal.

    :param written: how many were.
    """
    return written == len(insert.rows) - len(insert.skipped)
