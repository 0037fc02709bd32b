"""The clauses of a SELECT, and of any statement its WHERE.

Read::

    sqlalchemy.schema.Column                       _annotate _annotations
    sqlalchemy.sql.elements.BinaryExpression       _clone
    sqlalchemy.sql.selectable.Exists               _clone
    sqlalchemy.sql.selectable.ScalarSelect         _clone
    sqlalchemy.sql.selectable.Select               _compile_state_factory _generate _prefixes
    sqlalchemy.sql.selectable.Select               _distinct _distinct_on _fetch_clause _hints
    sqlalchemy.sql.selectable.Select               _group_by_clauses _having_criteria
    sqlalchemy.sql.selectable.Select               _independent_ctes _limit_clause _offset_clause
    sqlalchemy.sql.selectable.Select               _order_by_clauses _statement_hints _suffixes
    sqlalchemy.sql.selectable.Select               _setup_joins _where_criteria _with_options
    sqlalchemy.sql.selectable.SelectState          _get_display_froms

Written::

    sqlalchemy.sql.selectable.Select               _order_by_clauses _setup_joins _where_criteria
    sqlalchemy.sql.selectable.Select               _with_options
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import copy
from operator import is_
from typing import Any

from sqlalchemy import and_, or_
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.orm import LoaderCriteriaOption
from sqlalchemy.sql import operators
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import BooleanClauseList, ClauseList, ColumnElement
from sqlalchemy.sql.selectable import ScalarSelect, Select


def is_bare_select(select: Select[Any]) -> bool:
    """Whether a SELECT gives rows of what it reads as they are, and has no SQL beside its clauses.

    No grouping, no CTE, and no prefix, suffix or hint, which may hold anything.
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


def where_criteria(statement: Any) -> tuple[ColumnElement[Any], ...]:
    """The criteria of a SELECT, UPDATE or DELETE, joined by AND; none for what has no WHERE."""
    criteria: tuple[ColumnElement[Any], ...] = getattr(statement, "_where_criteria", ())
    return criteria


def with_criteria_rewritten(statement: Any, rewrite: Callable[[Any], Any]) -> Any:
    """The same SELECT, UPDATE or DELETE with each criterion of its WHERE rewritten.

    :param rewrite: gives a criterion, or another one in its place.
    :returns: `statement` itself if no criterion is another.
    """
    criteria = where_criteria(statement)
    rewritten = tuple(map(rewrite, criteria))
    if all(map(is_, rewritten, criteria)):  # this runs for every statement
        return statement
    changed = statement._generate()
    changed._where_criteria = rewritten
    return changed


def clauses_rewritten(criterion: BooleanClauseList, rewrite: Callable[[Any], Any]) -> Any:
    """The same AND or OR with each of its parts rewritten.

    :param rewrite: gives a part, or another one in its place.
    :returns: `criterion` itself if no part is another.
    """
    parts = [rewrite(part) for part in criterion.clauses]
    if all(map(is_, parts, criterion.clauses)):
        return criterion
    return or_(*parts) if criterion.operator is operators.or_ else and_(*parts)


def exists_rewritten(exists: Any, rewrite: Callable[[Any], Any]) -> Any:
    """The same EXISTS with its SELECT rewritten.

    :param rewrite: gives a SELECT, or another one in its place.
    :returns: `exists` itself if the SELECT is no other.
    """
    inner = getattr(exists.element, "element", None)
    if not isinstance(inner, Select):
        return exists
    select = rewrite(inner)
    if select is inner:
        return exists
    changed = exists._clone()
    changed.element = select.self_group(against=operators.exists)
    return changed


def with_joins_rewritten(select: Any, rewrite: Callable[[Any], Any]) -> Any:
    """The same SELECT with the ON of each ``join()`` rewritten.

    :param rewrite: gives a condition, or another one in its place.
    :returns: `select` itself if no condition is another.
    """
    joins = getattr(select, "_setup_joins", ())
    if not joins:
        return select
    rewritten = tuple((target, rewrite(on), *others) for target, on, *others in joins)
    if all(new[1] is old[1] for new, old in zip(rewritten, joins, strict=True)):
        return select
    changed = select._generate()
    changed._setup_joins = rewritten
    return changed


def with_loader_criteria_rewritten(statement: Any, rewrite: Callable[[Any], Any]) -> Any:
    """The same statement with what ``with_loader_criteria()`` adds to it rewritten.

    What a lambda adds is left as it is: SQLAlchemy calls it when it compiles the statement.

    :param rewrite: gives a criterion, or another one in its place.
    :returns: `statement` itself if no criterion is another.
    """
    options = getattr(statement, "_with_options", ())
    if not options:  # this runs for every statement
        return statement
    rewritten = tuple(_option_rewritten(option, rewrite) for option in options)
    if all(map(is_, rewritten, options)):
        return statement
    changed = statement._generate()
    changed._with_options = rewritten
    return changed


def _option_rewritten(option: Any, rewrite: Callable[[Any], Any]) -> Any:
    if not isinstance(option, LoaderCriteriaOption) or option.deferred_where_criteria:
        return option
    criterion = rewrite(option.where_criteria)
    if criterion is option.where_criteria:
        return option
    changed = copy(option)
    changed.where_criteria = criterion
    return changed


def subquery_rewritten(part: Any, rewrite: Callable[[Any], Any]) -> Any:
    """The same scalar subquery with its SELECT rewritten.

    :param rewrite: gives a SELECT, or another one in its place.
    :returns: `part` itself if it is no subquery, or its SELECT is no other.
    """
    if not isinstance(part, ScalarSelect) or not isinstance(part.element, Select):
        return part
    select = rewrite(part.element)
    if select is part.element:
        return part
    changed = part._clone()
    changed.element = select
    return changed


def with_sides(binary: Any, left: Any, right: Any) -> Any:
    """The same comparison of other sides."""
    changed = binary._clone()
    changed.left, changed.right = left, right
    return changed


def array_items(element: Any) -> tuple[Any, ...] | None:
    """The items of PostgreSQL's ``array([...])``; ``None`` for any other expression."""
    return tuple(element.clauses) if getattr(element, "__visit_name__", "") == "array" else None


def having_criteria(select: Select[Any]) -> tuple[ColumnElement[Any], ...]:
    """The criteria of a SELECT's HAVING, joined by AND."""
    return select._having_criteria


def group_by_clauses(select: Any) -> tuple[Any, ...]:
    """What a SELECT groups by, the columns of a model in the place of the model."""
    given = select._group_by_clauses
    return tuple(
        part for clause in given for part in (clause.clauses if is_model(clause) else (clause,))
    )


def is_model(clause: Any) -> bool:
    """Whether it is what ``group_by(Model)`` made: a list of the model's columns."""
    return type(clause) is ClauseList


def select_parts(select: Select[Any]) -> Iterator[Any]:
    """What a SELECT consists of, the columns of a model that it groups by among them."""
    grouped = {id(clause) for clause in select._group_by_clauses}
    yield from (part for part in select.get_children() if id(part) not in grouped)
    yield from group_by_clauses(select)


def order_by_clauses(select: Any) -> tuple[Any, ...]:
    """What a SELECT, or a UNION and its like, is sorted by."""
    return tuple(select._order_by_clauses)


def is_distinct(select: Select[Any]) -> bool:
    """Whether it is a SELECT DISTINCT, of either kind."""
    return bool(select._distinct)


def distinct_on_clauses(select: Select[Any]) -> tuple[Any, ...]:
    """What a SELECT DISTINCT ON is distinct by."""
    return tuple(select._distinct_on)


def is_label_reference(element: Any) -> bool:
    """Whether it is SQLAlchemy's wrapper of what ORDER BY or GROUP BY names.

    Its ``element`` is an expression, or the name of a selected column.
    """
    return getattr(element, "__visit_name__", "") in _LABEL_REFERENCES


_LABEL_REFERENCES = ("label_reference", "textual_label_reference")


def stands_for_its_parts(element: Any) -> bool:
    """Whether it is no use of what it holds: judged by where it stands, or an upsert's SET."""
    return getattr(element, "__visit_name__", "") in (*_LABEL_REFERENCES, *_UPSERTS)


_UPSERTS = ("on_conflict_do_update", "on_conflict_do_nothing", "on_duplicate_key_update")


def entity_of(element: Any) -> Any:
    """The mapper, or the aliased class, that the ORM has a table or column for; or ``None``."""
    annotations: Mapping[str, Any] = getattr(element, "_annotations", {})
    return annotations.get("parententity")


def annotated_like(column: ColumnElement[Any], other: Any) -> ColumnElement[Any]:
    """A column that the ORM takes for one of the same entity as `other`.

    Without it, a SELECT of the column would lose what the ORM adds for the entity: the condition
    of single-table inheritance, and ``with_loader_criteria()``.
    """
    annotations = getattr(other, "_annotations", None)
    return column._annotate(dict(annotations)) if annotations else column


def top_level_from(select: Select[Any]) -> tuple[Any, ...]:
    """What a SELECT selects from, its joins included.

    ``get_final_froms()`` compiles the SELECT to find out, for a dialect that knows nothing of what
    only PostgreSQL can say, and raises.
    """
    compiler = SQLCompiler(DefaultDialect(), None)
    return tuple(select._compile_state_factory(select, compiler)._get_display_froms())


def has_row_limit(select: Any) -> bool:
    """Whether a SELECT returns some of its rows only."""
    limits = (select._limit_clause, select._offset_clause, select._fetch_clause)
    return any(limit is not None for limit in limits)


def with_order_by(select: Any, clauses: tuple[Any, ...]) -> Any:
    """The same SELECT, sorted by something else."""
    changed = select._generate()
    changed._order_by_clauses = clauses
    return changed
