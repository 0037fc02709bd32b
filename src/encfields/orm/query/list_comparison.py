"""``any_([...]) == column``, PostgreSQL's IN: asked of a blind index as ``in_()`` is.

SQLAlchemy builds it without asking the column's type: what stands in the WHERE of a statement is
exchanged for look-ups before the statement is compiled. Elsewhere, and with a list that is not
known by then, it is refused.
"""

from __future__ import annotations

from typing import Any, cast

from sqlalchemy import and_, false, not_, null, or_, true
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import (
    BinaryExpression,
    BindParameter,
    BooleanClauseList,
    CollectionAggregate,
    ColumnElement,
    Grouping,
    Null,
    UnaryExpression,
)

from encfields.orm import internals
from encfields.orm.declare.columns import is_encrypted
from encfields.orm.query.comparison import EQUALITY, BlindView
from encfields.orm.write.hidden_values import veil_all
from encfields.traces import leaves_no_trace


def with_lists_asked(statement: Any) -> Any:
    """The statement with the lists of its WHERE looked up."""
    return internals.with_criteria_rewritten(statement, _asked)


def _asked(criterion: Any) -> Any:
    """The criterion, or another one in its place if a column in it is compared to a list."""
    if isinstance(criterion, BinaryExpression):
        if isinstance(criterion.right, CollectionAggregate) and _is_indexed(criterion.left):
            compared = compared_to_list(criterion.left, criterion.operator, criterion.right)
            return criterion if compared is None else compared
        return criterion
    if isinstance(criterion, BooleanClauseList):
        parts = [_asked(part) for part in criterion.clauses]
        if all(new is old for new, old in zip(parts, criterion.clauses, strict=True)):
            return criterion
        return or_(*parts) if criterion.operator is operators.or_ else and_(*parts)
    if isinstance(criterion, Grouping):
        part = _asked(criterion.element)
        return criterion if part is criterion.element else part
    if isinstance(criterion, UnaryExpression) and criterion.operator is operators.inv:
        part = _asked(criterion.element)
        return criterion if part is criterion.element else not_(part)
    return criterion


def _is_indexed(side: Any) -> bool:
    type_: Any = getattr(side, "type", None)
    return isinstance(type_, BlindView) or (is_encrypted(side) and bool(type_.indexes))


@leaves_no_trace
def compared_to_list(
    column: Any, operator: Any, aggregate: CollectionAggregate[Any]
) -> ColumnElement[bool] | None:
    """A column with a blind index compared to any, or to all, items of a list.

    :param column: an encrypted column, or ``column.blind()``.
    :param operator: of the comparison.
    :returns: ``None`` if it is no comparison that look-ups answer, or the list is not known.
    :raises UnsupportedOperationError: the index cannot answer it.
    """
    items = _items(aggregate)
    if items is None or operator not in EQUALITY:
        return None
    veil_all(aggregate.element)
    is_equal, is_any = operator is operators.eq, aggregate.operator is operators.any_op
    if is_equal and is_any:
        return cast("ColumnElement[bool]", column.in_(items))
    if not is_equal and not is_any:
        return cast("ColumnElement[bool]", column.not_in(items))
    each = [null() if item is None else operator(column, item) for item in items]
    return or_(false(), *each) if is_any else and_(true(), *each)


def _items(aggregate: CollectionAggregate[Any]) -> list[Any] | None:
    """The items of the list, if the statement holds them."""
    element: Any = aggregate.element
    while isinstance(element, Grouping):
        element = element.element
    if isinstance(element, BindParameter):
        value = element.effective_value if element.unique else None
        return list(value) if isinstance(value, list | tuple | set | frozenset) else None
    parts = internals.array_items(element)
    if parts is None or not all(map(_is_value, parts)):
        return None
    return [None if isinstance(one, Null) else one.effective_value for one in parts]


def _is_value(part: Any) -> bool:
    return isinstance(part, Null) or (isinstance(part, BindParameter) and part.unique)
