"""Refuses encrypted columns that raw SQL names in ORDER BY, GROUP BY or a window.

``text("note DESC")``, ``literal_column("note")``, ``column("note")`` and a position do not show
SQLAlchemy their column. So the words of such a clause are compared with the names of the
statement's encrypted columns. Expressions over a column are refused as well: the database cannot
answer them either.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from sqlalchemy.sql import visitors
from sqlalchemy.sql.elements import (
    ClauseElement,
    ClauseList,
    ColumnClause,
    TextClause,
    UnaryExpression,
)
from sqlalchemy.sql.selectable import CompoundSelect, Select

from encfields.orm import internals
from encfields.orm.declare.columns import is_encrypted
from encfields.orm.query.sorted_names import (
    Clause,
    Scope,
    encrypted_column_in,
    parts_of_list,
)

_SORTED_BY = r"(?i)\border\s+by\b"
_PARTITIONED_BY = r"(?i)\bpartition\s+by\b"

_SORTED_OR_GROUPED_BY = (
    r"(?i)\b(?:(?:order|partition|group)\s+by\b|distinct\s+on\s*\(|distinct\s+on\b)"
)


def encrypted_column_sorted_by(
    select: Any, froms: Callable[[], Iterable[Any]], behind: Callable[[Any], Any | None]
) -> Any | None:
    """The encrypted column that a SELECT or UNION sorts or groups by in raw SQL, or ``None``.

    :param froms: gives what it selects from.
    :param behind: gives the encrypted column that a subquery selects in raw SQL.
    """
    clauses = [clause for clause in _clauses_of(select) if _may_sort(clause)]
    if not clauses:
        return None
    scope = Scope(froms, list(select.selected_columns), lambda: _places(select), behind)
    for clause in clauses:
        scopes = (scope,) if clause.select is None else (_scope_of(clause.select), scope)
        found = encrypted_column_in(clause, scopes)
        if found is not None:
            return found
    return None


def _clauses_of(select: Any) -> Iterator[Clause]:
    """Its raw SQL that sorts, groups or numbers."""
    order_by = _resolved(select, internals.order_by_clauses(select))
    yield from _raw_clauses(order_by, is_order=True, has_positions=True)
    group_by = _resolved(select, internals.group_by_clauses(select))
    yield from _raw_clauses(group_by, has_positions=True)
    if not isinstance(select, Select):
        return
    distinct_on = _resolved(select, internals.distinct_on_clauses(select))
    yield from _raw_clauses(distinct_on, has_positions=True)
    yield from _window_clauses(part for part, _ in window_parts(select))
    for clause in _raw_clauses(_others(select)):
        yield clause._replace(pattern=_SORTED_BY, sorts=True)
        yield clause._replace(pattern=_PARTITIONED_BY)
    for clause in _raw_clauses(internals.prefixes_and_suffixes(select)):
        yield clause._replace(pattern=_SORTED_OR_GROUPED_BY, has_positions=True)
    for hint in internals.statement_hints(select):
        yield Clause(hint, _SORTED_OR_GROUPED_BY, has_positions=True)


def _places(select: Any) -> Iterator[Any]:
    """What a SELECT, or the first one of a UNION, selects at each position."""
    while isinstance(select, CompoundSelect):
        select = select.selects[0]
    if not isinstance(select, Select):
        yield from select.selected_columns
        return
    for column in select.inner_columns:
        if isinstance(column, TextClause):
            yield from map(Clause, parts_of_list(column.text))
        else:
            own = (raw for raw in _raw_clauses((column,)) if raw.select is None)
            yield column if is_encrypted(column) else next(own, column)


def _may_sort(clause: Clause) -> bool:
    return not clause.pattern or re.search(r"(?i)\b(?:by|on)\b", clause.sql) is not None


def _scope_of(select: Select[Any]) -> Scope:
    return Scope(lambda: internals.top_level_from(select))


def _resolved(select: Any, clauses: Iterable[Any]) -> Iterator[Any]:
    return (part for part in (named(select, clause) for clause in clauses) if part is not None)


def named(select: Any, clause: Any) -> Any | None:
    """The element in a clause of ORDER BY or GROUP BY, with a column's name resolved."""
    element = _sorted_by(clause)
    return internals.column_of_name(select, element) if isinstance(element, str) else element


def is_word(clause: Any) -> bool:
    """Whether such a clause is a name, as in ``order_by(desc("note"))``."""
    return isinstance(_sorted_by(clause), str)


def _sorted_by(clause: Any) -> Any:
    """What a clause sorts by: an element, or a name."""
    element = clause
    while isinstance(element, UnaryExpression) or internals.is_label_reference(element):
        element = element.element
    return element


def is_raw_name(element: Any) -> bool:
    """Whether it is a name without a table, from ``column()`` or ``literal_column()``."""
    return isinstance(element, ColumnClause) and element.table is None


def name_in_sql(name: Any) -> str:
    """Such a name as rendered in SQL."""
    return str(name.name) if name.is_literal else f'"{name.name}"'


def _window_clauses(parts: Iterable[Any]) -> Iterator[Clause]:
    """As :func:`_raw_clauses`; in a window a name means the table's column."""
    element: Any
    for part in parts:
        yield from _raw_clauses((part,))
        for element in visitors.iterate(part):
            if _is_name(element):
                yield Clause(f'"{element.element}"')


def _others(select: Any) -> Iterator[Any]:
    """Elements in which raw SQL may have a window or a sorting subquery."""
    if isinstance(select, Select):
        yield from select.inner_columns
        yield from internals.where_criteria(select)
        yield from internals.having_criteria(select)


def _is_name(clause: Any) -> bool:
    """Whether it is the name of a selected column, which is resolved separately."""
    return internals.is_label_reference(clause) and isinstance(clause.element, str)


def window_parts(select: Any) -> Iterator[tuple[Any, bool]]:
    """What windows and aggregates in the selected columns sort or partition by, and whether it is
    what they sort by."""
    if not isinstance(select, Select):
        return
    for column in (*select.inner_columns, *internals.order_by_clauses(select)):
        for element in visitors.iterate(column):
            for name in ("order_by", "partition_by"):
                clause = getattr(element, name, None)
                if isinstance(clause, ClauseElement):
                    parts = clause.clauses if isinstance(clause, ClauseList) else (clause,)
                    yield from ((part, name == "order_by") for part in parts)


def _raw_clauses(clauses: Iterable[Any], **traits: Any) -> Iterator[Clause]:
    """The raw SQL in `clauses`, their own text and names without a table, and in what a subquery
    selects there; the rest of a subquery is checked by itself.

    :param traits: what is known of it.
    """
    waiting: list[tuple[Any, Any]] = [(clause, None) for clause in clauses]
    while waiting:
        element, select = waiting.pop()
        if isinstance(element, TextClause):
            yield Clause(element.text, select=select, **traits)
        elif is_raw_name(element):
            yield Clause(name_in_sql(element), select=select, **traits)
        if isinstance(element, Select):
            waiting += ((column, element) for column in element.inner_columns)
        else:
            waiting += ((part, select) for part in element.get_children())
