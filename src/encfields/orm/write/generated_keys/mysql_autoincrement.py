"""MySQL and MariaDB: AUTO_INCREMENT numbers, taken by an INSERT that is rolled back.

One row takes the numbers of a whole batch, because the increment is set to the size of the batch
for that statement alone. On MariaDB it takes one round trip, as an anonymous block.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import insert as sql_insert
from sqlalchemy.exc import DBAPIError

from encfields.orm import internals
from encfields.orm.write.generated_keys import savepoint
from encfields.orm.write.generated_keys.mysql_innodb import (
    first_number,
    refuse_autocommit,
    require_transaction,
)
from encfields.orm.write.generated_keys.pending_key import has_own_bind
from encfields.orm.write.generated_keys.rehearsal import (
    REHEARSAL_OPTION,
    Keys,
    Rehearsal,
    refuse_skipping,
    reports_many,
    rows_with_defaults,
)
from encfields.orm.write.generated_keys.savepoint import refuse_what_stayed

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from encfields.orm.write.generated_keys.keyless import KeylessInsert
    from encfields.orm.write.generated_keys.mysql_innodb import InnodbTable
    from encfields.orm.write.generated_keys.mysql_side_connection import SideConnections

_MOST = 65_535
"""The largest increment."""

_FEW = 20
_FEW_BYTES = 64 * 1024
"""Most rows, and bytes of their values, to send twice in order not to leave a gap."""

_BLOCK_DRIVERS = frozenset({"pymysql", "mysqldb", "asyncmy", "aiomysql"})
"""Drivers that send a statement as text, and read all results of a block."""

_SIGNAL = "encfields: autocommit"


def is_counted(connection: Connection, insert: KeylessInsert) -> bool:
    """Whether an INSERT lacks only an AUTO_INCREMENT number for each row."""
    if len(insert.missing) != 1 or insert.is_partial:
        return False
    (column,) = insert.missing
    is_counter = column is internals.autoincrement_column(insert.table) and column.default is None
    return is_counter and not has_own_bind(column, connection.dialect)


def next_numbers(
    connection: Connection,
    insert: KeylessInsert,
    context: Any,
    table: InnodbTable,
    side: SideConnections,
) -> Keys:
    """Numbers for the rows; leaves a savepoint set, for a later check.

    :param context: of the INSERT, which has not been sent.
    :param side: takes numbers that the transaction should not take itself.
    :param table: what is known about the INSERT's table.
    :raises UnknownIdentityError: no transaction is open in which to undo anything.
    """
    refuse_skipping(insert)
    rows = rows_with_defaults(insert, context)
    dialect = connection.dialect
    # With use_insertmanyvalues=False, an engine gets the key of one row at a time.
    one_by_one = dialect.insert_returning and not reports_many(dialect)
    if table.takes_blocks and not one_by_one and _fit_one_statement(insert, rows):
        return [(n,) for n in _take(connection, insert, rows, len(rows), side)]
    width = _MOST if table.takes_blocks else 1
    keys: Keys = []
    for start in range(0, len(rows), width):
        count = min(width, len(rows) - start)
        (first,) = _take(connection, insert, rows[start : start + 1], count, side)
        keys += [(number,) for number in range(first, first + count)]
    return keys


def _fit_one_statement(insert: KeylessInsert, rows: list[dict[str, Any]]) -> bool:
    """Whether to take a number for each of a few rows, which leaves no gap before them."""
    if len(rows) > _FEW or insert.values or not internals.are_plain_rows(rows):
        return False
    lengths = (len(v) for row in rows for v in row.values() if isinstance(v, str | bytes))
    return sum(lengths) <= _FEW_BYTES


def _take(
    connection: Connection,
    insert: KeylessInsert,
    rows: list[dict[str, Any]],
    count: int,
    side: SideConnections,
) -> list[int]:
    """One number for each of `rows`, or, for a single row, the first of `count`."""
    statement: Any = sql_insert(insert.table)
    values: Any = insert.values
    parameters: Any = rows[0]
    step = count if len(rows) == 1 else 1
    if len(rows) == 1:
        values, parameters = insert.row_alone(rows[0])
    if values:
        statement = statement.values(values)
    if not connection.dialect.insert_returning:
        if len(rows) > 1:
            statement, parameters = statement.values(rows), {}
        of_rows = len(rows)
        numbers = _of_mysql(connection, insert, statement, parameters, (of_rows, step), side)
    else:
        many = len(rows) > 1
        parameters = rows if many else parameters
        statement = statement.returning(*insert.missing, sort_by_parameter_order=many)
        is_block = connection.dialect.driver in _BLOCK_DRIVERS
        take = _in_one_block if is_block else _step_by_step
        numbers = take(connection, insert, statement, parameters, step)
    if len(set(numbers)) != len(rows) or not all(isinstance(n, int) and n > 0 for n in numbers):
        raise insert.unknown(
            "the database did not report the key that it generated: give the key a value or a "
            "Python-side default"
        )
    return numbers


def _in_one_block(
    connection: Connection, insert: KeylessInsert, statement: Any, parameters: Any, step: int
) -> list[Any]:
    def reword(sql: str) -> str:
        return (
            f"BEGIN NOT ATOMIC IF @@autocommit THEN SIGNAL SQLSTATE '45000' "
            f"SET MESSAGE_TEXT = '{_SIGNAL}'; END IF; SAVEPOINT {savepoint.NAME}; "
            f"{_widened(sql, step, is_mariadb=True)}; ROLLBACK TO SAVEPOINT {savepoint.NAME}; END"
        )

    options = {REHEARSAL_OPTION: Rehearsal(reword)}
    try:
        result = connection.execute(statement, parameters, execution_options=options)
        numbers = list(result.scalars())
    except DBAPIError as error:
        if _SIGNAL in str(error.orig):
            raise refuse_autocommit(insert) from None
        raise
    refuse_what_stayed(connection, insert, _as_keys(numbers), result.context)
    return numbers


def _step_by_step(
    connection: Connection, insert: KeylessInsert, statement: Any, parameters: Any, step: int
) -> list[Any]:
    require_transaction(connection, insert)
    options = {REHEARSAL_OPTION: Rehearsal(lambda sql: _widened(sql, step, is_mariadb=True))}
    with savepoint.set_for_rehearsal(connection):
        reported = connection.execute(statement, parameters, execution_options=options).scalars()
        numbers = list(reported)
        undone = savepoint.undo(connection)
    refuse_what_stayed(connection, insert, _as_keys(numbers), undone)
    return numbers


def _of_mysql(
    connection: Connection,
    insert: KeylessInsert,
    statement: Any,
    parameters: Any,
    rows_and_step: tuple[int, int],
    side: SideConnections,
) -> list[int]:
    """MySQL's numbers, taken on a separate connection if that is better."""
    rows, step = rows_and_step
    options = {REHEARSAL_OPTION: Rehearsal(lambda sql: _widened(sql, step, is_mariadb=False))}
    require_transaction(connection, insert)
    with savepoint.set_for_rehearsal(connection):
        if side.is_better(connection, insert):
            number = side.last_row_id(connection, insert, statement, parameters, options)
            if number is not None:
                return list(range(number, number + rows))
        result = connection.execute(statement, parameters, execution_options=options)
        first = first_number(connection, result)
        numbers = list(range(first, first + rows)) if isinstance(first, int) else []
        undone = savepoint.undo(connection)
    refuse_what_stayed(connection, insert, _as_keys(numbers), undone)
    return numbers


def _as_keys(numbers: list[Any]) -> Keys:
    return [(number,) for number in numbers]


def _widened(sql: str, count: int, *, is_mariadb: bool) -> str:
    """The INSERT, with an increment for this statement alone that leaves room for `count` rows."""
    if count == 1:
        return sql
    if is_mariadb:
        step = f"auto_increment_increment={count}, auto_increment_offset=1"
        return f"SET STATEMENT {step} FOR {sql}"
    hint = f"SET_VAR(auto_increment_increment={count}) SET_VAR(auto_increment_offset=1)"
    return sql.replace("INSERT INTO", f"INSERT /*+ {hint} */ INTO", 1)
