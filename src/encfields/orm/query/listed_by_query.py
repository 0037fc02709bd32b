"""``column.in_(query)``, and of a list with columns, in the form in which a blind index answers it.

A UNION is an OR of its SELECTs. What is IN a query does not depend on whether it repeats a row, so
DISTINCT is left out; and equal values have equal hashes, so GROUP BY the column is one by its
index.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy.sql.elements import BindParameter, ColumnElement
from sqlalchemy.sql.selectable import (
    CompoundSelect,
    ScalarSelect,
    Select,
    SelectStatementGrouping,
)

from encfields.orm import internals
from encfields.orm.declare.columns import is_encrypted
from encfields.orm.query.comparison import (
    MEMBERSHIP,
    BlindValue,
    BlindView,
    IndexComparison,
    clause_of,
    ungrouped,
)
from encfields.orm.query.statement_scope import unlabelled


def selects_listed(operand: object) -> list[Select[Any]] | None:
    """The SELECTs in one of which a value has to be to be in a query.

    :param operand: what ``in_()`` is given.
    :returns: ``None`` for anything that is not made of SELECTs alone, which the database limits,
        intersects or takes away from, and where nothing has to be changed.
    """
    if not isinstance(operand, ScalarSelect | Select | CompoundSelect | SelectStatementGrouping):
        return None
    selects = _united(operand)
    if selects is None:
        return None
    changed = [_as_looked_up(select) for select in selects]
    return None if len(changed) == 1 and changed[0] is operand else changed


def compared_with_each(comparison: IndexComparison) -> list[IndexComparison]:
    """The comparisons with each SELECT of a UNION, of which IN the UNION is an OR.

    :returns: none where it is not one with a UNION.
    """
    if comparison.operator not in MEMBERSHIP:
        return []
    selects = _united(ungrouped(comparison.right)) or ()
    if len(selects) < 2:
        return []
    return [comparison.with_right_side(select.scalar_subquery()) for select in selects]


def columns_listed(operand: object) -> tuple[list[Any], list[Any]] | None:
    """The encrypted columns in a list that ``in_()`` is given, and the rest of it.

    :returns: ``None`` where there is no such column.
    """
    if not isinstance(operand, list | tuple | set | frozenset):
        return None
    columns = [one for one in operand if _is_encrypted_column(one)]
    if not columns:
        return None
    return columns, [one for one in operand if not any(one is column for column in columns)]


def _is_encrypted_column(one: object) -> bool:
    if not isinstance(one, ColumnElement) and not hasattr(one, "__clause_element__"):
        return False
    clause = clause_of(one)
    return is_encrypted(clause) and not isinstance(clause, BindParameter)


def _united(query: Any) -> list[Any] | None:
    """The SELECTs of a UNION, also of UNIONs; of a SELECT, itself."""
    while isinstance(query, ScalarSelect | SelectStatementGrouping):
        query = query.element
    if isinstance(query, Select):
        return [query]
    if not isinstance(query, CompoundSelect) or not internals.is_plain_union(query):
        return None
    listed: list[Any] = []
    for part in query.selects:
        selects = _united(part)
        if selects is None or any(map(internals.has_row_limit, selects)):
            return None
        listed += selects
    return listed


def _as_looked_up(select: Any) -> Any:
    if internals.has_row_limit(select) or len(select.selected_columns) != 1:
        return select
    column = unlabelled(select.selected_columns[0])
    if not is_encrypted(column) or isinstance(column, BindParameter):
        return select
    return _grouped_by_hash(_with_repetitions(select), column)


def _with_repetitions(select: Any) -> Any:
    if not internals.is_distinct(select) or internals.distinct_on_clauses(select):
        return select
    repeated = internals.without_distinct(select)
    return select if internals.is_distinct(repeated) else repeated


def _grouped_by_hash(select: Any, column: Any) -> Any:
    """The SELECT with the column's index in GROUP BY, if there is only one that could be meant."""
    clauses = internals.group_by_clauses(select)
    is_there = any(hash(clause) == hash(column) for clause in clauses)
    if not is_there or column.type.adopts is not None or not _has_one_index(column.type):
        return select
    view = BlindValue(column, BlindView("exact"))
    return internals.with_group_by(
        select, tuple(view if hash(clause) == hash(column) else clause for clause in clauses)
    )


def _has_one_index(type_: Any) -> bool:
    (first, *others) = type_.indexes or (None,)
    return first is not None and not others and first.label == "exact" and len(first.versions) == 1
