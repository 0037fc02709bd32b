"""Rewords UPDATEs into equivalent ones that can be analysed, before compilation.

One row may be identified without ``key == value``: repositories and admin pages write
``key.in_([value])``. And SQLAlchemy reduces a WHERE that contains ``false()`` to that alone, so it
would no longer identify a value's row.

``SET ssn = coalesce(:new, ssn)`` is the new value if there is one, else the old. Whether there is
one is known when it is executed, so the UPDATE sets the value, or omits the column.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, and_, bindparam, text
from sqlalchemy.sql import operators
from sqlalchemy.sql.dml import Update
from sqlalchemy.sql.elements import (
    BinaryExpression,
    BindParameter,
    BooleanClauseList,
    ClauseList,
    False_,
    Null,
    Tuple,
)
from sqlalchemy.sql.functions import coalesce
from sqlalchemy.types import TupleType, TypeDecorator

from encfields.orm import internals
from encfields.orm.declare.columns import is_encrypted
from encfields.orm.query.comparison import is_converted, ungrouped

if TYPE_CHECKING:
    from sqlalchemy import Column

    from encfields.orm.write.execution import WriteExecution


def with_row_named(statement: Update) -> Update:
    """The UPDATE with ``key == value`` instead of a list of one value or row, and with its key kept
    beside ``false()``.

    :param statement: of a table with encrypted columns.
    """
    named: Update = internals.with_criteria_rewritten(statement, _criterion_naming_row)
    return named


def _criterion_naming_row(criterion: Any) -> Any:
    if isinstance(criterion, False_):
        return text("1 = 0")
    if isinstance(criterion, BooleanClauseList) and criterion.operator is operators.and_:
        return internals.clauses_rewritten(criterion, _criterion_naming_row)
    if isinstance(criterion, BinaryExpression):
        if criterion.operator is operators.in_op:
            return _equal(criterion, _only_item(criterion.right))
        if criterion.operator is operators.eq and isinstance(criterion.left, Tuple):
            return _equal(criterion, criterion.right)
    return criterion


def _only_item(listed: Any) -> Any:
    """The value, or row of values, of a list with only one; ``None`` for any other."""
    element = ungrouped(listed)
    if isinstance(element, ClauseList) and not isinstance(element, Tuple):
        parts = element.clauses
        return parts[0] if len(parts) == 1 else None
    if not isinstance(element, BindParameter) or not element.unique:
        return None
    values = element.effective_value
    if not isinstance(values, list | tuple) or len(values) != 1:
        return None
    if not isinstance(element.type, TupleType):
        return bindparam(None, values[0], type_=element.type, unique=True)
    return [
        bindparam(None, value, type_=type_, unique=True)
        for value, type_ in zip(values[0], element.type.types, strict=False)
    ]


def _equal(criterion: BinaryExpression[Any], value: Any) -> Any:
    """Compares a column with a value, or each column of a row with its value."""
    columns = criterion.left.clauses if isinstance(criterion.left, Tuple) else [criterion.left]
    if isinstance(value, Tuple):
        value = list(value.clauses)
    values = value if isinstance(value, list) else [value]
    if len(values) != len(columns) or any(isinstance(one, Null | None) for one in values):
        return criterion
    if not all(isinstance(column, Column) and not is_encrypted(column) for column in columns):
        return criterion
    return and_(*(column == one for column, one in zip(columns, values, strict=True)))


def decide_values(execution: WriteExecution) -> None:
    """Replace ``coalesce(value, column)`` for encrypted columns by the value, or omit the column.

    What is not replaced is refused in compilation: with several parameter sets, or if nothing else
    would be set.
    """
    given = internals.update_values(execution.statement)
    if not any(isinstance(value, coalesce) for _, value in given) or len(execution.rows) != 1:
        return
    by_key = internals.update_values_by_key(execution.statement)
    for key, value in by_key.items():
        binding = execution.bindings.get(key)
        new = None if binding is None else _new_value(value, binding.column)
        if binding is not None and new is not None:
            _decide_value(execution, binding.column, new, is_only=len(given) == 1)
            given = internals.update_values(execution.statement)


def _new_value(value: Any, column: Column[Any]) -> BindParameter[Any] | None:
    """The first argument of a ``coalesce()`` of a value and the column itself.

    SQLAlchemy converts ``None`` there to ``null()``.
    """
    parts = list(value.clauses) if isinstance(value, coalesce) else []
    if len(parts) != 2 or hash(parts[1]) != hash(column):  # also if annotated
        return None
    # An application's type may store a value as NULL, and the value may have a type of its own.
    if isinstance(getattr(column.type, "inner", None), TypeDecorator):
        return None
    new = bindparam(None, None, unique=True) if isinstance(parts[0], Null) else parts[0]
    if not isinstance(new, BindParameter) or is_converted(new):
        return None
    return new


def _decide_value(
    execution: WriteExecution, column: Column[Any], new: BindParameter[Any], *, is_only: bool
) -> None:
    row = execution.rows[0]
    if new.key in row:
        value = row[new.key]
    elif new.required:
        return  # SQLAlchemy raises an error for the missing value
    else:
        value = new.effective_value
    if value is None and (is_only or column.onupdate is not None):
        return
    added = {}
    if value is not None:
        added[column] = bindparam(None, value, type_=column.type, unique=True)
    execution.statement = internals.with_replaced_values(execution.statement, column, added)
