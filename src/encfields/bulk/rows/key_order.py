"""SQL for primary key order and for parts of a table bounded by keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

from sqlalchemy import (
    Column,
    ColumnElement,
    Integer,
    TypeDecorator,
    and_,
    bindparam,
    literal,
    or_,
    tuple_,
)
from sqlalchemy.dialects.mysql import ENUM
from sqlalchemy.engine import Dialect

from encfields.bulk.rows.stored_keys import Key
from encfields.databases import MYSQL_NAMES


class Bounds(NamedTuple):
    """Part of a table: keys after `after`, up to and including `upto`; ``None`` means unbounded."""

    after: Key | None
    upto: Key | None


def part_parameters(part: Bounds) -> dict[str, Any]:
    """Parameters of :func:`key_after` for a part's start and :func:`key_upto` for its end."""
    return bound_parameters("after", part.after) | bound_parameters("upto", part.upto)


def bound_parameters(name: str, key: Key | None) -> dict[str, Any]:
    """Parameters of :func:`key_after`, :func:`key_upto` and :func:`key_from`."""
    return {} if key is None else {f"{name}_{i}": value for i, value in enumerate(key)}


def key_binds(key: Sequence[Column[Any]], name: str) -> list[Any]:
    """The placeholders of a primary key bound as `name`."""
    return [bindparam(f"{name}_{i}", type_=_bound_type(column)) for i, column in enumerate(key)]


class _EnumNumber(TypeDecorator[Any]):
    """Binds a MySQL ENUM by its number, which sorts the key. Compared as texts, rows would be
    skipped or read twice."""

    impl = Integer
    cache_ok = True

    def __init__(self, *texts: str) -> None:
        super().__init__()
        self.texts = texts

    def process_bind_param(self, value: Any, dialect: Dialect) -> int:
        # A server that is not strict stores any other text as '', number 0.
        return self.texts.index(value) + 1 if value in self.texts else 0


def _bound_type(column: ColumnElement[Any]) -> Any:
    return _EnumNumber(*column.type.enums) if isinstance(column.type, ENUM) else column.type


def key_after(key: Sequence[Column[Any]], name: str, dialect_name: str) -> ColumnElement[bool]:
    """SQL for "the primary key comes after the one bound as `name`"."""
    return comes_after(key, key_binds(key, name), dialect_name)


def comes_after(
    key: Sequence[ColumnElement[Any]], values: Sequence[Any], dialect_name: str
) -> ColumnElement[bool]:
    """SQL for "the key comes after these values"."""
    values = [
        value if isinstance(value, ColumnElement) else literal(value, _bound_type(column))
        for column, value in zip(key, values, strict=True)
    ]
    if len(key) == 1:
        return cast("ColumnElement[bool]", key[0] > values[0])
    if dialect_name not in MYSQL_NAMES:
        return tuple_(*key) > tuple_(*values)
    return _expanded(key, values, strict=True)


def key_upto(key: Sequence[Column[Any]], name: str, dialect_name: str) -> ColumnElement[bool]:
    """SQL for "the primary key is the one bound as `name` or comes before it"."""
    binds = key_binds(key, name)
    if len(key) == 1:
        return cast("ColumnElement[bool]", key[0] <= binds[0])
    if dialect_name not in MYSQL_NAMES:
        return tuple_(*key) <= tuple_(*binds)
    return _expanded(key, binds, strict=False)


def key_from(key: Sequence[Column[Any]], name: str, dialect_name: str) -> ColumnElement[bool]:
    """SQL for "the primary key is the one bound as `name` or comes after it"."""
    if len(key) == 1:
        return cast("ColumnElement[bool]", key[0] >= key_binds(key, name)[0])
    if dialect_name not in MYSQL_NAMES:
        return tuple_(*key) >= tuple_(*key_binds(key, name))
    exact = and_(*(c == b for c, b in zip(key, key_binds(key, name), strict=True)))
    return or_(_expanded(key, key_binds(key, name), strict=True), exact)


def _expanded(key: Sequence[Any], values: Sequence[Any], *, strict: bool) -> ColumnElement[bool]:
    """The comparison without tuples: MySQL scans the whole index for ``(a, b) > (1, 2)``."""
    parts = []
    for i, column in enumerate(key):
        last = i == len(key) - 1
        if strict:
            compared = column > values[i]
        else:
            compared = column <= values[i] if last else column < values[i]
        same = [k == b for k, b in zip(key[:i], values[:i], strict=True)]
        parts.append(and_(*same, compared))
    return or_(*parts)
