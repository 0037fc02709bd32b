"""The plaintext column of an adoption: appended to the table, mapped by no mapper.

In an INSERT it has a Python-side default, the value given to the row's encrypted column, so that
both are written in every way of inserting. :mod:`encfields.orm.adoption.writes` handles UPDATE.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import Column, String, Table
from sqlalchemy.types import TypeDecorator, TypeEngine

from encfields.codecs.base import none_is_value
from encfields.errors import DeclarationError
from encfields.kept_state import REQUIRED
from encfields.orm import internals
from encfields.orm.adoption.plaintext import WRITE_SEALED, Plaintext, adoption_of, shown
from encfields.orm.declare.columns import ColumnBinding, SealedColumnType, bindings_of
from encfields.orm.declare.index_binding import is_reflected
from encfields.orm.declare.table_constraints import take_over_rules

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect

KEY_SUFFIX = "__plaintext"
"""Prefix of a plaintext column's key in its table's ``c``."""


class HiddenText(str):
    """A string that is not shown where SQLAlchemy prints parameters."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<plaintext>"


class HiddenBytes(bytes):
    """Bytes that are not shown where SQLAlchemy prints parameters."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<plaintext>"


def hidden(value: Any) -> Any:
    """The same value, hidden if it is a string or bytes."""
    if type(value) is str:
        return HiddenText(value)
    return HiddenBytes(value) if type(value) is bytes else value


def takes_bytes_alone(dialect: Dialect) -> bool:
    """Whether the driver is asyncmy, which does not accept subclasses of ``bytes``."""
    return dialect.driver == "asyncmy"


class _SqlNull:
    """NULL in a plaintext column: a JSON type would store ``None`` as a value."""

    def __repr__(self) -> str:
        return "NULL"


SQL_NULL = _SqlNull()


def null_of(column: Column[Any]) -> _SqlNull | None:
    """The value that makes a row's plaintext NULL."""
    return SQL_NULL if none_is_value(cast("PlaintextType", column.type).declared) else None


class PlaintextType(internals.CacheKeyedType, TypeDecorator[Any]):
    """A plaintext column's own type, whose parameters are not shown.

    :param declared: the type that the application uses for it.
    """

    impl = String
    cache_ok = True

    def __init__(self, declared: TypeEngine[Any]) -> None:
        super().__init__()
        self.declared = declared
        self.impl = declared  # type: ignore[assignment]
        self.impl_instance = declared

    def statement_cache_key(self) -> tuple[Any, ...]:
        """Distinguishes types in SQLAlchemy's statement cache."""
        return PlaintextType, internals.cache_key_of(self.declared)

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any]:
        process = super().bind_processor(dialect)

        declared = self.declared
        has_none, shows_bytes = none_is_value(declared), takes_bytes_alone(dialect)

        def hide(value: Any) -> Any:
            if value is SQL_NULL or (value is None and not has_none):
                return None  # another library's type may not handle NULL
            bound = value if process is None else process(value)
            if shows_bytes and isinstance(bound, bytes):
                return bytes(bound)
            return hidden(bound)

        return hide

    def coerce_compared_value(self, op: Any, value: Any) -> Any:
        return self

    def __repr__(self) -> str:
        return shown(self.declared)


class PlaintextColumn(internals.UnmappedColumn):
    """A plaintext column that is being adopted."""

    inherit_cache = True


class PlaintextOfRow:
    """Its Python-side default: the value given to the row's encrypted column, be it by that
    column's own default. So too for ``onupdate``.

    :param sealed: key of the encrypted column.
    :param phase: of the adoption.
    :param default: the encrypted column's, which an UPDATE that leaves its rows pending does not
        ask for.
    """

    def __init__(self, sealed: str, phase: str, default: Any = None) -> None:
        self.sealed = sealed
        self.phase = phase
        self.default = default

    def __call__(self, context: Any) -> Any:
        if self.phase == WRITE_SEALED:
            return null_of(context.current_column)
        # If rows are distinguished, SQLAlchemy expects string keys, but may find columns.
        given = context.get_current_parameters(isolate_multiinsert_groups=False)
        row = internals.row_of_default(context.current_column)
        names = f"{self.sealed}{internals.MULTI_VALUES_SUFFIX}{row}", self.sealed
        value = next((given[name] for name in names if name in given), None)
        if self.default is not None and self.sealed not in given:
            value = self.default.arg(context) if self.default.is_callable else self.default.arg
        # Hidden here too: a type that lets the database encrypt renders the bind itself.
        return hidden(value)


def adopt_columns(table: Table) -> None:
    """Append the plaintext columns that the table's encrypted columns adopt.

    :raises DeclarationError: one cannot be adopted as it is declared.
    """
    for binding in bindings_of(table).values():
        adopts = adoption_of(binding.column)
        if adopts is not None:
            _require_name(binding, adopts)
            _append(table, binding, adopts)
            # A row may have only its plaintext, even if the attribute is required.
            binding.column.nullable = True


def plaintext_column(column: Column[Any]) -> Column[Any]:
    """The plaintext column that an encrypted column adopts."""
    return column.table.c[_key(column)]


def adopted_columns(table: Any) -> list[tuple[ColumnBinding, Plaintext, Column[Any]]]:
    """The table's encrypted columns in an adoption, each with its plaintext column."""
    if not isinstance(table, Table) or not any(adoption_of(column) for column in table.c):
        return []
    return [
        (binding, adopts, plaintext_column(binding.column))
        for binding in bindings_of(table).values()
        if (adopts := adoption_of(binding.column)) is not None
    ]


def plaintext_type(column: Column[Any], adopts: Plaintext) -> TypeEngine[Any]:
    """The application's type for the plaintext that an encrypted column adopts."""
    return adopts.type or cast("SealedColumnType", column.type).inner


def _key(column: Column[Any]) -> str:
    return f"{column.name}{KEY_SUFFIX}"


def _append(table: Table, binding: ColumnBinding, adopts: Plaintext) -> None:
    column, key = binding.column, _key(binding.column)
    declared = next((column for column in table.c if column.name == adopts.column), None)
    if isinstance(declared, PlaintextColumn):
        return
    if declared is not None and not is_reflected(declared):
        raise _refusal(
            binding,
            f"it adopts {adopts.column!r}, and the table declares a column of that name as well: "
            "leave that one out, adopts= declares it",
        )
    onupdate = column.onupdate
    plain = PlaintextColumn(
        adopts.column,
        PlaintextType(plaintext_type(column, adopts)),
        key=key,
        default=PlaintextOfRow(column.key, adopts.phase),
        onupdate=None if onupdate is None else PlaintextOfRow(column.key, adopts.phase, onupdate),
        nullable=True,
    )
    # Before the attribute's own column is made nullable: whether a row must have a value.
    plain.info[REQUIRED] = not column.nullable
    table.append_column(plain, replace_existing=True)
    if declared is not None:
        take_over_rules(table, declared, plain)


def _require_name(binding: ColumnBinding, adopts: Plaintext) -> None:
    if adopts.column == binding.column.name:
        raise _refusal(
            binding,
            f"it adopts {adopts.column!r}, which is its own name in the database: give the "
            f"encrypted column another name, as in mapped_column({adopts.column + '_enc'!r}, ...)",
        )
    if cast("SealedColumnType", binding.column.type).name is None:
        raise _refusal(
            binding,
            "a column that adopts another needs a logical name that stays when columns are "
            f"renamed: EncryptedType(..., name={binding.table + '.' + adopts.column!r})",
        )


def _refusal(binding: ColumnBinding, message: str) -> DeclarationError:
    return DeclarationError(
        message, table=binding.table, column=binding.column_name, reason="adopts"
    )
