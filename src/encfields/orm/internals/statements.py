"""Any statement before it is compiled: the write that it is or holds, and its conditions.

Read::

    sqlalchemy.orm.LoaderCriteriaOption            _all_mappers _resolve_where_criteria
    sqlalchemy.schema.Column                       _annotations
    sqlalchemy.sql.dml.Insert                      _multi_values _post_values_clause
    sqlalchemy.sql.dml.Insert                      _propagate_attrs _select_names _values
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

from encfields.orm.internals.selects import entity_of

# -- the write ---------------------------------------------------------------------------------


def write_in(statement: Any) -> Any:
    """The INSERT or UPDATE that a statement is, or that its lambda or its ``from_statement()``
    holds; ``None`` where there is none."""
    if isinstance(statement, Insert | Update):
        return statement
    if isinstance(statement, LambdaElement):
        is_write = isinstance(statement._rec.expected_expr, Insert | Update)
        return statement._resolved if is_write else None
    if getattr(statement, "__visit_name__", "") == "orm_from_statement":
        return statement.element if isinstance(statement.element, Insert | Update) else None
    return None


def with_write(statement: Any, write: Any) -> Any:
    """The same statement with another INSERT or UPDATE; the given one is left as it is."""
    if isinstance(statement, Insert | Update | LambdaElement):
        return write
    copied = statement._generate()
    copied.element = write
    return copied


def written_table(statement: Any) -> Any:
    """The table that an INSERT or UPDATE writes to.

    The ORM executes an INSERT or UPDATE of many rows of a joined subclass once for each of its
    tables, and notes which on the statement. An UPDATE of a class that is queried together with its
    subclasses (``with_polymorphic="*"``) names the join of all their tables, until it is compiled.
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
    """Whether two tables are one, or the ORM's annotated copies of it."""
    return hash(owner) == hash(table)


def takes_all_from_parameters(statement: Insert) -> bool:
    """Whether an INSERT assigns nothing itself, and names its parameters by keys of columns."""
    own = statement._values, statement._multi_values, statement._select_names
    is_more = statement.select is not None or statement._post_values_clause is not None
    return not (any(own) or is_more or statement._propagate_attrs)


# -- the conditions ----------------------------------------------------------------------------


def where_criteria(statement: Any) -> tuple[ColumnElement[Any], ...]:
    """The criteria of a SELECT, UPDATE or DELETE, joined by AND; none for what has no WHERE."""
    criteria: tuple[ColumnElement[Any], ...] = getattr(statement, "_where_criteria", ())
    return criteria


def criteria_alone(statement: Any) -> tuple[ColumnElement[Any], ...] | None:
    """The criteria of a statement's WHERE, joined by AND, if all its conditions are there.

    :returns: ``None`` if it may have others: the ON of a ``join()``, what an option adds, what an
        INSERT selects, or an upsert's ``where=``.
    """
    if isinstance(statement, Insert):
        has_others = statement.select is not None or statement._post_values_clause is not None
        return None if has_others else ()
    if getattr(statement, "_setup_joins", ()) or getattr(statement, "_with_options", ()):
        return None
    return getattr(statement, "_where_criteria", ())


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


def loader_criteria(statement: Any, tables: Callable[[], Set[int]]) -> Iterator[ColumnElement[Any]]:
    """What ``with_loader_criteria()`` adds to a statement, by a lambda too.

    :param tables: gives the hashes of those that it is about: to others nothing is added.
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
