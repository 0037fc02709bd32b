"""An UPDATE that names one row in other words than ``key == value``, in the words that are read.

``key.in_([value])`` is how repositories and admin pages write it. Of ``false()``, SQLAlchemy makes
all that the WHERE says, and the row that a value is for would not be told any more.
"""

from __future__ import annotations

from typing import Any

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
from sqlalchemy.types import TupleType

from encfields.orm import internals
from encfields.orm.declare.columns import is_encrypted
from encfields.orm.query.comparison import ungrouped


def with_row_named(statement: Update) -> Update:
    """The UPDATE with ``key == value`` for a list of one value, or one row of values, and its key
    beside ``false()``.

    :param statement: of a table with encrypted columns.
    """
    named: Update = internals.with_criteria_rewritten(statement, _named)
    return named


def _named(criterion: Any) -> Any:
    if isinstance(criterion, False_):
        return text("1 = 0")
    if isinstance(criterion, BooleanClauseList) and criterion.operator is operators.and_:
        return internals.clauses_rewritten(criterion, _named)
    if isinstance(criterion, BinaryExpression):
        if criterion.operator is operators.in_op:
            return _equal(criterion, _only(criterion.right))
        if criterion.operator is operators.eq and isinstance(criterion.left, Tuple):
            return _equal(criterion, criterion.right)
    return criterion


def _only(listed: Any) -> Any:
    """The value, or row of values, of a list that has but one; ``None`` for any other."""
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
    """The comparison of a column with a value, or of a row of columns with a row, in parts."""
    columns = criterion.left.clauses if isinstance(criterion.left, Tuple) else [criterion.left]
    if isinstance(value, Tuple):
        value = list(value.clauses)
    values = value if isinstance(value, list) else [value]
    if len(values) != len(columns) or any(isinstance(one, Null | None) for one in values):
        return criterion
    if not all(isinstance(column, Column) and not is_encrypted(column) for column in columns):
        return criterion
    return and_(*(column == one for column, one in zip(columns, values, strict=True)))
