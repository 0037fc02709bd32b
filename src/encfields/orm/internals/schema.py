"""Columns and their types, constraints and tables, and classes of ours that derive from them.

Read::

    sqlalchemy.dialects.sqlite.base.SQLiteDialect  _json_deserializer _json_serializer
    sqlalchemy.schema.CheckConstraint              _create_rule _type_bound
    sqlalchemy.schema.Column                       _copy
    sqlalchemy.schema.Constraint                   _column_flag
    sqlalchemy.schema.Table                        _autoincrement_column
    sqlalchemy.sql.sqltypes                        _AbstractInterval _Binary
    sqlalchemy.types.TypeEngine                    _type_affinity _variant_mapping

Written::

    sqlalchemy.schema.Column                       _omit_from_statements
    sqlalchemy.schema.Table                        _use_schema_map

Overridden::

    sqlalchemy.sql.base.SchemaEventTarget          _set_parent
    sqlalchemy.sql.elements.BinaryExpression       _negate
    sqlalchemy.sql.elements.ColumnElement          _from_objects
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sqlalchemy import BINARY, VARBINARY, CheckConstraint, Column, LargeBinary, Table
from sqlalchemy.sql.base import SchemaEventTarget
from sqlalchemy.sql.elements import BinaryExpression, ColumnElement, conv
from sqlalchemy.sql.sqltypes import _AbstractInterval, _Binary
from sqlalchemy.types import TypeEngine

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect


def variant_of(type_: TypeEngine[Any], dialect: Dialect) -> TypeEngine[Any]:
    """The type that ``with_variant()`` puts in the place of `type_` on this dialect."""
    return type_._variant_mapping.get(dialect.name, type_)


def autoincrement_column(table: Any) -> Column[Any] | None:
    """The column whose values the database generates, if the table has one."""
    column: Column[Any] | None = table._autoincrement_column
    return column


def is_carried(element: Any) -> bool:
    """Whether an encrypted column is read with its row's key, to be sealed again as it is."""
    return bool(getattr(element.type, "carries_row_key", False))


class UnmappedColumn(Column[Any]):
    """A column that no mapper maps, and that is selected only by name, from aliases too.

    SQLAlchemy has the like of it in ``insert_sentinel(omit_from_statements=True)``.
    """

    inherit_cache = True

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # Columns of aliases are made from this class as well, without the option.
        self._omit_from_statements = True

    @property
    def default(self) -> Any:
        """What fills it: no default of the application's, so it stays where those are taken away,
        as libraries do that keep a table's history in a copy of it."""
        return vars(self).get("default")

    @default.setter
    def default(self, given: Any) -> None:
        if given is not None or "default" not in vars(self):
            vars(self)["default"] = given


def check_of_type(
    condition: ColumnElement[bool], name: str, has_check: Callable[[Any], bool]
) -> CheckConstraint:
    """A CHECK that a column's type brings along, as Boolean and Enum do; its table gets it.

    SQLAlchemy copies it with the type, and Alembic does not write it beside the type.

    :param name: its name, which no naming convention changes.
    :param has_check: whether it is emitted, by the DDL compiler.
    """
    return CheckConstraint(condition, name=conv(name), _create_rule=has_check, _type_bound=True)


def leave_schema(table: Table) -> None:
    """Have no ``schema_translate_map`` apply to a table."""
    table._use_schema_map = False


def is_column_flag(rule: Any) -> bool:
    """Whether a constraint or index stems from a column's ``unique=True`` or ``index=True``."""
    return bool(rule._column_flag)


def discard_rule(table: Table, rule: Any) -> None:
    """Take a constraint or index off its table."""
    table.constraints.discard(rule)
    table.indexes.discard(rule)


def of_one_kind(one: TypeEngine[Any], other: TypeEngine[Any]) -> bool:
    """Whether a database compares two columns of these types as either compares with itself."""
    collations = getattr(one, "collation", None), getattr(other, "collation", None)
    return one._type_affinity is other._type_affinity and collations[0] == collations[1]


def holds_bytes(column: Column[Any]) -> bool:
    """Whether a column, as reflected for instance, holds bytes."""
    return isinstance(column.type, LargeBinary | BINARY | VARBINARY)


class SchemaPart(SchemaEventTarget):
    """A type or schema item that is called when it is given to a column or table."""

    def given_to(self, parent: Any) -> None:
        """Called with the column or table, when SQLAlchemy has done its part."""
        raise NotImplementedError

    def _set_parent(self, parent: Any, outer: bool = False, **kw: Any) -> None:
        super()._set_parent(parent, outer=outer, **kw)
        self.given_to(parent)


class WrappedColumn(ColumnElement[Any]):
    """An expression around a stored column; a SELECT of it reads from the column's table."""

    inherit_cache = False

    def wrapped(self) -> ColumnElement[Any]:
        """The column."""
        raise NotImplementedError

    @property
    def _from_objects(self) -> list[Any]:
        return list(self.wrapped()._from_objects)


class NegatableComparison(BinaryExpression[bool]):
    """A comparison that says itself what ``~`` makes of it."""

    inherit_cache = True

    def negation(self, negated: Any) -> Any:
        """What the opposite is, given what SQLAlchemy makes of it."""
        raise NotImplementedError

    def _negate(self) -> Any:
        return self.negation(super()._negate())  # type: ignore[no-untyped-call]


ANY_BINARY = _Binary
"""What every type of bytes derives from, those of dialects too."""


ANY_INTERVAL = _AbstractInterval
"""What every type of time spans derives from, those of dialects too."""


def json_serializer(dialect: Dialect) -> Callable[[Any], Any] | None:
    """``create_engine(json_serializer=...)``, if it was given."""
    return getattr(dialect, "_json_serializer", None)


def json_deserializer(dialect: Dialect) -> Callable[[str], Any] | None:
    """``create_engine(json_deserializer=...)``, if it was given."""
    return getattr(dialect, "_json_deserializer", None)


def column_copy(column: Column[Any]) -> Column[Any]:
    """A column like it, of no table."""
    return column._copy()
