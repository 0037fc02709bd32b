"""``insert(table).values([{}, {}])``, of which SQLAlchemy makes INSERT .. DEFAULT VALUES, one row.

It does so of a plain table whose first row is empty, whatever the other rows are. With an index
column's default, or a key that is found out, the table would store all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, Sequence
from sqlalchemy.sql.dml import Insert

from encfields.orm import internals
from encfields.orm.adoption.columns import PlaintextColumn
from encfields.orm.declare.table_indexes import known_indexes

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect

    from encfields.orm.write.execution import WriteExecution


def store_one_row_of_defaults(execution: WriteExecution) -> None:
    """Make the INSERT one of a single row if SQLAlchemy would of a plain table."""
    statement: Insert = execution.statement
    rows = internals.multi_value_rows(statement)
    if not rows or rows[0] or execution.multiparams or execution.params:
        return
    ours = {index.index_column for index in known_indexes(execution.table)}
    dialect = execution.connection.dialect
    if dialect.supports_default_values and not any(
        _is_written(column, dialect)
        for column in execution.table.columns
        if column not in ours and not isinstance(column, PlaintextColumn)
    ):
        execution.statement = internals.with_multi_value_rows(statement, [])


def _is_written(column: Column[Any], dialect: Dialect) -> bool:
    """Whether SQLAlchemy writes a column that is given no value."""
    default = column.default
    if isinstance(default, Sequence):
        is_left_out = default.optional and dialect.sequences_optional
        return dialect.supports_sequences and not is_left_out
    return default is not None
