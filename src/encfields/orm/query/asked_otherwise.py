"""Comparisons that SQLAlchemy builds without asking the encrypted column's type, looked up too.

``any_([...]) == column`` is one, ``literal("x") == column`` another, and ``tuple_(a, b).in_(...)``
a third. What stands in the WHERE of a statement, or of an EXISTS in it, is exchanged for look-ups
before the statement is compiled. Elsewhere it is refused.
"""

from __future__ import annotations

from operator import is_
from typing import Any

from sqlalchemy import and_, not_, or_
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import (
    BinaryExpression,
    BindParameter,
    BooleanClauseList,
    CollectionAggregate,
    Grouping,
    Tuple,
    UnaryExpression,
)

from encfields.orm import internals
from encfields.orm.declare.columns import is_encrypted
from encfields.orm.query.comparison import EQUALITY, OF_NULL_TOO, BlindView, IndexComparison
from encfields.orm.query.list_comparison import compared_to_list
from encfields.orm.query.row_values import compared_by_parts, found_in_columns


def with_all_asked(statement: Any) -> Any:
    """The statement with all that its WHERE asks in the form in which it is looked up."""
    return internals.with_criteria_rewritten(statement, _asked)


def _asked(criterion: Any) -> Any:
    """The criterion, or another one in its place if a column in it is to be looked up."""
    if type(criterion) is IndexComparison:
        return criterion
    if isinstance(criterion, BinaryExpression):
        return _compared(criterion)
    if isinstance(criterion, BooleanClauseList):
        parts = [_asked(part) for part in criterion.clauses]
        if all(map(is_, parts, criterion.clauses)):
            return criterion
        return or_(*parts) if criterion.operator is operators.or_ else and_(*parts)
    if isinstance(criterion, Grouping):
        part = _asked(criterion.element)
        return criterion if part is criterion.element else part
    if isinstance(criterion, UnaryExpression):
        return _negated_or_exists(criterion)
    return criterion


def _negated_or_exists(criterion: UnaryExpression[Any]) -> Any:
    if criterion.operator is operators.inv:
        part = _asked(criterion.element)
        return criterion if part is criterion.element else not_(part)
    if criterion.operator is operators.exists:
        return internals.exists_rewritten(criterion, with_all_asked)
    return criterion


def _compared(criterion: BinaryExpression[Any]) -> Any:
    """A comparison with the encrypted column on its left side, or its answer in parts."""
    left, right, operator = criterion.left, criterion.right, criterion.operator
    compared = None
    if isinstance(right, CollectionAggregate):
        if _is_indexed(left):
            compared = compared_to_list(left, operator, right)
    elif isinstance(left, BindParameter):
        if operator in _SYMMETRIC and _is_indexed(right):
            compared = operator(right, left)
        elif operator in (operators.in_op, operators.not_in_op):
            compared = found_in_columns(left, operator, right, _is_indexed)
    elif isinstance(left, Tuple) and any(map(_is_indexed, left.clauses)):
        compared = compared_by_parts(left, operator, right)
    return criterion if compared is None else compared


_SYMMETRIC = (*EQUALITY, *OF_NULL_TOO)


def _is_indexed(side: Any) -> bool:
    type_: Any = getattr(side, "type", None)
    return isinstance(type_, BlindView) or (is_encrypted(side) and bool(type_.indexes))
