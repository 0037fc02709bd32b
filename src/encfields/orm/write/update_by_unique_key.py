"""An UPDATE that names its row by another unique key than the one that values are bound to.

``update(user).where(user.c.mail == "...").values(ssn="...")`` changes one row at most. Which one is
read before, in the same transaction and under a lock, and the UPDATE then names that row as well.
So whatever somebody else does in between, the value gets into no other row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeGuard

from sqlalchemy import Column, bindparam, select
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import (
    BinaryExpression,
    BindParameter,
    Cast,
    ClauseList,
    Grouping,
    TypeClause,
)
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.visitors import iterate

from encfields.orm import internals
from encfields.orm.adoption.plaintext import adoption_of
from encfields.orm.declare.columns import is_encrypted
from encfields.orm.declare.table_indexes import known_indexes
from encfields.orm.query.statement_scope import conjunction
from encfields.orm.write.current_rows import lock_on_sqlite
from encfields.orm.write.row_planner import FOUND_KEY
from encfields.orm.write.row_update import unique_keys
from encfields.orm.write.update_rewording import has_one_item

if TYPE_CHECKING:
    from sqlalchemy import Table

    from encfields.orm.declare.columns import ColumnBinding
    from encfields.orm.write.execution import WriteExecution


def name_row_of_unique_key(execution: WriteExecution) -> None:
    """Have an UPDATE name the key of the row that it finds by another unique one."""
    rows = execution.rows
    if not all(isinstance(row, Mapping) for row in rows):
        return
    criteria = list(conjunction(internals.where_criteria(execution.statement)))
    known = set(_compared(criteria, execution.table, in_sql=False))
    missing = [column for column in _needed(execution, rows) if column not in known]
    if not missing:
        return
    compared = set(_compared(criteria, execution.table, in_sql=True))
    if not any(key <= compared for key in unique_keys(execution.table)):
        return
    templated = {column for one in _written(execution, rows) for column in one.key_columns}
    if templated.intersection(missing):
        return  # the database does not choose under which key a value is sealed
    if len(rows) > 1 and _stated(execution, rows) & {column.key for column in compared}:
        return  # a row may be found by what the one before it sets
    criteria += internals.criteria_of_class(execution.statement)
    query = internals.without_entities(select(*missing).where(*criteria))
    if [*map(hash, query.get_final_froms())] != [hash(execution.table)]:
        return
    found = _found(execution, query.with_for_update(key_share=True), rows)
    if found is None:
        return
    taken = {*rows[0], *(e.key for e in iterate(execution.statement) if _is_bind(e))}
    binds = [bindparam(_name_beside(taken, column), type_=column.type) for column in missing]
    named = (column == bind for column, bind in zip(missing, binds, strict=True))
    execution.statement = execution.statement.where(*named)
    names = [bind.key for bind in binds]
    given = [{**row, **dict(zip(names, key, strict=True))} for row, key in found]
    if execution.multiparams:
        execution.multiparams, execution.params = given, {}
    else:
        execution.params = given[0]


def _is_bind(element: object) -> TypeGuard[BindParameter[Any]]:
    return isinstance(element, BindParameter)


def _name_beside(taken: set[str], column: Column[Any]) -> str:
    """A name that no bind of the application's has, even one that looks like ours."""
    name = FOUND_KEY + column.key
    while name in taken:
        name += "_"
    return name


def _needed(execution: WriteExecution, rows: Sequence[Mapping[str, Any]]) -> list[Column[Any]]:
    """What the values that are set are bound to; nothing of a column that is being adopted."""
    written = _written(execution, rows)
    if any(adoption_of(binding.column) is not None for binding in written):
        return []
    return list(dict.fromkeys(column for one in written for column in one.identity))


def _written(execution: WriteExecution, rows: Sequence[Mapping[str, Any]]) -> list[ColumnBinding]:
    """The encrypted columns that the UPDATE sets, itself or by their ``onupdate=``."""
    stated = _stated(execution, rows)
    return [
        one
        for key, one in execution.bindings.items()
        if key in stated or one.column.onupdate is not None
    ]


def _stated(execution: WriteExecution, rows: Sequence[Mapping[str, Any]]) -> set[str]:
    """Keys of the columns that the UPDATE sets, and names of its other parameters."""
    return {*internals.update_values_by_key(execution.statement), *rows[0]}


def _compared(criteria: Iterable[Any], table: Table, *, in_sql: bool) -> Iterable[Column[Any]]:
    """The columns that WHERE compares with one value; of an encrypted one, its index's.

    :param in_sql: also one that the database computes, as in ``lower(:mail)``.
    """
    columns = {hash(column): column for column in table.c}
    for criterion in criteria:
        if not isinstance(criterion, BinaryExpression):
            continue
        column = columns.get(hash(criterion.left))
        if column is None:
            continue
        if not _is_of_one_value(criterion, table, in_sql=in_sql and not is_encrypted(column)):
            continue
        if not is_encrypted(column):
            yield column
            continue
        for index in known_indexes(table):
            is_whole = [source.column for source in index.sources] == [column]
            if is_whole and index.is_full and index.is_exact:
                yield index.index_column


def _is_of_one_value(criterion: BinaryExpression[Any], table: Table, *, in_sql: bool) -> bool:
    """Whether it compares a column with a value, the same for all rows."""
    if criterion.operator is operators.in_op:
        return has_one_item(criterion.right)
    if criterion.operator is not operators.eq:
        return False
    if isinstance(criterion.right, BindParameter):
        return True
    return in_sql and all(_is_steady(part) for part in iterate(criterion.right))


_STEADY = {"abs", "coalesce", "concat", "lower", "ltrim", "nullif", "replace", "rtrim", "substr"}
_STEADY |= {"substring", "trim", "upper"}
"""Functions that say the same when a row is looked for and in the UPDATE, and do nothing else."""

_OF_PLAIN_VALUES = (BindParameter, BinaryExpression, Cast, ClauseList, Grouping, TypeClause)


def _is_steady(part: object) -> bool:
    """Whether a part of an SQL expression is the same for all rows and at any moment."""
    if isinstance(part, FunctionElement):
        return part.name.lower() in _STEADY
    return isinstance(part, _OF_PLAIN_VALUES)


def _found(
    execution: WriteExecution, query: Any, rows: Sequence[Mapping[str, Any]]
) -> list[tuple[Mapping[str, Any], Sequence[Any]]] | None:
    """Each parameter set with the key of its row, which is NULL if there is none; ``None`` if there
    are several rows after all."""
    lock_on_sqlite(execution.connection, execution.table)
    names = {e.key for e in iterate(query) if _is_bind(e)}
    found: list[tuple[Mapping[str, Any], Sequence[Any]]] = []
    for row in rows:
        asked = {name: value for name, value in row.items() if name in names}
        keys = execution.connection.execute(query, asked).all()
        if len(keys) > 1:
            return None
        found.append((row, keys[0] if keys else [None] * len(query.selected_columns)))
    return found
