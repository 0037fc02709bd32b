"""The conflict target of an upsert: what stands for encrypted columns in it, and whether a row that
it finds has another key than the inserted one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, Constraint, PrimaryKeyConstraint, Table, UniqueConstraint

from encfields.errors import EncFieldsError, UnsupportedOperationError
from encfields.orm import internals
from encfields.orm.declare.table_indexes import known_indexes
from encfields.orm.write.upsert import Upsert, targeted_name

if TYPE_CHECKING:
    from encfields.orm.declare.columns import ColumnBinding
    from encfields.orm.write.execution import WriteExecution


def target_indexes(execution: WriteExecution) -> None:
    """Replace encrypted columns in a conflict target by their blind indexes, and the name of a
    constraint by its columns.

    :raises UnsupportedOperationError: a column in it has no index that is equal for equal values
        and no others.
    """
    _target_columns(execution)
    elements = internals.conflict_elements(execution.statement)
    encrypted = {binding.column.name: binding for binding in execution.bindings.values()}
    named = [encrypted.get(targeted_name(element) or "") for element in elements]
    if not any(named):
        return
    is_alone = len(named) == 1
    target = [
        element if binding is None else _index_of(binding, execution.table, is_alone=is_alone)
        for element, binding in zip(elements, named, strict=True)
    ]
    execution.statement = internals.with_conflict_elements(execution.statement, target)


def _target_columns(execution: WriteExecution) -> None:
    """Have an upsert that sets an encrypted column name the columns of its constraint.

    A row that is hit has equal values in these, whatever the database has under the name.
    """
    statement, table = execution.statement, execution.table
    name = internals.conflict_constraint(statement)
    if name is None:
        return
    encrypted = {
        e for one in execution.bindings.values() for e in (one.column.key, one.column.name)
    }
    if not any(key in encrypted for key, _ in internals.upsert_values(statement)):
        return
    for constraint in table.constraints:
        if not isinstance(constraint, UniqueConstraint | PrimaryKeyConstraint):
            continue
        if name in (constraint.name, _usual_name(constraint, table)):
            columns = [*constraint.columns]
            execution.statement = internals.with_conflict_elements(statement, columns)
            return


def _usual_name(constraint: Constraint, table: Table) -> str | None:
    """PostgreSQL's name of a primary key that is declared without one."""
    is_unnamed_key = isinstance(constraint, PrimaryKeyConstraint) and constraint.name is None
    return f"{table.name}_pkey" if is_unnamed_key else None


def _index_of(binding: ColumnBinding, table: Table, *, is_alone: bool) -> Column[Any]:
    """The column in which the database detects a second row with the same value.

    :param is_alone: whether the target is this column alone, whose index then only needs to be
        unique by itself, such as one of the letters regardless of case.
    """
    full = [
        index
        for index in known_indexes(table)
        if index.is_full and [source.column for source in index.sources] == [binding.column]
    ]
    unique = [index for index in full if index.unique] if is_alone else []
    suitable = [index for index in (*unique, *full) if index.is_exact] or unique
    if not suitable:
        raise _no_index(binding)
    return suitable[0].index_column


def _no_index(binding: ColumnBinding) -> EncFieldsError:
    return UnsupportedOperationError(
        "it is the target of ON CONFLICT, and no two ciphertexts are alike: give the column "
        "index=BlindIndex(unique=True), which is asked in its place",
        table=binding.table,
        column=binding.column_name,
        reason="upsert",
    )


# -- rows that are found by another unique key ------------------------------------------------


def columns_to_find(execution: WriteExecution) -> tuple[Column[Any], ...]:
    """The parts of the key of the row that an upsert hits, which have to be found out before."""
    statement = execution.statement
    if not internals.has_set_clause(statement) or internals.has_select_source(statement):
        return ()
    upsert = Upsert(statement, ({},), execution.connection.dialect, execution.table)
    bindings = execution.bindings.values()
    return tuple(dict.fromkeys(column for one in bindings for column in upsert.to_find(one)))


def only_of_key(statement: Any, table: Table, columns: Sequence[Column[Any]]) -> Any:
    """The upsert, which changes a row only if it has the inserted row's key.

    :param columns: of the key.
    """
    inserted = table.alias("excluded")
    for column in columns:
        same = column == inserted.c[column.key]
        statement = internals.with_upsert_condition(statement, same)
    return statement
