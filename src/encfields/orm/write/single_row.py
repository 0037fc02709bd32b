"""An UPDATE that names one row in other words than ``key == value``, in the words that are read.

``key.in_([value])`` is how repositories and admin pages write it. Of ``false()``, SQLAlchemy makes
all that the WHERE says, and the row that a value is for would not be told any more.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, bindparam, text
from sqlalchemy.sql import operators
from sqlalchemy.sql.dml import Update
from sqlalchemy.sql.elements import BinaryExpression, BindParameter, BooleanClauseList, False_

from encfields.orm import internals
from encfields.orm.declare.columns import is_encrypted


def with_row_named(statement: Update) -> Update:
    """The UPDATE with ``key == value`` for a list of one value, and its key beside ``false()``.

    :param statement: of a table with encrypted columns.
    """
    named: Update = internals.with_criteria_rewritten(statement, _named)
    return named


def _named(criterion: Any) -> Any:
    if isinstance(criterion, False_):
        return text("1 = 0")
    if isinstance(criterion, BooleanClauseList) and criterion.operator is operators.and_:
        return internals.clauses_rewritten(criterion, _named)
    if isinstance(criterion, BinaryExpression) and criterion.operator is operators.in_op:
        return _of_one_value(criterion)
    return criterion


def _of_one_value(listed: BinaryExpression[Any]) -> Any:
    column, bind = listed.left, listed.right
    if not isinstance(column, Column) or is_encrypted(column):
        return listed
    if not isinstance(bind, BindParameter) or not bind.unique:
        return listed
    values = bind.effective_value
    if not isinstance(values, list | tuple) or len(values) != 1:
        return listed
    return column == bindparam(None, values[0], type_=bind.type, unique=True)
