"""Columns, types, constraints and tables, and our classes that derive from them.

Read::

    sqlalchemy.dialects.postgresql.ExcludeConstraint  _render_exprs
    sqlalchemy.dialects.sqlite.base.SQLiteDialect  _json_deserializer _json_serializer
    sqlalchemy.schema.CheckConstraint              _create_rule _type_bound
    sqlalchemy.schema.Column                       _copy _insert_sentinel
    sqlalchemy.schema.Constraint                   _column_flag
    sqlalchemy.schema.Table                        _autoincrement_column
    sqlalchemy.sql.sqltypes                        _AbstractInterval _Binary
    sqlalchemy.types.TypeEngine                    _type_affinity _variant_mapping

Written::

    sqlalchemy.schema.Column                       _omit_from_statements
    sqlalchemy.schema.Table                        _use_schema_map

Overridden::

    sqlalchemy.sql.base.SchemaEventTarget          _set_parent
    sqlalchemy.sql.elements.BinaryExpression       _copy_internals _negate
    sqlalchemy.sql.elements.ColumnElement          _from_objects
    sqlalchemy.types.TypeDecorator                 _type_affinity
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sqlalchemy import CheckConstraint, Column, Table
from sqlalchemy.sql.base import SchemaEventTarget
from sqlalchemy.sql.elements import BinaryExpression, ColumnElement, conv
from sqlalchemy.sql.sqltypes import _AbstractInterval, _Binary
from sqlalchemy.types import Boolean, TypeDecorator, TypeEngine

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect


def variant_of(type_: TypeEngine[Any], dialect: Dialect) -> TypeEngine[Any]:
    """The variant of `type_` for this dialect, from ``with_variant()``."""
    return type_._variant_mapping.get(dialect.name, type_)


def autoincrement_column(table: Any) -> Column[Any] | None:
    """The column whose values the database generates, if the table has one."""
    column: Column[Any] | None = table._autoincrement_column
    return column


def is_insert_sentinel(column: Column[Any]) -> bool:
    """Whether the rows that an INSERT returns are told apart by the column's values."""
    return bool(column._insert_sentinel)


def is_carried(element: Any) -> bool:
    """Whether an encrypted column is read with its row's key, to be sealed again unchanged."""
    return bool(getattr(element.type, "carries_row_key", False))


class UnmappedColumn(Column[Any]):
    """A column that no mapper maps, and that is selected only by name, also from aliases.

    SQLAlchemy's ``insert_sentinel(omit_from_statements=True)`` is similar.
    """

    inherit_cache = True

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # Columns of aliases are made from this class too, without the option.
        self._omit_from_statements = True

    @property
    def default(self) -> Any:
        """What fills it. It is not an application's default, so it stays when those are removed, as
        by libraries that keep a table's history in a copy of it."""
        return vars(self).get("default")

    @default.setter
    def default(self, given: Any) -> None:
        if given is not None or "default" not in vars(self):
            vars(self)["default"] = given


def check_of_type(
    condition: ColumnElement[bool], name: str, has_check: Callable[[Any], bool]
) -> CheckConstraint:
    """A CHECK that belongs to a column's type, as with Boolean and Enum, and is added to its table.

    SQLAlchemy copies it with the type, and Alembic does not render it separately.

    :param name: its name, which no naming convention changes.
    :param has_check: returns whether to emit it, given the DDL compiler.
    """
    return CheckConstraint(condition, name=conv(name), _create_rule=has_check, _type_bound=True)


def leave_schema(table: Table) -> None:
    """Let no ``schema_translate_map`` apply to a table."""
    table._use_schema_map = False


def is_column_flag(rule: Any) -> bool:
    """Whether a constraint or index comes from a column's ``unique=True`` or ``index=True``."""
    return bool(rule._column_flag)


def discard_rule(table: Table, rule: Any) -> None:
    """Remove a constraint or index from its table."""
    table.constraints.discard(rule)
    table.indexes.discard(rule)


def is_exclusion(rule: Any) -> bool:
    """Whether a constraint is PostgreSQL's ``ExcludeConstraint``, without loading its dialect."""
    return bool(rule.__visit_name__ == "exclude_constraint")


def exclusion_expressions(rule: Any) -> list[Any]:
    """What an exclusion constraint compares: columns, and SQL expressions."""
    return [expression for expression, _, _ in rule._render_exprs]


def compare_alike(one: TypeEngine[Any], other: TypeEngine[Any]) -> bool:
    """Whether a database compares columns of these two types as it compares columns of either."""
    collations = getattr(one, "collation", None), getattr(other, "collation", None)
    return one._type_affinity is other._type_affinity and collations[0] == collations[1]


def holds_bytes(column: Column[Any]) -> bool:
    """Whether a column, for example a reflected one, holds bytes."""
    return isinstance(column.type, _Binary)


class SchemaPart(SchemaEventTarget):
    """A type or schema item that is notified when it is given to a column or table."""

    def given_to(self, parent: Any) -> None:
        """Called with the column or table, after SQLAlchemy has processed it."""
        raise NotImplementedError

    def _set_parent(self, parent: Any, outer: bool = False, **kw: Any) -> None:
        super()._set_parent(parent, outer=outer, **kw)
        self.given_to(parent)


class TruthfulType(TypeDecorator[Any]):
    """A type whose column may be a condition by itself, as one of booleans may.

    SQLAlchemy then has the compiler ask for its truth.
    """

    @property
    def is_condition(self) -> bool:
        """Whether it is."""
        raise NotImplementedError

    @property
    def _type_affinity(self) -> Any:
        return Boolean if self.is_condition else super()._type_affinity


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
    """A comparison that defines its own negation, and knows of what its copies lack."""

    inherit_cache = True

    def negation(self, negated: Any) -> Any:
        """The negated comparison, given SQLAlchemy's."""
        raise NotImplementedError

    def replaced(self, side: Any, by: Any) -> None:
        """Take note that in this copy of the comparison something is in the place of a side."""

    def _negate(self) -> Any:
        return self.negation(super()._negate())  # type: ignore[no-untyped-call]

    def _copy_internals(self, **kw: Any) -> None:
        sides = self.left, self.right
        super()._copy_internals(**kw)
        self.replaced(sides[0], self.left)
        self.replaced(sides[1], self.right)


ANY_BINARY = _Binary
"""Base class of every type of bytes, including those of dialects."""


ANY_INTERVAL = _AbstractInterval
"""Base class of every type of time spans, including those of dialects."""


def json_serializer(dialect: Dialect) -> Callable[[Any], Any] | None:
    """``create_engine(json_serializer=...)``, if it was given."""
    return getattr(dialect, "_json_serializer", None)


def json_deserializer(dialect: Dialect) -> Callable[[str], Any] | None:
    """``create_engine(json_deserializer=...)``, if it was given."""
    return getattr(dialect, "_json_deserializer", None)


def column_copy(column: Column[Any]) -> Column[Any]:
    """A copy of a column, without a table."""
    return column._copy()
