"""A look-up in the rows of several tenants, each under a key of its own, asks each by itself.

``tenant.in_([1, 2]), column == value`` has one value and a hash of it for each tenant. What an
application would have to write instead is written for it: an OR of ``tenant == ...`` beside the
comparison.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import and_, or_
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import (
    BinaryExpression,
    BindParameter,
    BooleanClauseList,
    ClauseList,
    Grouping,
    Null,
)

from encfields.errors import EncFieldsError
from encfields.orm import internals
from encfields.orm.query.comparison import IndexComparison, is_converted, ungrouped
from encfields.orm.query.index_operand import asked
from encfields.orm.query.statement_scope import conjunction
from encfields.orm.read.provenance import sibling
from encfields.traces import leaves_no_trace

_MOST = 50
"""Tenants that are asked by themselves: the statement is as much longer."""


class _Tenants(NamedTuple):
    """Values that the WHERE says a column has one of.

    :ivar column: of a table, or of an alias of one.
    """

    column: Any
    values: Sequence[Any]


@leaves_no_trace
def with_tenants_apart(statement: Any) -> Any:
    """The statement with each look-up asked for each tenant that its WHERE lists, or that
    ``with_loader_criteria()`` lists beside it.

    :param statement: a SELECT, UPDATE or DELETE.
    :returns: `statement` itself if no tenants are listed beside a look-up.
    """
    listed = _all_listed(internals.where_criteria(statement))
    changed = statement
    if listed:
        changed = internals.with_criteria_rewritten(statement, lambda one: _apart(one, listed))
    return internals.with_loader_criteria_rewritten(changed, _apart_by_itself)


def _apart_by_itself(criterion: Any) -> Any:
    """What ``with_loader_criteria()`` adds, where it lists the tenants itself: it may stand in the
    ON of an outer join, of which the WHERE says nothing."""
    listed = _all_listed([criterion])
    return _apart(criterion, listed) if listed else criterion


def _all_listed(criteria: Any) -> list[_Tenants]:
    return [found for one in conjunction(criteria) if (found := _listed(one)) is not None]


def _listed(criterion: Any) -> _Tenants | None:
    if isinstance(criterion, BooleanClauseList):
        return _one_or_other(criterion)
    if not isinstance(criterion, BinaryExpression) or criterion.operator is not operators.in_op:
        return None
    if isinstance(criterion, IndexComparison):
        return None
    values = _items(ungrouped(criterion.right), criterion.left)
    if not 1 < len(values) <= _MOST:
        return None
    return _Tenants(criterion.left, [value for value in values if value is not None])


def _items(given: Any, column: Any) -> Sequence[Any]:
    """The values of a list, if the statement holds them; early releases of SQLAlchemy 2.0 make an
    expression of one that has ``None``."""
    parts = given.clauses if isinstance(given, ClauseList) else [given]
    if not all(isinstance(part, Null) or _is_value_of(part, column) for part in parts):
        return ()
    if isinstance(given, ClauseList):
        return [None if isinstance(part, Null) else part.effective_value for part in parts]
    values = None if isinstance(given, Null) else given.effective_value
    return values if isinstance(values, list | tuple) else ()


def _is_value_of(part: Any, column: Any) -> bool:
    """Whether the statement holds a value, and its type makes of it what the column's would."""
    return _is_held(part) and type(part.type) is type(column.type)


def _is_held(part: Any) -> bool:
    return isinstance(part, BindParameter) and part.unique


def _one_or_other(alternatives: BooleanClauseList) -> _Tenants | None:
    """``or_(tenant == 1, tenant == 2)``, which is a list too."""
    parts = alternatives.clauses
    if alternatives.operator is not operators.or_ or len(parts) > _MOST:
        return None
    column: Any = getattr(parts[0], "left", None)
    values = [_value_of(part, column) for part in parts]
    return None if column is None or None in values else _Tenants(column, values)


def _value_of(part: Any, column: Any) -> Any:
    is_equality = type(part) is BinaryExpression and part.operator is operators.eq
    if not is_equality or hash(part.left) != hash(column):
        return None
    bind = part.right
    return bind.effective_value if _is_value_of(bind, column) else None


def _apart(criterion: Any, listed: list[_Tenants]) -> Any:
    """The criterion with the look-ups in it, those of an AND or OR too, asked for each tenant."""
    if isinstance(criterion, IndexComparison):
        return _asked_apart(criterion, listed)
    if isinstance(criterion, Grouping):
        part = _apart(criterion.element, listed)
        return criterion if part is criterion.element else part
    if isinstance(criterion, BooleanClauseList):
        return internals.clauses_rewritten(criterion, lambda part: _apart(part, listed))
    return criterion


def _asked_apart(comparison: IndexComparison, listed: list[_Tenants]) -> Any:
    bind = ungrouped(comparison.right)
    if not _is_held(bind) or is_converted(bind):
        return comparison
    keys = _key_columns(comparison)
    tenants = next((one for one in listed if hash(one.column) in keys), None)
    if tenants is None:
        return comparison
    operator, value = comparison.operator, bind.effective_value
    return or_(
        *(
            and_(tenants.column == tenant, operator(comparison.left, value))
            for tenant in tenants.values
        )
    )


def _key_columns(comparison: IndexComparison) -> set[int]:
    """Hashes of the columns beside a compared one that the key of its index depends on."""
    try:
        operand = asked(comparison.left)
        groups = operand.candidates(comparison.operator) if operand is not None else []
        if operand is None or operand.subquery is not None or not groups:
            return set()
        columns = groups[0][0].key_columns
        return {hash(sibling(operand.expression, column, operand.column)) for column in columns}
    except EncFieldsError:  # told where it is compiled
        return set()
