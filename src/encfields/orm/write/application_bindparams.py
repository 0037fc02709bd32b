"""Encrypted columns that values() sets to the application's ``bindparam()`` or ``literal()``.

``values(ssn=bindparam("b", value="..."))`` gets its type from the value, or no type in
``values([{...}, {...}])``. The application chose neither, so both get the column's. ``true()`` and
``false()`` are values too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Boolean, Column, literal
from sqlalchemy.sql.elements import BindParameter, False_, True_
from sqlalchemy.types import NullType, TypeDecorator

from encfields.codecs.base import processes_binds
from encfields.errors import AmbiguousRowError, BindingError
from encfields.orm import internals
from encfields.orm.declare.columns import SealedColumnType
from encfields.orm.write.hidden_values import veil

if TYPE_CHECKING:
    from encfields.orm.declare.columns import ColumnBinding
    from encfields.orm.write.execution import WriteExecution
    from encfields.orm.write.statement_plan import SealedBind


def has_no_type_of_its_own(bind: BindParameter[Any]) -> bool:
    """Whether the application did not choose the bind's type."""
    if isinstance(bind.type, NullType):
        return True
    return not bind.unique and _is_typed_by_value(bind)


def takes_columns_type(bind: BindParameter[Any], column: Column[Any]) -> bool:
    """Whether a bind's value is the column's own, as if it were given without the bind.

    That of ``literal()`` or a lambda's closure variable is as well, unless the application's type
    converts values, since SQLAlchemy does not have it convert those.
    """
    if has_no_type_of_its_own(bind):
        return True
    if not bind.unique or not isinstance(column.type, SealedColumnType):
        return False
    inner = column.type.inner
    is_converted = isinstance(inner, TypeDecorator) and processes_binds(inner)
    return not is_converted and _is_typed_by_value(bind)


def _is_typed_by_value(bind: BindParameter[Any]) -> bool:
    return bind.value is not None and literal(bind.value).type is bind.type


def typed_as(bind: BindParameter[Any], column: Column[Any]) -> BindParameter[Any]:
    """The same bind with the column's type."""
    typed = internals.copy_of_bind(bind)
    typed.type = column.type
    return typed


def with_truth_as_literal(value: Any, column: Column[Any]) -> Any:
    """``true()`` or ``false()`` as a bind, for an encrypted boolean; anything else unchanged."""
    type_ = column.type
    is_boolean = isinstance(type_, SealedColumnType) and isinstance(type_.inner, Boolean)
    if not is_boolean or not isinstance(value, True_ | False_):
        return value
    return literal(isinstance(value, True_))


def type_application_bindparams(execution: WriteExecution) -> None:
    """Give the binds of encrypted columns the columns' types."""
    statement = execution.statement

    def typed(target: Any, value: Any) -> Any:
        if not isinstance(value, BindParameter | True_ | False_):
            return value
        (key,) = internals.row_by_key(statement, {target: value})
        binding = execution.bindings.get(key)
        if binding is None:
            return value
        given = with_truth_as_literal(value, binding.column)
        if not isinstance(given, BindParameter) or not takes_columns_type(given, binding.column):
            return value
        bind = typed_as(given, binding.column)
        veil(bind)
        return bind

    execution.statement = internals.with_changed_values(statement, typed)


def refuse_shared_binds(sealed: Sequence[SealedBind]) -> None:
    """Refuse one bind for several columns or rows, since a ciphertext belongs to one.

    :raises AmbiguousRowError: names one of the columns.
    """
    first: dict[str, SealedBind] = {}
    for one in sealed:
        other = first.setdefault(one.bind, one)
        if other is not one and _place(other) != _place(one):
            raise shared_bind(one.binding, one.bind)


def shared_bind(binding: ColumnBinding, name: str) -> BindingError:
    """The error for a bind whose value is also needed in another form."""
    return AmbiguousRowError(
        f"the bind {name!r} is given to this column and also used elsewhere, where its ciphertext "
        "does not belong: give each column, and each row, a bind of its own name",
        table=binding.table,
        column=binding.column_name,
        reason="shared-bind",
    )


def _place(sealed: SealedBind) -> tuple[Any, ...]:
    """The column and row that a value is for."""
    return sealed.binding, *(part and part.bind for part in sealed.identity)
