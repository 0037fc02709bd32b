"""The clauses of a SELECT.

Read::

    sqlalchemy.sql.dml.Update                      _returning
    sqlalchemy.sql.selectable.Alias                _cloned_set
    sqlalchemy.sql.selectable.Select               _compile_state_factory _generate _prefixes
    sqlalchemy.sql.selectable.Select               _distinct _distinct_on _fetch_clause _from_obj
    sqlalchemy.sql.selectable.Select               _group_by_clauses _having_criteria _hints
    sqlalchemy.sql.selectable.Select               _independent_ctes _limit_clause _offset_clause
    sqlalchemy.sql.selectable.Select               _memoized_select_entities _order_by_clauses
    sqlalchemy.sql.selectable.Select               _setup_joins
    sqlalchemy.sql.selectable.Select               _pre_columns_clause (2.1)
    sqlalchemy.sql.selectable.Select               _raw_columns
    sqlalchemy.sql.selectable.Select               _statement_hints _suffixes
    sqlalchemy.sql.selectable.SelectState          _get_display_froms _label_resolve_dict

Written::

    sqlalchemy.sql.selectable.Select               _distinct _group_by_clauses _order_by_clauses
    sqlalchemy.sql.selectable.Select               _propagate_attrs
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from typing import Any

from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import (
    ClauseElement,
    ClauseList,
    ColumnElement,
    TextClause,
)
from sqlalchemy.sql.selectable import Select
from sqlalchemy.util import immutabledict


def is_bare_select(select: Select[Any]) -> bool:
    """Whether a SELECT returns rows unchanged, and has no SQL beside its clauses.

    It has no grouping, no CTE, and no prefix, suffix or hint, which may contain anything.
    """
    beside = (
        select._group_by_clauses,
        select._having_criteria,
        select._independent_ctes,
        select._prefixes,
        select._suffixes,
        select._hints,
        select._statement_hints,
    )
    return not any(beside)


def without_entities(select: Select[Any]) -> Select[Any]:
    """The SELECT as of tables alone: SQLAlchemy adds no criteria of the classes that it names, such
    as a subclass's type column."""
    copied = select._generate()
    copied._propagate_attrs = immutabledict()
    return copied


def array_items(element: Any) -> tuple[Any, ...] | None:
    """The items of PostgreSQL's ``array([...])``; ``None`` for any other expression."""
    return tuple(element.clauses) if getattr(element, "__visit_name__", "") == "array" else None


def having_criteria(select: Select[Any]) -> tuple[ColumnElement[Any], ...]:
    """The criteria of a SELECT's HAVING, which are joined by AND."""
    return select._having_criteria


def join_conditions(select: Select[Any]) -> list[Any]:
    """The ON of each ``select().join()``, which makes a JOIN as it is compiled; of a relationship,
    its own condition."""
    return [_clause_of(on) for _, on, _, _ in _joins(select) if on is not None]


def _joins(select: Select[Any]) -> tuple[Any, ...]:
    """What each ``join()`` was given: what to join, its ON, where from, and the kind of join."""
    return (*_former_joins(select), *select._setup_joins)


def _former_joins(select: Select[Any]) -> tuple[Any, ...]:
    """What ``join()`` was given before ``with_only_columns()`` took other columns."""
    former = (one._setup_joins for one in select._memoized_select_entities)
    return tuple(chain.from_iterable(former))


def _clause_of(given: Any) -> Any:
    """The element of what ``join()`` was given: a relationship of a class, say."""
    while not isinstance(given, ClauseElement):
        given = given.__clause_element__()
    return given


def group_by_clauses(select: Any) -> tuple[Any, ...]:
    """The GROUP BY of a SELECT, with a model's columns instead of the model."""
    given = select._group_by_clauses
    return tuple(
        part for clause in given for part in (clause.clauses if is_model(clause) else (clause,))
    )


def is_model(clause: Any) -> bool:
    """Whether it comes from ``group_by(Model)``: a list of the model's columns."""
    return type(clause) is ClauseList


def select_parts(select: Select[Any]) -> Iterator[Any]:
    """The parts of a SELECT, including the columns of a model that it groups by.

    Not those that ``with_only_columns()`` has put others in the place of: only their joins stay.
    """
    left_out = {*map(id, select._group_by_clauses), *map(id, select._memoized_select_entities)}
    yield from (part for part in select.get_children() if id(part) not in left_out)
    yield from group_by_clauses(select)
    for target, on, start, _ in _former_joins(select):
        yield from (_clause_of(part) for part in (target, on, start) if part is not None)


def column_lists(statement: Any) -> set[int]:
    """What a SELECT selects, or a write returns, as several columns at once, by id: ``table.c`` or
    ``table.c["id", "name"]``."""
    given = (*getattr(statement, "_raw_columns", ()), *getattr(statement, "_returning", ()))
    return {id(one) for one in given if type(one) is ClauseList}


def order_by_clauses(select: Any) -> tuple[Any, ...]:
    """The ORDER BY of a SELECT, UNION or the like."""
    return tuple(select._order_by_clauses)


def is_distinct(select: Select[Any]) -> bool:
    """Whether it is a SELECT DISTINCT, of either kind, or has that word as a prefix."""
    words = (str(getattr(prefix, "text", "")) for prefix, _ in select._prefixes)
    return bool(select._distinct) or any(re.match(r"(?i)\s*distinct", word) for word in words)


def prefixes_and_suffixes(statement: Any) -> list[Any]:
    """The prefixes and suffixes of a SELECT or a write, which are not among its children."""
    beside = (getattr(statement, name, ()) for name in ("_prefixes", "_suffixes"))
    return [clause for clauses in beside for clause, _ in clauses]


def raw_froms(select: Select[Any]) -> list[Any]:
    """The FROMs of a SELECT that are raw SQL."""
    sources: tuple[Any, ...] = select._from_obj
    return [source for source in sources if isinstance(source, TextClause)]


def statement_hints(select: Select[Any]) -> list[str]:
    """The SQL of ``with_statement_hint()``, which is rendered at the end of a SELECT."""
    return [hint for _, hint in select._statement_hints]


def distinct_on_clauses(select: Select[Any]) -> tuple[Any, ...]:
    """The expressions of a SELECT DISTINCT ON, also of SQLAlchemy 2.1's
    ``postgresql.distinct_on()``."""
    before_columns: Any = getattr(select, "_pre_columns_clause", None)
    if before_columns is None:
        return tuple(select._distinct_on)
    extensions = (before_columns, *before_columns.get_children())
    merged = (one for one in extensions if one.__visit_name__ == _DISTINCT_ON)
    return next((tuple(one.get_children()) for one in merged), ())


_DISTINCT_ON = "postgresql_distinct_on"


def is_label_reference(element: Any) -> bool:
    """Whether it is SQLAlchemy's wrapper around an element of ORDER BY or GROUP BY.

    Its ``element`` is an expression, or the name of a selected column.
    """
    return getattr(element, "__visit_name__", "") in _LABEL_REFERENCES


_LABEL_REFERENCES = ("label_reference", "textual_label_reference")


def stands_for_its_parts(element: Any) -> bool:
    """Whether it does not itself use its elements, which are judged by where it is, in an upsert's
    SET, or with their SELECT."""
    return getattr(element, "__visit_name__", "") in _STANDING_FOR_PARTS


_UPSERTS = ("on_conflict_do_update", "on_conflict_do_nothing", "on_duplicate_key_update")
_STANDING_FOR_PARTS = (*_LABEL_REFERENCES, *_UPSERTS, _DISTINCT_ON)


def copied_from(source: Any) -> frozenset[Any]:
    """A table, alias or subquery, and those that it was copied from: SQLAlchemy takes the columns
    of all of them for its own."""
    return frozenset(source._cloned_set)


def top_level_from(select: Select[Any]) -> tuple[Any, ...]:
    """The FROMs of a SELECT, including its joins.

    ``get_final_froms()`` compiles the SELECT for the default dialect, which raises for what only
    PostgreSQL supports.
    """
    compiler = SQLCompiler(DefaultDialect(), None)
    return tuple(select._compile_state_factory(select, compiler)._get_display_froms())


def column_of_name(select: Any, name: str) -> Any | None:
    """The column that SQLAlchemy renders for a name in ORDER BY or GROUP BY, or ``None``.

    A label of what is selected comes first, with the table's name before it if it is a table's
    column; then a column of what the SELECT selects from, the last one of that name, whether or
    not another is selected.
    """
    if not isinstance(select, Select):
        return select.selected_columns.get(name)
    compiler = SQLCompiler(DefaultDialect(), None)
    state: Any = select._compile_state_factory(select, compiler)
    of_selected_and_froms, _, _ = state._label_resolve_dict
    return of_selected_and_froms.get(name)


def has_row_limit(select: Any) -> bool:
    """Whether a SELECT returns only some of its rows."""
    limits = (select._limit_clause, select._offset_clause, select._fetch_clause)
    return any(limit is not None for limit in limits)


def with_order_by(select: Any, clauses: tuple[Any, ...]) -> Any:
    """The same SELECT with another ORDER BY."""
    changed = select._generate()
    changed._order_by_clauses = clauses
    return changed


def with_group_by(select: Any, clauses: tuple[Any, ...]) -> Any:
    """The same SELECT with another GROUP BY."""
    changed = select._generate()
    changed._group_by_clauses = clauses
    return changed


def without_distinct(select: Any) -> Any:
    """The same SELECT without DISTINCT, unless that is a prefix of the application's own."""
    changed = select._generate()
    changed._distinct = False
    return changed


def is_plain_union(compound: Any) -> bool:
    """Whether it is a UNION or UNION ALL, of all rows, that nothing is added to."""
    is_union = compound.keyword.name in ("UNION", "UNION_ALL")
    return is_union and not has_row_limit(compound) and not compound._independent_ctes


def with_selects(compound: Any, selects: list[Any]) -> Any:
    """The same UNION, INTERSECT or EXCEPT of other SELECTs."""
    changed = compound._generate()
    changed.selects = selects
    return changed
