"""``column = ANY(list)`` and ``column != ALL(list)``, of a list in one bind, as IN and NOT IN."""

from __future__ import annotations

from typing import Any, cast

from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import BindParameter, CollectionAggregate
from sqlalchemy.sql.selectable import ScalarSelect, SelectBase
from sqlalchemy.types import NULLTYPE

from encfields.orm import internals
from encfields.orm.query.comparison import IndexComparison, ungrouped
from encfields.orm.write.hidden_values import veil_all

_AS_IN: dict[tuple[Any, Any], Any] = {
    (operators.eq, operators.any_op): operators.in_op,
    (operators.ne, operators.all_op): operators.not_in_op,
}


def asks_as_in(operator: Any, aggregate: Any) -> bool:
    """Whether a comparison asks, as IN and NOT IN do, for the items of a list in one bind."""
    return (
        isinstance(aggregate, CollectionAggregate)
        and (operator, aggregate.operator) in _AS_IN
        and isinstance(ungrouped(aggregate.element), BindParameter)
    )


def selected_for_any(operator: Any, aggregate: CollectionAggregate[Any]) -> Any:
    """The query for which ``= ANY`` and ``!= ALL`` ask as IN and NOT IN do; ``None`` if there is
    none."""
    if (operator, aggregate.operator) not in _AS_IN:
        return None
    element = ungrouped(aggregate.element)
    if isinstance(element, ScalarSelect):
        element = element.element
    return element if isinstance(element, SelectBase) else None


def in_bound_list(
    column: Any, operator: Any, aggregate: CollectionAggregate[Any], place: Any = None
) -> IndexComparison:
    """The comparison as IN, or NOT IN.

    The list may be longer in the next execution, so it stays one bind.

    :param place: the element of a statement that is being compiled.
    """
    bind = cast("BindParameter[Any]", ungrouped(aggregate.element))
    asked = _AS_IN[operator, aggregate.operator]
    item_type = getattr(bind.type, "item_type", NULLTYPE)
    veil_all(bind)
    listed: Any = internals.retyped_bind(bind, item_type, rename=False)
    listed.expanding, listed.expand_op = True, asked
    return IndexComparison.exchanged(column, asked, listed, place, is_all=True)
