"""Which columns of a SELECT are settled by others: what makes its rows, or groups, distinct.

A row's key settles everything that is of the row, and a condition that sets two columns equal,
as the ON of a joined subclass's tables does, lets each of them settle the other.

Whether what a SELECT delivers is a row of its own for every row that was found.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy import Column
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import BinaryExpression, ColumnClause, Over, TextClause
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.selectable import AliasedReturnsRows, FromGrouping, Join, Select, SelectBase

from encfields.orm import internals
from encfields.orm.declare.columns import bindings_of
from encfields.orm.query.statement_scope import conjunction
from encfields.orm.read.provenance import row_siblings


def row_key_settled(element: Any, others: Iterable[Any], select: Select[Any]) -> bool:
    """Whether the `others` settle which row the encrypted `element` belongs to.

    Its table's primary key does, or what its values are bound to; the columns of a key template
    need not be there, for the row has but one of each.
    """
    bases = [base for base in getattr(element, "base_columns", ()) if isinstance(base, Column)]
    if len(bases) != 1 or getattr(element, "table", None) is None:
        return False
    (base,) = bases
    settled = _settled({hash(other) for other in others}, select)
    keys = (base.table.primary_key.columns, bindings_of(base.table)[base.key].own_identity)
    return any(
        bool(columns)
        and all(
            any(hash(sibling) in settled for sibling in row_siblings(element, key, base))
            for key in columns
        )
        for columns in keys
    )


def _settled(known: set[int], select: Select[Any]) -> set[int]:
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


_NAMES = (
    "abs ceil ceiling char_length coalesce concat concat_ws current_date current_time "
    "current_timestamp date date_part date_trunc extract floor greatest ifnull json_extract least "
    "left length localtime localtimestamp lower lpad ltrim mod now nullif octet_length position "
    "replace reverse right round rpad rtrim sign sqrt strftime substr substring trim upper"
)
_ROW_WISE = frozenset(_NAMES.split())
"""Functions that are no aggregates. A function of another name might be one."""


def merges_rows(columns: Iterable[Any]) -> bool:
    """Whether one of the selected columns is, or may be, about more rows than its own."""
    stack: list[Any] = list(columns)
    while stack:
        element = stack.pop()
        if isinstance(element, SelectBase):
            continue  # A scalar subquery has rows of its own.
        if isinstance(element, Over) or _may_be_aggregate(element):
            return True
        stack.extend(element.get_children())
    return False


def _may_be_aggregate(element: Any) -> bool:
    if isinstance(element, FunctionElement):
        return str(getattr(element, "name", "")).lower() not in _ROW_WISE
    if isinstance(element, TextClause):
        return "(" in element.text
    return isinstance(element, ColumnClause) and element.is_literal and "(" in element.name
