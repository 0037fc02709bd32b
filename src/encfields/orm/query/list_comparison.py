"""``any_([...]) == column``, PostgreSQL's IN: asked of a blind index as ``in_()`` is.

With a list that the statement does not hold, it is refused.
"""

from __future__ import annotations

from typing import Any, cast

from sqlalchemy import and_, false, null, or_, true
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import BindParameter, CollectionAggregate, ColumnElement, Null

from encfields.orm import internals
from encfields.orm.query.comparison import EQUALITY, ungrouped
from encfields.orm.write.hidden_values import veil_all
from encfields.traces import leaves_no_trace


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
    element = ungrouped(aggregate.element)
    if isinstance(element, BindParameter):
        value = element.effective_value if element.unique else None
        return list(value) if isinstance(value, list | tuple | set | frozenset) else None
    parts = internals.array_items(element)
    if parts is None or not all(map(_is_value, parts)):
        return None
    return [None if isinstance(item, Null) else item.effective_value for item in parts]


def _is_value(part: Any) -> bool:
    return isinstance(part, Null) or (isinstance(part, BindParameter) and part.unique)
