"""MySQL and MariaDB: the keys of rows that an upsert may find, or INSERT IGNORE skip.

Which row that is, only the database knows. So the statement itself is rehearsed, row by row and in
one savepoint, because a row may find one of those before it. What it stores meanwhile for values is
random bytes, also in a row that it finds, and all of it is rolled back.

No other transaction changes what was found before this one ends: InnoDB keeps the locks. If the
statement meets other rows nevertheless, the check that follows it notices.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import func

from encfields.orm import internals
from encfields.orm.write.generated_keys import savepoint
from encfields.orm.write.generated_keys.mysql_innodb import first_number, require_transaction
from encfields.orm.write.generated_keys.rehearsal import (
    REHEARSAL_OPTION,
    Keys,
    Rehearsal,
    refuse_skipping,
    rows_with_defaults,
)

if TYPE_CHECKING:
    from sqlalchemy import Column, Connection

    from encfields.orm.write.generated_keys.keyless import KeylessInsert
    from encfields.orm.write.generated_keys.mysql_innodb import InnodbTable


def keys_of_found_rows(
    connection: Connection, insert: KeylessInsert, context: Any, table: InnodbTable
) -> Keys:
    """The key of each row, found or new; ``None`` for one that is skipped. Leaves a savepoint set,
    for a later check.

    :param context: of the INSERT, which has not been sent.
    :param table: what is known about the INSERT's table.
    :raises UnknownIdentityError: they cannot be found out: what the statement does in its table
        cannot be undone for certain, or it sets the key.
    """
    (column,) = insert.missing
    if not table.is_innodb or not _leaves_keys(insert, column):
        refuse_skipping(insert)
    require_transaction(connection, insert)
    rows = rows_with_defaults(insert, context)
    statement = internals.upsert_alone(insert.statement, insert.table)
    with_returning = bool(connection.dialect.insert_returning)
    if with_returning:
        statement = statement.returning(column)
    elif internals.upsert_values(statement):
        kept = [(column.key, func.last_insert_id(column))]
        statement = internals.with_upsert_values(statement, kept)
    options = {REHEARSAL_OPTION: Rehearsal(finds_rows=True)}
    keys: Keys = []
    with savepoint.set_for_rehearsal(connection):
        for row in rows:
            values, parameters = insert.row_alone(row)
            of_row = statement.values(values) if values else statement
            result = connection.execute(of_row, parameters, execution_options=options)
            if with_returning:
                keys.append((result.scalar(),))
            else:
                keys.append(((result.rowcount and first_number(connection, result)) or None,))
        if not internals.upsert_values(insert.statement):
            insert.last_number = last_number(connection)
        undone = savepoint.undo(connection)
    # Nothing is deleted: some of these rows were there before.
    savepoint.refuse_what_stayed(connection, insert, [], undone)
    if internals.upsert_values(insert.statement) and (None,) in keys:
        refuse_skipping(insert)
    return keys


def last_number(connection: Connection) -> int:
    """The last number that the database generated for a row of this connection."""
    return int(connection.exec_driver_sql("SELECT LAST_INSERT_ID()").scalar_one())


def are_skipped(connection: Connection, insert: KeylessInsert, keys: Keys) -> bool:
    """Whether no row got a number of its own that was to be skipped, where a driver does not tell
    how many rows were written.

    :param keys: of the rows; ``None`` for those that were to be skipped.
    """
    return (None,) not in keys or insert.last_number == last_number(connection)


def _leaves_keys(insert: KeylessInsert, column: Column[Any]) -> bool:
    """Whether a row that is found keeps its key, and the number of rows tells what was stored."""
    given = internals.upsert_values(insert.statement)
    if given and internals.has_prefixes(insert.statement):
        return False
    return all(
        key not in (column.key, column.name) or internals.keeps_value(value, column)
        for key, value in given
    )
