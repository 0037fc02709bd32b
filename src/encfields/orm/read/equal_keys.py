"""A row's key under another column's name, in what a subquery selects.

A subclass's ``id`` is the column of its own table, and the values of its parent's table are bound
to the parent's. The subquery's own conditions set the two equal, so the one stands for the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy.sql.elements import ColumnElement, Label
from sqlalchemy.sql.selectable import (
    AliasedReturnsRows,
    CompoundSelect,
    Select,
    SelectStatementGrouping,
)

from encfields.orm.query.settled import settled_by

Siblings = Callable[[Any], Iterable[ColumnElement[Any]]]


def equal_keys(expression: Any, siblings_of: Siblings) -> Iterator[ColumnElement[Any]]:
    """Columns beside `expression`, in the subquery that it is of, that equal its row's key.

    :param siblings_of: gives the columns that are the key of a column's row, within the subquery.
    """
    subquery = expression.table
    if not isinstance(subquery, AliasedReturnsRows):
        return
    columns = list(subquery.c)
    place = next((n for n, one in enumerate(columns) if one is expression), None)
    if place is None:
        return
    for n in sorted(_places(subquery.element, place, len(columns), siblings_of)):
        yield columns[n]


def _places(selectable: Any, place: int, width: int, siblings_of: Siblings) -> set[int]:
    """Where a SELECT has what equals the key of the row whose value it has at `place`."""
    if isinstance(selectable, SelectStatementGrouping):
        return _places(selectable.element, place, width, siblings_of)
    if isinstance(selectable, CompoundSelect):
        branches = (_places(one, place, width, siblings_of) for one in selectable.selects)
        return set.intersection(*branches)
    if not isinstance(selectable, Select):
        return set()
    columns = [_without_label(one) for one in selectable.selected_columns]
    value = columns[place] if len(columns) == width else None
    if getattr(value, "table", None) is None:
        return set()
    keys = {hash(one) for one in siblings_of(value)}
    return _settling(columns, keys, selectable) if keys else set()


def _settling(columns: Sequence[Any], keys: set[int], select: Select[Any]) -> set[int]:
    """Places of the columns that cannot have a value without the key having the same."""
    return {n for n, one in enumerate(columns) if keys & settled_by({hash(one)}, select)}


def _without_label(column: Any) -> Any:
    return _without_label(column.element) if isinstance(column, Label) else column
