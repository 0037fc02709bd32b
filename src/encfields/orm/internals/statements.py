"""Statements before compilation: the write that one is or contains, and its conditions.

Read::

    sqlalchemy.orm.LoaderCriteriaOption            _all_mappers _resolve_where_criteria
    sqlalchemy.schema.Column                       _annotations
    sqlalchemy.sql.dml.Insert                      _multi_values _post_values_clause
    sqlalchemy.sql.dml.Insert                      _propagate_attrs _select_names _values
    sqlalchemy.sql.dml.Update                      _returning
    sqlalchemy.sql.elements.BinaryExpression       _clone
    sqlalchemy.sql.lambdas.LambdaElement           _rec _resolved
    sqlalchemy.sql.selectable.Exists               _clone
    sqlalchemy.sql.selectable.ScalarSelect         _clone
    sqlalchemy.sql.selectable.Select               _generate _setup_joins _where_criteria
    sqlalchemy.sql.selectable.Select               _with_options

Written::

    sqlalchemy.sql.selectable.Select               _setup_joins _where_criteria _with_options
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Set
from copy import copy
from operator import is_
from typing import Any

from sqlalchemy import and_, or_
from sqlalchemy.sql import operators
from sqlalchemy.sql.dml import Insert, Update
from sqlalchemy.sql.elements import BooleanClauseList, ColumnElement
from sqlalchemy.sql.lambdas import LambdaElement
from sqlalchemy.sql.selectable import ScalarSelect, Select

from encfields.orm.internals.entities import entity_of

# -- the write ---------------------------------------------------------------------------------


def insert_or_update_in(statement: Any) -> Any:
    """The INSERT or UPDATE that a statement is, or that its lambda or ``from_statement()``
    contains; ``None`` if there is none."""
    if type(statement) is Select:  # as most statements are
        return None
    if isinstance(statement, Insert | Update):
        return statement
    if isinstance(statement, LambdaElement):
        is_write = isinstance(statement._rec.expected_expr, Insert | Update)
        return statement._resolved if is_write else None
    if getattr(statement, "__visit_name__", "") == "orm_from_statement":
        return statement.element if isinstance(statement.element, Insert | Update) else None
    return None


def with_insert_or_update(statement: Any, write: Any) -> Any:
    """The same statement with another INSERT or UPDATE; the given one is not changed."""
    if isinstance(statement, Insert | Update | LambdaElement):
        return write
    copied = statement._generate()
    copied.element = write
    return copied


def written_table(statement: Any) -> Any:
    """The table that an INSERT or UPDATE writes to.

    The ORM executes an INSERT or UPDATE of many rows of a joined subclass once for each of its
    tables, and records which on the statement. An UPDATE of a class that is queried together with
    its subclasses (``with_polymorphic="*"``) names the join of all their tables until it is
    compiled.
    """
    for noted in ("_emit_update_table", "_emit_insert_table"):
        if noted in statement._annotations:
            return statement._annotations[noted]
    if isinstance(statement, Update):
        entity = entity_of(statement.table)
        if getattr(entity, "is_mapper", False):
            return entity.local_table
    return statement.table


def same_table(owner: Any, table: Any) -> bool:
    """Whether two tables are the same, or annotated copies of the same."""
    return hash(owner) == hash(table)


def takes_all_from_parameters(statement: Insert) -> bool:
    """Whether an INSERT assigns nothing itself, and its parameters are named by column keys."""
    own = statement._values, statement._multi_values, statement._select_names
    is_more = statement.select is not None or statement._post_values_clause is not None
    return not (any(own) or is_more or statement._propagate_attrs)


# -- the conditions ----------------------------------------------------------------------------


def where_criteria(statement: Any) -> tuple[ColumnElement[Any], ...]:
    """The criteria of a SELECT, UPDATE or DELETE, which are joined by AND; empty without a
    WHERE."""
    criteria: tuple[ColumnElement[Any], ...] = getattr(statement, "_where_criteria", ())
    return criteria


def returned_elements(statement: Any) -> tuple[Any, ...]:
    """What an INSERT, UPDATE or DELETE returns, raw SQL included."""
    return tuple(getattr(statement, "_returning", ()))


def criteria_alone(statement: Any) -> tuple[ColumnElement[Any], ...] | None:
    """The criteria of a statement's WHERE, joined by AND, if it has no other conditions.

    :returns: ``None`` if it may have others: the ON of a ``join()``, those added by an option,
        those of an INSERT's SELECT, or an upsert's ``where=``.
    """
    if isinstance(statement, Insert):
        has_others = statement.select is not None or statement._post_values_clause is not None
        return None if has_others else ()
    if getattr(statement, "_setup_joins", ()) or getattr(statement, "_with_options", ()):
        return None
    return getattr(statement, "_where_criteria", ())


def with_criteria_rewritten(statement: Any, rewrite: Callable[[Any], Any]) -> Any:
    """The same SELECT, UPDATE or DELETE with each criterion of its WHERE rewritten.

    :param rewrite: returns a criterion, or a replacement for it.
    :returns: `statement` itself if all criteria are unchanged.
    """
    criteria = where_criteria(statement)
    rewritten = tuple(map(rewrite, criteria))
    if all(map(is_, rewritten, criteria)):  # this runs for every statement
        return statement
    changed = statement._generate()
    changed._where_criteria = rewritten
    return changed


def with_joins_rewritten(select: Any, rewrite: Callable[[Any], Any]) -> Any:
    """The same SELECT with the ON of each ``join()`` rewritten.

    :param rewrite: returns a condition, or a replacement for it.
    :returns: `select` itself if all conditions are unchanged.
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
    """The same statement with the criteria of ``with_loader_criteria()`` rewritten.

    Those of a lambda are not changed, because SQLAlchemy calls it in compilation.

    :param rewrite: returns a criterion, or a replacement for it.
    :returns: `statement` itself if all criteria are unchanged.
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


def loader_criteria(statement: Any, tables: Callable[[], Set[int]]) -> Iterator[ColumnElement[Any]]:
    """The criteria that ``with_loader_criteria()`` adds to a statement, including those of lambdas.

    :param tables: returns the hashes of the statement's tables; nothing is added for others.
    """
    options = getattr(statement, "_with_options", ())
    if not options:
        return
    from sqlalchemy.orm import LoaderCriteriaOption

    criteria = [option for option in options if isinstance(option, LoaderCriteriaOption)]
    named = tables() if criteria else set()
    for option in criteria:
        for mapper in option._all_mappers():
            if not named.isdisjoint(map(hash, mapper.tables)):
                yield option._resolve_where_criteria(mapper)


def _option_rewritten(option: Any, rewrite: Callable[[Any], Any]) -> Any:
    from sqlalchemy.orm import LoaderCriteriaOption  # whoever has options has imported it

    if not isinstance(option, LoaderCriteriaOption) or option.deferred_where_criteria:
        return option
    criterion = rewrite(option.where_criteria)
    if criterion is option.where_criteria:
        return option
    changed = copy(option)
    changed.where_criteria = criterion
    return changed


def clauses_rewritten(criterion: BooleanClauseList, rewrite: Callable[[Any], Any]) -> Any:
    """The same AND or OR with each of its parts rewritten.

    :param rewrite: returns a part, or a replacement for it.
    :returns: `criterion` itself if all parts are unchanged.
    """
    parts = [rewrite(part) for part in criterion.clauses]
    if all(map(is_, parts, criterion.clauses)):
        return criterion
    return or_(*parts) if criterion.operator is operators.or_ else and_(*parts)


def exists_rewritten(exists: Any, rewrite: Callable[[Any], Any]) -> Any:
    """The same EXISTS with its SELECT rewritten.

    :param rewrite: returns a SELECT, or a replacement for it.
    :returns: `exists` itself if the SELECT is unchanged.
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


def subquery_rewritten(part: Any, rewrite: Callable[[Any], Any]) -> Any:
    """The same scalar subquery with its SELECT rewritten.

    :param rewrite: returns a SELECT, or a replacement for it.
    :returns: `part` itself if it is not a subquery, or its SELECT is unchanged.
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
    """The same comparison with other sides."""
    changed = binary._clone()
    changed.left, changed.right = left, right
    return changed
