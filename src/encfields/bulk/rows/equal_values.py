"""Tells whether a sealed value and the plaintext beside it are the same value in two spellings.

A database does not return every value as it was written: PostgreSQL a moment in the session's time
zone, JSONB and MySQL's JSON an object with its keys in another order, SQLite ``1.5`` as ``1.50``
and ``-0.0`` as ``0.0``.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from encfields.bulk.rows.row_work import same_value
from encfields.codecs.arrays import ArrayCodec
from encfields.codecs.decorated import DecoratedCodec
from encfields.codecs.json_value import JsonCodec
from encfields.errors import ValueDecodingError
from encfields.orm.declare.index_binding import TRANSFORM_OF_WHOLE

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect

    from encfields.codecs import Codec


def is_same_value(codec: Codec, dialect: Dialect, one: bytes, other: bytes) -> bool:
    """Whether two plaintexts are of one value.

    :param codec: of the column. :param dialect: of its database.
    """
    if one == other:
        return True
    while isinstance(codec, DecoratedCodec):
        codec = codec.impl(dialect)
    if isinstance(codec, ArrayCodec):
        return _are_same_items(codec, dialect, one, other)
    if isinstance(codec, JsonCodec):
        return _is_same_json(one, other)
    shared = TRANSFORM_OF_WHOLE[codec.equality].form(_as_it_is)
    return shared(one) == shared(other)


def _as_it_is(plaintext: Any) -> bytes:
    return bytes(plaintext)


def _are_same_items(codec: ArrayCodec, dialect: Dialect, one: bytes, other: bytes) -> bool:
    try:
        return same_value(codec.decode(one, dialect), codec.decode(other, dialect))
    except ValueDecodingError:
        return False


def _is_same_json(one: bytes, other: bytes) -> bool:
    try:
        return bool(_comparable(_parsed(one)) == _comparable(_parsed(other)))
    except (ValueError, RecursionError):  # a serializer of the engine's own wrote it
        return False


def _parsed(data: bytes) -> object:
    """Numbers as they are spelt: a float would round a long one."""
    return json.loads(data, parse_int=Decimal, parse_float=Decimal)


def _comparable(value: object) -> object:
    """The value, in which ``true`` does not equal 1."""
    if isinstance(value, bool):
        return (value,)
    if isinstance(value, list):
        return [_comparable(item) for item in value]
    if isinstance(value, dict):
        return {name: _comparable(item) for name, item in value.items()}
    return value
