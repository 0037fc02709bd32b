"""A batch's arrays in PostgreSQL's binary format.

psycopg encodes a list value by value in Python, which took longer than the rest of writing a batch.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, cast

from sqlalchemy import Connection

_HEAD = struct.Struct(">iiIii")
"""Dimensions, NULL flag, element type, number of elements, lower bound."""

_SIZE = struct.Struct(">i").pack
_NULL = _SIZE(-1)
_BYTEA, _UUID = 17, 2950
_INTEGERS = {"SMALLINT": (21, "h", 2), "INTEGER": (23, "i", 4), "BIGINT": (20, "q", 8)}
"""Integer types: OID, ``struct`` format, and size in bytes."""


class BinaryArray:
    """An array parameter whose type the statement's cast gives.

    :ivar data: its binary format. :ivar values: its elements.
    """

    __slots__ = ("data", "values")

    def __init__(self, data: bytes, values: Sequence[Any]) -> None:
        self.data = data
        self.values = values

    @classmethod
    def of_bytes(cls, values: Sequence[bytes | None]) -> BinaryArray:
        """A ``bytea[]``."""
        return cls(_array(_BYTEA, values), values)


def take_binary_arrays(connection: Connection) -> None:
    """Make a psycopg connection accept :class:`BinaryArray` parameters."""
    driver_connection: Any = connection.connection.dbapi_connection
    for dumper in _dumpers():
        driver_connection.adapters.register_dumper(BinaryArray, dumper)


@cache
def _dumpers() -> tuple[type[Any], type[Any]]:
    from psycopg.adapt import Dumper, Transformer
    from psycopg.pq import Format

    class ArrayDumper(Dumper):
        # Without an OID, so that the server uses the statement's cast.
        format = Format.BINARY

        def dump(self, obj: BinaryArray) -> bytes:
            return obj.data

    class LiteralDumper(ArrayDumper):
        """For a ``ClientCursor``, which interpolates parameters."""

        format = Format.TEXT

        def quote(self, obj: BinaryArray) -> bytes:
            return Transformer.from_context(self.connection).as_literal(list(obj.values))

    return LiteralDumper, ArrayDumper


def array_of(type_name: str) -> Callable[[Sequence[Any]], Any]:
    """The function that makes an array of keys of one type; binary for the types known here.

    :param type_name: the type's name in SQL.
    """
    if type_name == "UUID":
        return _of_uuids
    known = _INTEGERS.get(type_name)
    if known is None:
        return list
    number, form, size = known

    def of_integers(values: Sequence[int]) -> BinaryArray:
        count = len(values)
        pairs = [size] * (2 * count)
        pairs[1::2] = values
        data = _head(number, count) + struct.pack(f">{f'i{form}' * count}", *pairs)
        return BinaryArray(data, values)

    return of_integers


def _of_uuids(values: Sequence[uuid.UUID]) -> BinaryArray:
    return BinaryArray(_array(_UUID, [value.bytes for value in values]), values)


def _array(number: int, values: Sequence[bytes | None]) -> bytes:
    """An array of values given in binary format."""
    pieces: list[Any] = [None] * (2 * len(values))
    has_nulls = None in values
    if has_nulls:
        pieces[::2] = [_NULL if value is None else _SIZE(len(value)) for value in values]
        pieces[1::2] = [value or b"" for value in values]
    else:
        pieces[::2] = map(_SIZE, map(len, cast("Sequence[bytes]", values)))
        pieces[1::2] = values
    return _head(number, len(values), has_nulls=has_nulls) + b"".join(pieces)


def _head(number: int, count: int, *, has_nulls: bool = False) -> bytes:
    return _HEAD.pack(1, has_nulls, number, count, 1)
