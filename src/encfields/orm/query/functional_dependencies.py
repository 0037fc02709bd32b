"""Functional dependencies in a SELECT: which columns are determined by others.

A condition that sets two columns equal, as the ON of a joined subclass's tables does, lets each of
them determine the other, and stand for it.
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
    """The columns that have one value wherever the `known` ones have, by hash.

    :param select: whose conditions and joins are gone by.
    """
    pairs = [(hash(one), hash(other)) for one, other in _determines(select)]
    while True:
        others = {other for one, other in pairs if one in known} - known
        if not others:
            return known
        known = known | others


def _determines(select: Select[Any]) -> Iterator[tuple[Any, Any]]:
    """Pairs of columns, the first of which determines the second."""
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
    """By its ON. An outer join's row without a partner has NULL on the right, whatever the left."""
    if join.full:
        return
    for one, other in _equal([join.onclause]):
        for known, determined in ((one, other), (other, one)):
            if not join.isouter or join.right.is_derived_from(determined.table):
                yield known, determined


def _equal(criteria: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    """Columns of one kind that a conjunction sets equal; ``'01' = 1`` determines nothing."""
    for criterion in conjunction(criteria):
        if isinstance(criterion, BinaryExpression) and criterion.operator is operators.eq:
            one, other = criterion.left, criterion.right
            columns = all(
                isinstance(side, ColumnClause) and side.table is not None for side in (one, other)
            )
            if columns and internals.of_one_kind(one.type, other.type):
                yield one, other
