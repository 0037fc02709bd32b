"""Look-ups for comparisons that SQLAlchemy builds without asking the encrypted column's type.

For example ``any_([...]) == column``, ``literal("x") == column``, ``tuple_(a, b).in_(...)``. In the
WHERE of a statement or subquery, the ON of a ``join()``, an upsert's ``where=`` and the SELECT of
an INSERT they are replaced with look-ups before compilation, elsewhere by the compiler
(:mod:`compiler_lookups <encfields.orm.query.compiler_lookups>`).

SQL's result for rows is that of AND and OR of their parts, NULL included, so each column is looked
up by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from sqlalchemy import and_, false, not_, null, or_, true
from sqlalchemy.sql import operators
from sqlalchemy.sql.dml import Insert
from sqlalchemy.sql.elements import (
    AsBoolean,
    BinaryExpression,
    BindParameter,
    BooleanClauseList,
    CollectionAggregate,
    ColumnClause,
    ColumnElement,
    False_,
    Grouping,
    Null,
    True_,
    Tuple,
    UnaryExpression,
)

from encfields.errors import UnsupportedOperationError
from encfields.orm import internals
from encfields.orm.declare.columns import is_encrypted
from encfields.orm.query.bound_lists import asks_as_in, in_bound_list, selected_for_any
from encfields.orm.query.comparison import (
    EQUALITY,
    MEMBERSHIP,
    NEGATIVE,
    OF_NULL_TOO,
    BlindValue,
    BlindView,
    IndexComparison,
    is_converted,
    is_converted_for,
    members_of,
    ungrouped,
    viewed,
)
from encfields.orm.query.several_tenants import Given, with_look_ups_per_tenant
from encfields.orm.write.hidden_values import veil_all
from encfields.traces import leaves_no_trace


def with_lookups_in_criteria(statement: Any, given: Given = None) -> Any:
    """The statement with look-ups in its WHERE, its joins' ON and the SELECT it inserts from.

    :param given: the parameters of a single execution, if it is one.
    """
    criteria = internals.criteria_alone(statement)
    if criteria is not None and all(map(_needs_no_rewriting, criteria)):
        return statement
    if isinstance(statement, Insert):
        inserted = internals.with_select_rewritten(statement, with_lookups_in_criteria)
        return internals.with_upsert_where(inserted, _with_lookups)
    asked = with_look_ups_per_tenant(
        internals.with_criteria_rewritten(statement, _with_lookups), given
    )
    return internals.with_joins_rewritten(asked, _with_lookups)


def _needs_no_rewriting(criterion: Any) -> bool:
    """Whether a criterion needs no replacement, whatever is beside it.

    True of nearly all: it is already a look-up, or compares a column with one value or another
    column.
    """
    if type(criterion) is IndexComparison:
        return True
    if not isinstance(criterion, BinaryExpression) or not isinstance(criterion.left, ColumnClause):
        return False
    if isinstance(criterion.right, BindParameter):
        return criterion.operator is not operators.in_op  # it may list tenants
    return isinstance(criterion.right, ColumnClause)


def _with_lookups(criterion: Any) -> Any:
    """The criterion, with look-ups for its encrypted columns."""
    if type(criterion) is IndexComparison:
        return criterion
    if isinstance(criterion, BinaryExpression):
        return _comparison_with_lookups(criterion)
    if isinstance(criterion, BooleanClauseList):
        return internals.clauses_rewritten(criterion, _with_lookups)
    if isinstance(criterion, Grouping):
        part = _with_lookups(criterion.element)
        return criterion if part is criterion.element else part
    asked = asked_for_truth(criterion)
    if asked is not None:
        return asked[0] == asked[1]
    if isinstance(criterion, UnaryExpression):
        return _negation_or_exists_with_lookups(criterion)
    return criterion


def _negation_or_exists_with_lookups(criterion: UnaryExpression[Any]) -> Any:
    if criterion.operator in _NOT:
        part = _with_lookups(criterion.element)
        return criterion if part is criterion.element else not_(part)
    if criterion.operator is operators.exists:
        return internals.exists_rewritten(criterion, with_lookups_in_criteria)
    return criterion


_NOT = (operators.inv, operators.is_false)
"""SQLAlchemy's operator for NOT before a comparison with ANY or ALL."""


def _comparison_with_lookups(criterion: BinaryExpression[Any]) -> Any:
    """A comparison with the encrypted column on its left side, or split into parts."""
    left, right, operator = criterion.left, criterion.right, criterion.operator
    compared = None
    if isinstance(right, CollectionAggregate):
        if is_indexed(left):
            compared = compared_to_list(left, operator, right)
    elif isinstance(left, _VALUES) and not isinstance(criterion, IndexComparison):
        # An annotated look-up with a value on the left is of a relationship's loader.
        if operator in _SYMMETRIC and is_indexed(right):
            compared = operator(right, left)
        elif operator in MEMBERSHIP and isinstance(left, BindParameter):
            compared = found_in_columns(left, operator, right)
    elif isinstance(left, Tuple) and any(map(is_indexed, left.clauses)):
        compared = compared_by_parts(left, operator, right)
    return _with_lookups_in_subqueries(criterion) if compared is None else compared


def _with_lookups_in_subqueries(criterion: BinaryExpression[Any]) -> Any:
    """The comparison with look-ups in the SELECTs on its sides."""
    left = internals.subquery_rewritten(criterion.left, with_lookups_in_criteria)
    right = internals.subquery_rewritten(criterion.right, with_lookups_in_criteria)
    if left is criterion.left and right is criterion.right:
        return criterion
    return internals.with_sides(criterion, left, right)


_VALUES = BindParameter, True_, False_
_SYMMETRIC = (*EQUALITY, *OF_NULL_TOO)


def is_indexed(side: Any) -> bool:
    """Whether it is an encrypted column with a blind index, or ``column.blind()``."""
    type_: Any = getattr(side, "type", None)
    return isinstance(type_, BlindView) or (is_encrypted(side) and bool(type_.indexes))


def asked_for_truth(condition: Any) -> tuple[Any, bool] | None:
    """An encrypted boolean that is a condition by itself, and whether it has to be true; ``None``
    of any other condition, or if no index answers it."""
    column, truth = condition, True
    if isinstance(condition, AsBoolean):
        column, truth = condition.element, condition.operator is operators.is_true
    if not is_encrypted(column) or isinstance(column, BindParameter):
        return None
    return (column, truth) if column.type.is_condition else None


def is_asked_for_truth(condition: Any) -> bool:
    """Whether it is an encrypted boolean that is a condition by itself, and an index answers it."""
    return asked_for_truth(condition) is not None


# -- lists -------------------------------------------------------------------------------------


@leaves_no_trace
def compared_to_list(
    column: Any, operator: Any, aggregate: CollectionAggregate[Any]
) -> ColumnElement[bool] | None:
    """A column with a blind index compared to any, or all, items of a list, or rows of a query.

    :param column: an encrypted column, or ``column.blind()``.
    :param operator: of the comparison.
    :returns: ``None`` if look-ups cannot answer the operator, or the list is not known.
    :raises UnsupportedOperationError: the index cannot answer it.
    """
    listed = selected_for_any(operator, aggregate)
    if listed is not None:
        asked = column.in_(listed) if operator is operators.eq else column.not_in(listed)
        return cast("ColumnElement[bool]", asked)
    items = _items_of_list(column, aggregate)
    if items is None and asks_as_in(operator, aggregate):
        return in_bound_list(column, operator, aggregate)
    if items is None or operator not in EQUALITY:
        return None
    veil_all(aggregate.element)
    is_equal, is_any = operator is operators.eq, aggregate.operator is operators.any_op
    if is_equal and is_any:
        return cast("ColumnElement[bool]", column.in_(items))
    if not is_equal and not is_any:
        return cast("ColumnElement[bool]", column.not_in(items))
    each = [null() if item is None else operator(column, item) for item in items]
    return or_(false(), *each) if is_any else and_(true(), *each)


def _items_of_list(column: Any, aggregate: CollectionAggregate[Any]) -> list[Any] | None:
    """The items of the list, if the statement contains them."""
    element = ungrouped(aggregate.element)
    if isinstance(element, BindParameter):
        value = element.effective_value if element.unique else None
        if not isinstance(value, list | tuple | set | frozenset):
            return None
        item_type = getattr(element.type, "item_type", None)
        return [_operand(column, _item(item, item_type)) for item in value]
    parts = internals.array_items(element)
    if parts is None or not all(map(_is_value, parts)):
        return None
    return [_operand(column, part) for part in parts]


def _item(value: Any, type_: Any) -> Any:
    """An item of a list as SQLAlchemy compares it: by the type of the list's items or its own."""
    return value if value is None else BindParameter(None, value, type_=type_, unique=True)


def _is_value(part: Any) -> bool:
    return isinstance(part, Null) or (isinstance(part, BindParameter) and part.unique)


# -- rows and several columns ------------------------------------------------------------------


@leaves_no_trace
def compared_by_parts(row: Tuple, operator: Any, other: Any) -> ColumnElement[bool] | None:
    """A row of columns compared with a row, or with a list of rows.

    :param operator: of the comparison.
    :returns: ``None`` if it does not compare for equality, or the rows are not known.
    :raises UnsupportedOperationError: an index cannot answer it.
    """
    columns = list(row.clauses)
    rows = _listed_rows(other) if operator in MEMBERSHIP else _single_row(other)
    if rows is None or operator not in (*EQUALITY, *MEMBERSHIP):
        return None
    if any(len(values) != len(columns) for values in rows):
        return None
    differs = operator in NEGATIVE
    is_row = [
        and_(
            *(
                _compared_to_part(column, operators.eq, value)
                for column, value in zip(columns, values, strict=True)
            )
        )
        for values in rows
    ]
    among, each = (and_, [not_(one) for one in is_row]) if differs else (or_, is_row)
    return _balanced(among, each) if each else (true() if differs else false())


@leaves_no_trace
def found_in_columns(
    bind: BindParameter[Any], operator: Any, listed: Any
) -> ColumnElement[bool] | None:
    """One value looked for in several columns.

    :returns: ``None`` if none of them has a blind index, the value is not known, or one of them
        cannot be compared, which is refused later.
    """
    columns = members_of(listed)
    if not bind.unique or not any(map(is_indexed, columns)):
        return None
    differs = operator is operators.not_in_op
    among, equal = (and_, operators.ne) if differs else (or_, operators.eq)
    try:
        return among(*(_compared_to_part(column, equal, bind) for column in columns))
    except UnsupportedOperationError:
        return None


def _balanced(join: Callable[..., Any], parts: list[Any]) -> Any:
    """Parts joined by ``and_()`` or ``or_()`` as a balanced tree if they are many.

    SQLite limits expressions to a thousand levels, and each part in a flat chain is one.
    """
    if len(parts) <= _PARTS_IN_ROW:
        return join(*parts)
    chunks = [parts[n : n + _PARTS_IN_ROW] for n in range(0, len(parts), _PARTS_IN_ROW)]
    joined = join(*parts[:2])
    # SQLAlchemy's functions would flatten the chunks again.
    joined.clauses = tuple(Grouping(join(*chunk)) for chunk in chunks)
    return joined


_PARTS_IN_ROW = 200


def _compared_to_part(column: Any, operator: Any, part: Any) -> Any:
    """A column compared with a Python value, or with a part of the statement.

    NULL equals nothing, and differs from nothing. A value of the statement has a type, by which an
    ordinary column is compared with it; an encrypted one takes the value itself.
    """
    operand = _operand(column, part)
    return null() if operand is None else operator(column, operand)


def _operand(column: Any, part: Any) -> Any:
    if isinstance(part, Null):
        return None
    if not isinstance(part, BindParameter) or not part.unique:
        return part
    if part.effective_value is None:
        return None
    is_ours = is_encrypted(column) or is_indexed(column)
    return part.effective_value if is_ours and not _is_converted_for(column, part) else part


def _is_converted_for(column: Any, bind: BindParameter[Any]) -> bool:
    """Whether a bind has a type of its own that makes a difference to a column, or an index."""
    if isinstance(column.type, BlindView):
        view = column if isinstance(column, BlindValue) else viewed(column)
        return is_converted(bind) if view is None else is_converted_for(bind, view.clause.type)
    return is_converted_for(bind, column.type)


def _single_row(other: Any) -> list[list[Any]] | None:
    return [list(other.clauses)] if isinstance(other, Tuple) else None


def _listed_rows(other: Any) -> list[list[Any]] | None:
    """The rows of a list, if the statement contains them."""
    if isinstance(other, BindParameter):
        given = (other.effective_value if other.unique else None) or ()
        are_rows = other.unique and all(isinstance(row, tuple | list) for row in given)
        return [list(row) for row in given] if are_rows else None
    rows = members_of(other)
    if not rows or not all(isinstance(row, Tuple) for row in rows):
        return None
    return [list(row.clauses) for row in rows]
