"""A key that is not known yet: its bind, and the placeholder in its place."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sqlalchemy import BindParameter, Column, bindparam
from sqlalchemy.types import Integer, TypeDecorator, TypeEngine

from encfields.orm import internals
from encfields.orm.declare.row_keys import stored_type
from encfields.orm.write.pending import Pending

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect


class PendingKey(Pending):
    """The place of one row's key, until it is known.

    :ivar insert: the INSERT that it belongs to, a ``KeylessInsert``.
    """

    __slots__ = ("insert",)

    def __init__(self, insert: object) -> None:
        super().__init__(None)
        self.insert = insert

    def __repr__(self) -> str:
        return "<generated key>"

    def __eq__(self, other: object) -> bool:
        """Equal to its key, once that is known: SQLAlchemy matches returned rows by it."""
        return self is other or (self.done and bool(self.value == other))

    def __hash__(self) -> int:
        return hash(self.value) if self.done else id(self)


class KeyToCome(TypeDecorator[Any]):
    """The type of the bind: rendered like the key's own, but lets a :class:`PendingKey` through.

    :param declared: the type of the key's column.
    """

    impl = Integer
    cache_ok = True

    def __init__(self, declared: TypeEngine[Any]) -> None:
        super().__init__()
        self.declared = declared

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(stored_type(self.declared, dialect))

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any] | None:
        return None

    def process_literal_param(self, value: Any, dialect: Dialect) -> str:
        raise NotImplementedError


_NEVER_SENT = object()
"""The bind's own value: if it were ``None``, SQLAlchemy would look for a generated key itself."""


def has_own_bind(column: Column[Any], dialect: Dialect) -> bool:
    """Whether the key's type would convert a placeholder, so that it needs a bind of ours."""
    return column.type.dialect_impl(dialect).bind_processor(dialect) is not None


def bind_of_ours(column: Column[Any]) -> str:
    """The name of the bind of ours."""
    return f"encfields_key_{column.key}"


def key_bind(column: Column[Any]) -> BindParameter[Any]:
    """The bind of ours, for an INSERT that is executed with parameters."""
    return bindparam(bind_of_ours(column), _NEVER_SENT, type_=KeyToCome(column.type))


def key_bind_of_row(column: Column[Any], index: int, place: PendingKey) -> BindParameter[Any]:
    """The bind of one of several rows in ``values([...])``.

    It is named like the row's other binds, so that a default that calls
    ``get_current_parameters()`` gets those of its own row.

    :param index: of the row.
    :param place: of the key in the row.
    """
    name = f"{column.key}{internals.MULTI_VALUES_SUFFIX}{index}"
    return bindparam(name, place, type_=KeyToCome(column.type))


def settle(column: Column[Any], place: PendingKey, value: Any, dialect: Dialect) -> None:
    """Set a row's key.

    :param value: as a Python value.
    :param column: the key's.
    :param place: of the key in the row.
    """
    to_driver = column.type.dialect_impl(dialect).bind_processor(dialect)
    place.value = value
    place.done = True
    place.sealed = value if to_driver is None else to_driver(value)
