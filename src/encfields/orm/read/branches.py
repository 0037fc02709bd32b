"""What a subquery's column stands for in the SELECT that it is of, or in each of a UNION."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.sql.elements import Label
from sqlalchemy.sql.selectable import (
    AliasedReturnsRows,
    CompoundSelect,
    Select,
    SelectStatementGrouping,
)


@dataclass(frozen=True)
class Branch:
    """One SELECT of a subquery.

    :ivar columns: what it selects, without labels. :ivar value: what the column stands for.
    """

    select: Select[Any]
    columns: Sequence[Any]
    value: Any


def branches_of(expression: Any) -> list[Branch]:
    """Of a subquery's column, each SELECT; none where what the subquery selects is not seen."""
    subquery = expression.table
    if not isinstance(subquery, AliasedReturnsRows):
        return []
    columns = list(subquery.c)
    place = next((n for n, one in enumerate(columns) if one is expression), None)
    found: list[Branch] = []
    for select in _selects(subquery.element):
        inner = [_without_label(one) for one in getattr(select, "selected_columns", ())]
        if place is None or not isinstance(select, Select) or len(inner) != len(columns):
            return []
        found.append(Branch(select, inner, inner[place]))
    return found


def _selects(selectable: Any) -> Iterator[Any]:
    if isinstance(selectable, SelectStatementGrouping):
        yield from _selects(selectable.element)
    elif isinstance(selectable, CompoundSelect):
        for one in selectable.selects:
            yield from _selects(one)
    else:
        yield selectable


def _without_label(column: Any) -> Any:
    return _without_label(column.element) if isinstance(column, Label) else column
