"""Functional dependencies in a SELECT: which columns determine others.

If a condition equates two columns, as the ON of a joined subclass's tables does, each determines
the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import BinaryExpression, ColumnClause
from sqlalchemy.sql.selectable import AliasedReturnsRows, FromGrouping, Join, Select

from encfields.orm import internals
from encfields.orm.query.statement_scope import conjunction


def determined_by(known: set[int], select: Select[Any]) -> set[int]:
    """The columns that the `known` ones determine, by hash.

    :param select: whose conditions and joins count.
    """
    pairs = [(hash(one), hash(other)) for one, other in _determines(select)]
    while True:
        others = {other for one, other in pairs if one in known} - known
        if not others:
            return known
        known = known | others


def _determines(select: Select[Any]) -> Iterator[tuple[Any, Any]]:
    """Pairs of columns; the first determines the second."""
    for one, other in _equal(internals.where_criteria(select)):
        yield from ((one, other), (other, one))
    for source in internals.top_level_from(select):
        yield from _determines_in(source)


def _determines_in(source: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(source, FromGrouping):
        yield from _determines_in(source.element)
    elif isinstance(source, Join):
        yield from _determines_in(source.left)
        yield from _determines_in(source.right)
        yield from _determines_by_join(source)
    elif isinstance(source, AliasedReturnsRows) and isinstance(source.element, Select):
        for pair in _determines(source.element):
            one, other = map(source.corresponding_column, pair)
            if one is not None and other is not None:
                yield one, other


def _determines_by_join(join: Join) -> Iterator[tuple[Any, Any]]:
    """Pairs from its ON. In an outer join's row without a partner the right side is NULL."""
    if join.full:
        return
    for one, other in _equal([join.onclause]):
        for known, determined in ((one, other), (other, one)):
            if not join.isouter or join.right.is_derived_from(determined.table):
                yield known, determined


def _equal(criteria: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    """Columns of one kind that a conjunction equates; ``'01' = 1`` determines nothing."""
    for criterion in conjunction(criteria):
        if isinstance(criterion, BinaryExpression) and criterion.operator is operators.eq:
            one, other = criterion.left, criterion.right
            columns = all(
                isinstance(side, ColumnClause) and side.table is not None for side in (one, other)
            )
            if columns and internals.compare_alike(one.type, other.type):
                yield one, other
