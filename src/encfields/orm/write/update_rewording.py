"""Rewords UPDATEs into equivalent ones that can be analysed, before compilation.

One row may be identified without ``key == value``: repositories and admin pages write
``key.in_([value])``, others ``literal(value) == key`` or ``key.is_not_distinct_from(value)``. And
SQLAlchemy reduces a WHERE that contains ``false()`` to that alone, so it would no longer identify a
value's row.

``SET ssn = coalesce(:new, ssn)`` is the new value if there is one, else the old. Whether there is
one is known when it is executed, so the UPDATE sets the value, or omits the column.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import Column, and_, bindparam, null, text
from sqlalchemy.sql import operators
from sqlalchemy.sql.dml import Update
from sqlalchemy.sql.elements import (
    BinaryExpression,
    BindParameter,
    BooleanClauseList,
    ClauseList,
    False_,
    Null,
    Tuple,
)
from sqlalchemy.sql.functions import coalesce
from sqlalchemy.types import TupleType, TypeDecorator

from encfields.orm import internals
from encfields.orm.adoption.plaintext import adoption_of
from encfields.orm.declare.columns import SealedColumnType, is_encrypted
from encfields.orm.declare.table_indexes import indexes_of
from encfields.orm.query.comparison import is_converted, ungrouped
from encfields.orm.query.statement_scope import conjunction

if TYPE_CHECKING:
    from sqlalchemy import Column, Table

    from encfields.orm.write.execution import WriteExecution


def with_row_named(execution: WriteExecution) -> Update:
    """The UPDATE with ``key == value`` instead of a list of one value or row, and with its key kept
    beside ``false()``.

    One whose WHERE holds for no row is reworded to compare the whole key with NULL: there is no
    other row that a value could be sealed for.
    """
    given = execution.statement
    rows = execution.rows
    row = rows[0] if len(rows) == 1 and isinstance(rows[0], Mapping) else {}
    named: Update = internals.with_criteria_rewritten(given, lambda c: _naming_row(c, row))
    criteria = conjunction(internals.where_criteria(given))
    if not any(_holds_for_no_row(criterion, execution.table) for criterion in criteria):
        return named
    if named is given:
        named = named.where(text("1 = 0"))
    identity = dict.fromkeys(c for one in execution.bindings.values() for c in one.identity)
    return named.where(*(c == bindparam(None, None, c.type, unique=True) for c in identity))


def _holds_for_no_row(criterion: Any, table: Table) -> bool:
    """Whether it is false, a list of NULL at most, or asks a column for NULL that has none.

    :param table: that is updated. Of another's column, an outer join gives NULL nevertheless.
    """
    if isinstance(criterion, False_):
        return True
    if not isinstance(criterion, BinaryExpression):
        return False
    if criterion.operator is operators.in_op:
        items = _items(criterion.right)
        return items is not None and all(isinstance(item, Null) for item in items)
    if criterion.operator is not operators.is_ or not isinstance(criterion.right, Null):
        return False
    asked = hash(criterion.left)  # also if annotated
    return any(hash(column) == asked and not column.nullable for column in table.c)


def _naming_row(criterion: Any, row: Mapping[str, Any]) -> Any:
    """The criterion, as ``key == value`` if that is what it says.

    :param row: the only parameter set, if there is but one.
    """
    if isinstance(criterion, False_):
        return text("1 = 0")
    if isinstance(criterion, BooleanClauseList) and criterion.operator is operators.and_:
        return internals.clauses_rewritten(criterion, lambda one: _naming_row(one, row))
    if not isinstance(criterion, BinaryExpression):
        return criterion
    if criterion.operator is operators.in_op:
        return _equal(criterion, criterion.left, _only_item(criterion.right, row))
    if criterion.operator is operators.is_not_distinct_from and _is_value(criterion.right):
        return _equal(criterion, criterion.left, criterion.right)
    if criterion.operator is operators.eq and isinstance(criterion.left, Tuple):
        return _equal(criterion, criterion.left, criterion.right)
    if criterion.operator is operators.eq and isinstance(criterion.left, BindParameter):
        return _equal(criterion, criterion.right, criterion.left)
    return criterion


def _is_value(element: Any) -> bool:
    """Whether it is a bind of this execution that has a value."""
    is_known = isinstance(element, BindParameter) and element.unique
    return is_known and element.effective_value is not None


def _only_item(listed: Any, row: Mapping[str, Any]) -> Any:
    """The value, or row of values, of a list with only one; ``None`` for any other."""
    element = ungrouped(listed)
    is_given = isinstance(element, BindParameter) and element.expanding and element.key in row
    values = row[element.key] if is_given else _items(listed)
    if not isinstance(values, list | tuple) or len(values) != 1:
        return None
    if not isinstance(element, BindParameter):
        return values[0]
    if not isinstance(element.type, TupleType):
        return bindparam(None, values[0], type_=element.type, unique=True)
    return [
        bindparam(None, value, type_=type_, unique=True)
        for value, type_ in zip(values[0], element.type.types, strict=False)
    ]


def has_one_item(listed: Any) -> bool:
    """Whether it is a list of one value."""
    values = _items(listed)
    return values is not None and len(values) == 1


def _items(listed: Any) -> list[Any] | None:
    """The values, or SQL expressions, of a list; ``None`` for what is no list."""
    element = ungrouped(listed)
    if isinstance(element, ClauseList) and not isinstance(element, Tuple):
        return list(element.clauses)
    if not isinstance(element, BindParameter) or not element.unique:
        return None
    values = element.effective_value
    return list(values) if isinstance(values, list | tuple) else None


def _equal(criterion: BinaryExpression[Any], compared: Any, value: Any) -> Any:
    """Compares a column with a value, or each column of a row with its value; the criterion itself
    if it is about anything else."""
    columns = compared.clauses if isinstance(compared, Tuple) else [compared]
    if isinstance(value, Tuple):
        value = list(value.clauses)
    values = value if isinstance(value, list) else [value]
    if len(values) != len(columns) or any(isinstance(one, Null | None) for one in values):
        return criterion
    if not all(isinstance(column, Column) and not is_encrypted(column) for column in columns):
        return criterion
    return and_(*(column == one for column, one in zip(columns, values, strict=True)))


def with_nulls_elsewhere(statement: Update) -> Update:
    """The UPDATE with ``null()`` for the ``None`` of encrypted columns of other tables than its
    own, which MySQL's UPDATE may set, and for their blind indexes.

    No row need be known for that, nor the values of a parameter.
    """
    emptied: list[Column[Any]] = []

    def as_null(target: Any, value: Any) -> Any:
        if not _is_no_value(value):
            return value
        columns = internals.columns_elsewhere(statement, target, value)
        encrypted = [column for column in columns if is_encrypted(column)]
        if any(adoption_of(column) is not None for column in encrypted):
            return value  # its NULL may also be in a plaintext column
        emptied.extend(encrypted)
        none_is_value = any(cast("SealedColumnType", c.type).none_is_value for c in encrypted)
        return null() if encrypted and not none_is_value else value

    changed: Update = internals.with_changed_values(statement, as_null)
    along = {
        index.index_column: null()
        for table in dict.fromkeys(column.table for column in emptied)
        for index in indexes_of(table)
        if any(source.column in emptied for source in index.sources)
    }
    return internals.with_update_values(changed, along) if along else changed


def _is_no_value(value: Any) -> bool:
    """Whether it is ``None``, as it is or as ``values()`` keeps it, or ``null()``."""
    if isinstance(value, BindParameter):
        return value.unique and value.callable is None and value.value is None
    return value is None or isinstance(value, Null)


def decide_values(execution: WriteExecution) -> None:
    """Replace ``coalesce(value, column)`` for encrypted columns by the value, or omit the column.

    What is not replaced is refused in compilation: with several parameter sets, or if nothing else
    would be set.
    """
    given = internals.update_values(execution.statement)
    if not any(isinstance(value, coalesce) for _, value in given) or len(execution.rows) != 1:
        return
    by_key = internals.update_values_by_key(execution.statement)
    for key, value in by_key.items():
        binding = execution.bindings.get(key)
        new = None if binding is None else _new_value(value, binding.column)
        if binding is not None and new is not None:
            _decide_value(execution, binding.column, new, is_only=len(given) == 1)
            given = internals.update_values(execution.statement)


def _new_value(value: Any, column: Column[Any]) -> BindParameter[Any] | None:
    """The first argument of a ``coalesce()`` of a value and the column itself.

    SQLAlchemy converts ``None`` there to ``null()``.
    """
    parts = list(value.clauses) if isinstance(value, coalesce) else []
    if len(parts) != 2 or hash(parts[1]) != hash(column):  # also if annotated
        return None
    # An application's type may store a value as NULL, and the value may have a type of its own.
    if isinstance(getattr(column.type, "inner", None), TypeDecorator):
        return None
    new = bindparam(None, None, unique=True) if isinstance(parts[0], Null) else parts[0]
    if not isinstance(new, BindParameter) or is_converted(new):
        return None
    return new


def _decide_value(
    execution: WriteExecution, column: Column[Any], new: BindParameter[Any], *, is_only: bool
) -> None:
    row = execution.rows[0]
    if new.key in row:
        value = row[new.key]
    elif new.required:
        return  # SQLAlchemy raises an error for the missing value
    else:
        value = new.effective_value
    if value is None and (is_only or column.onupdate is not None):
        return
    added = {}
    if value is not None:
        added[column] = bindparam(None, value, type_=column.type, unique=True)
    execution.statement = internals.with_replaced_values(execution.statement, column, added)
