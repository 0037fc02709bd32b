"""Which columns of a SELECT are settled by others.

A condition that sets two columns equal, as the ON of a joined subclass's tables does, lets each of
them settle the other, and stand for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import BinaryExpression, ColumnClause
from sqlalchemy.sql.selectable import AliasedReturnsRows, FromGrouping, Join, Select

from encfields.orm import internals
from encfields.orm.query.statement_scope import conjunction


def settled_by(known: set[int], select: Select[Any]) -> set[int]:
    """The columns that have one value wherever the `known` ones have, by hash."""
    pairs = [(hash(one), hash(other)) for one, other in _settles(select)]
    while True:
        found = {other for one, other in pairs if one in known} - known
        if not found:
            return known
        known = known | found


def _settles(select: Select[Any]) -> Iterator[tuple[Any, Any]]:
    """Pairs of columns, the first of which settles the second."""
    for one, other in _equal(internals.where_criteria(select)):
        yield from ((one, other), (other, one))
    for source in internals.top_level_from(select):
        yield from _settles_in(source)


def _settles_in(source: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(source, FromGrouping):
        yield from _settles_in(source.element)
    elif isinstance(source, Join):
        yield from _settles_in(source.left)
        yield from _settles_in(source.right)
        yield from _settles_by_join(source)
    elif isinstance(source, AliasedReturnsRows) and isinstance(source.element, Select):
        for pair in _settles(source.element):
            one, other = map(source.corresponding_column, pair)
            if one is not None and other is not None:
                yield one, other


def _settles_by_join(join: Join) -> Iterator[tuple[Any, Any]]:
    """By its ON. An outer join's row without a partner has NULL on the right, whatever the left."""
    if join.full:
        return
    for one, other in _equal([join.onclause]):
        for settling, settled in ((one, other), (other, one)):
            if not join.isouter or join.right.is_derived_from(settled.table):
                yield settling, settled


def _equal(criteria: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    """Columns of one kind that a conjunction sets equal; ``'01' = 1`` would settle nothing."""
    for criterion in conjunction(criteria):
        if isinstance(criterion, BinaryExpression) and criterion.operator is operators.eq:
            one, other = criterion.left, criterion.right
            columns = all(
                isinstance(side, ColumnClause) and side.table is not None for side in (one, other)
            )
            if columns and internals.of_one_kind(one.type, other.type):
                yield one, other
