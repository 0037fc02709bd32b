"""Rewrites a look-up among several tenants, each with its own key, as one per tenant.

``tenant.in_([1, 2]), column == value`` has a different hash of the value for each tenant. It is
rewritten as an OR over the tenants of ``tenant == ...`` and the comparison.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Table, and_, null, or_
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import (
    BinaryExpression,
    BindParameter,
    BooleanClauseList,
    ClauseList,
    Grouping,
    Null,
)
from sqlalchemy.sql.selectable import SelectBase

from encfields.errors import EncFieldsError
from encfields.orm import internals
from encfields.orm.query.comparison import EQUALITY, IndexComparison, is_converted, ungrouped
from encfields.orm.query.index_operand import asked
from encfields.orm.query.statement_scope import conjunction, is_null_test_of
from encfields.orm.read.provenance import sibling
from encfields.traces import leaves_no_trace

MAX_TENANTS = 50
"""Most tenants to split a look-up into: the statement grows with each."""


Given = Mapping[str, Any] | None
"""The values of the one execution, by the names of binds; ``None`` if there may be others, which
give a named bind another value than its own."""


class _Tenants(NamedTuple):
    """The values to which the WHERE limits a column.

    :ivar column: of a table, or of an alias of one.
    """

    column: Any
    values: Sequence[Any]


@leaves_no_trace
def with_look_ups_per_tenant(statement: Any, given: Given) -> Any:
    """The statement with its look-ups repeated for each tenant listed in its WHERE or beside them
    in ``with_loader_criteria()``.

    :param statement: a SELECT, UPDATE or DELETE.
    :param given: the parameters of a single execution, if it is one.
    :returns: `statement` itself if no tenants are listed beside a look-up.
    """
    listed = _all_tenants_in(internals.where_criteria(statement), given)
    changed = statement
    if listed:
        changed = internals.with_criteria_rewritten(
            statement, lambda one: _split_by_tenant(one, listed, given)
        )
        if (
            given is not None
            and changed is not statement
            and _would_send_plaintext(given, statement)
        ):
            changed = statement  # refused during compilation
    return internals.with_loader_criteria_rewritten(changed, _split_by_its_own_tenants)


def _would_send_plaintext(given: Given, statement: Any) -> bool:
    """Whether the value of a named bind is looked up in a statement and also used elsewhere in it,
    where the database would get the plaintext."""
    looked_up: set[str] = set()
    elsewhere: set[str] = set()
    stack: list[tuple[Any, set[str]]] = [(statement, elsewhere)]
    seen: set[tuple[int, bool]] = set()

    def look_at(criterion: Any) -> Any:
        stack.append((criterion, elsewhere))
        return criterion

    internals.with_loader_criteria_rewritten(statement, look_at)
    while stack:
        element, uses = stack.pop()
        if isinstance(element, BindParameter) and not element.unique and _is_known(element, given):
            uses.add(element.key)
        uses = looked_up if isinstance(element, IndexComparison) else uses
        if isinstance(element, SelectBase):
            uses = elsewhere  # a subquery compared with a column
        if (id(element), uses is elsewhere) not in seen and not isinstance(element, Table):
            seen.add((id(element), uses is elsewhere))
            stack.extend((child, uses) for child in element.get_children())
    return not looked_up.isdisjoint(elsewhere)


def _split_by_its_own_tenants(criterion: Any) -> Any:
    """A criterion of ``with_loader_criteria()`` that lists tenants itself. It may be in the ON of
    an outer join, which the WHERE does not limit."""
    listed = _all_tenants_in([criterion], None)
    return _split_by_tenant(criterion, listed, None) if listed else criterion


def _all_tenants_in(criteria: Any, given: Given) -> list[_Tenants]:
    return [
        found for one in conjunction(criteria) if (found := _tenants_in(one, given)) is not None
    ]


def _tenants_in(criterion: Any, given: Given) -> _Tenants | None:
    if isinstance(criterion, BooleanClauseList):
        return _tenants_in_or(criterion, given)
    if not isinstance(criterion, BinaryExpression) or criterion.operator is not operators.in_op:
        return None
    if isinstance(criterion, IndexComparison):
        return None
    values = _listed_values(ungrouped(criterion.right), criterion.left, given)
    if not 1 < len(values) <= MAX_TENANTS:
        return None
    return _Tenants(criterion.left, [value for value in values if value is not None])


def _listed_values(listed: Any, column: Any, given: Given) -> Sequence[Any]:
    """The values of a list, if known; early releases of SQLAlchemy 2.0 make a list with ``None`` an
    expression."""
    parts = listed.clauses if isinstance(listed, ClauseList) else [listed]
    if not all(isinstance(part, Null) or _is_known_value(part, column, given) for part in parts):
        return ()
    if isinstance(listed, ClauseList):
        return [None if isinstance(part, Null) else _known_value(part, given) for part in parts]
    values = None if isinstance(listed, Null) else _known_value(listed, given)
    return values if isinstance(values, list | tuple) else ()


def _is_known_value(part: Any, column: Any, given: Given) -> bool:
    """Whether a value is known, and its type converts it as the column's would."""
    return _is_known(part, given) and type(part.type) is type(column.type)


def _is_known(part: Any, given: Given) -> bool:
    """Whether a value is in the statement or given with the execution."""
    if not isinstance(part, BindParameter) or part.unique or given is None:
        return isinstance(part, BindParameter) and part.unique
    return part.key in given or not part.required


def _known_value(bind: Any, given: Given) -> Any:
    if bind.unique or given is None or bind.key not in given:
        return bind.effective_value
    return given[bind.key]


def _tenants_in_or(alternatives: BooleanClauseList, given: Given) -> _Tenants | None:
    """``or_(tenant == 1, tenant == 2)`` as a list; ``tenant IS NULL`` in it adds no tenant, since
    such a row has no value."""
    parts = alternatives.clauses
    if alternatives.operator is not operators.or_ or len(parts) > MAX_TENANTS:
        return None
    column: Any = getattr(parts[0], "left", None) if parts else None
    equated = [part for part in parts if not is_null_test_of(part, column)]
    values = [_value_equated(part, column, given) for part in equated]
    return _Tenants(column, values) if values and None not in values else None


def _value_equated(part: Any, column: Any, given: Given) -> Any:
    is_equality = type(part) is BinaryExpression and part.operator is operators.eq
    if not is_equality or hash(part.left) != hash(column):
        return None
    bind = part.right
    return _known_value(bind, given) if _is_known_value(bind, column, given) else None


def _split_by_tenant(criterion: Any, listed: list[_Tenants], given: Given) -> Any:
    """The criterion with its look-ups repeated for each tenant, also within AND and OR."""
    if isinstance(criterion, IndexComparison):
        return _look_up_per_tenant(criterion, listed, given)
    if isinstance(criterion, Grouping):
        part = _split_by_tenant(criterion.element, listed, given)
        return criterion if part is criterion.element else part
    if isinstance(criterion, BooleanClauseList):
        return internals.clauses_rewritten(
            criterion, lambda part: _split_by_tenant(part, listed, given)
        )
    return criterion


def _look_up_per_tenant(comparison: IndexComparison, listed: list[_Tenants], given: Given) -> Any:
    bind = ungrouped(comparison.right)
    if not _is_known(bind, given) or is_converted(bind):
        return comparison
    keys = _key_columns(comparison)
    tenants = next((one for one in listed if hash(one.column) in keys), None)
    if tenants is None:
        return comparison
    operator, value = comparison.operator, _known_value(bind, given)
    # As a parameter, NULL equals nothing; written with ==, None would mean IS NULL.
    is_unknown = value is None and operator in EQUALITY
    return or_(
        *(
            and_(
                tenants.column == tenant,
                null() if is_unknown else operator(comparison.left, value),
            )
            for tenant in tenants.values
        )
    )


def _key_columns(comparison: IndexComparison) -> set[int]:
    """Hashes of the key template's columns, in the row of a compared column."""
    try:
        operand = asked(comparison.left)
        groups = operand.candidates() if operand is not None else []
        if operand is None or operand.subquery is not None or not groups:
            return set()
        columns = groups[0][0].key_columns
        return {hash(sibling(operand.expression, column, operand.column)) for column in columns}
    except EncFieldsError:  # raised during compilation
        return set()
