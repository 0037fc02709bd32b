"""Which codec a SQLAlchemy type has, and which types have none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import types as sa

from encfields.codecs.arrays import ArrayCodec
from encfields.codecs.base import Codec
from encfields.codecs.decorated import DecoratedCodec
from encfields.codecs.enums import EnumCodec
from encfields.codecs.json_value import JsonCodec
from encfields.codecs.numbers import (
    DEFAULT_RETURN_SCALE,
    BooleanCodec,
    FloatCodec,
    IntegerCodec,
    NumericCodec,
)
from encfields.codecs.temporal import DateCodec, DateTimeCodec, IntervalCodec, TimeCodec
from encfields.codecs.text import BinaryCodec, TextCodec, UuidCodec
from encfields.errors import DeclarationError
from encfields.orm import internals

SUPPORTED = (
    "String, Text, Unicode, LargeBinary, Integer, BigInteger, SmallInteger, Float, Double, "
    "Numeric, Boolean, Date, Time, DateTime, Interval, Uuid, Enum, JSON, ARRAY of these, or a "
    "TypeDecorator over one of them"
)

_OWN_PROCESSING = ("bind_processor", "result_processor", "bind_expression", "column_expression")


def codec_for(inner: sa.TypeEngine[Any] | type[sa.TypeEngine[Any]]) -> Codec:
    """The codec of the values of a column of type `inner`.

    Variants (``with_variant``) are not followed: one column has one plaintext form, the same on
    every dialect.

    :param inner: a SQLAlchemy type, or its class.
    :raises DeclarationError: the type has no plaintext that any language could read.
    """
    if isinstance(inner, type):
        inner = inner()
    _refuse_own_processing(inner)
    return _codec(inner)


def max_plaintext_bytes(inner: sa.TypeEngine[Any] | type[sa.TypeEngine[Any]]) -> int | None:
    """Longest plaintext in bytes of a value of type `inner`; ``None`` where there is no bound.

    :raises DeclarationError: as :func:`codec_for`.
    """
    return codec_for(inner).max_bytes


def _codec(inner: sa.TypeEngine[Any]) -> Codec:
    if isinstance(inner, sa.PickleType):
        raise DeclarationError(
            "PickleType cannot be encrypted: a pickle runs code when it is read and no other "
            "language reads it; use JSON, or a TypeDecorator over JSON or LargeBinary"
        )
    for kind, build in _FAMILIES:
        if isinstance(inner, kind) and inner.__visit_name__ != "SET":  # MySQL's is a String
            return build(inner)
    raise DeclarationError(
        f"{type(inner).__name__} cannot be encrypted: its values have no documented plaintext; "
        f"use {SUPPORTED}"
    )


def _refuse_own_processing(inner: sa.TypeEngine[Any]) -> None:
    """Refuse what would be left out in silence: no codec runs a driver's or server's processing."""
    names: tuple[str, ...] = _OWN_PROCESSING
    if isinstance(inner, sa.Interval):  # a TypeDecorator whose processing this codec replaces
        names += ("process_bind_param", "process_result_value")
    for name in names:
        owner = next(cls for cls in type(inner).__mro__ if name in vars(cls))
        if not owner.__module__.startswith("sqlalchemy."):
            raise DeclarationError(
                f"{type(inner).__name__} cannot be encrypted: it defines {name}, which meets only "
                "ciphertext in an encrypted column; use a TypeDecorator with process_bind_param "
                "and process_result_value"
            )


def _enum(inner: Any) -> Codec:
    return EnumCodec(inner)


def _text(inner: Any) -> Codec:
    return TextCodec(inner.length)


def _binary(inner: Any) -> Codec:
    return BinaryCodec(inner.length)


def _float(inner: Any) -> Codec:
    if not inner.asdecimal:
        return FloatCodec(None)
    scale = inner.decimal_return_scale
    if scale is None:
        scale = getattr(inner, "scale", None)
    return FloatCodec(DEFAULT_RETURN_SCALE if scale is None else scale)


def _numeric(inner: Any) -> Codec:
    return NumericCodec(inner.precision, inner.scale, inner.asdecimal)


def _uuid(inner: Any) -> Codec:
    return UuidCodec(inner.as_uuid)


def _array(inner: Any) -> Codec:
    return ArrayCodec(codec_for(inner.item_type), inner.dimensions, inner.as_tuple)


def _decorated(inner: Any) -> Codec:
    # What load_dialect_impl answers is a dialect's own type, whose processing is for its driver.
    _refuse_own_processing(inner.impl_instance)
    return DecoratedCodec(inner, _codec)


# The first that matches: Enum is a String, Interval a TypeDecorator, and in SQLAlchemy 2.0 Float
# is a Numeric.
_FAMILIES: tuple[tuple[type[Any], Callable[[Any], Codec]], ...] = (
    (internals.ANY_INTERVAL, lambda _: IntervalCodec()),
    (sa.TypeDecorator, _decorated),
    (sa.Enum, _enum),
    (sa.String, _text),
    (internals.ANY_BINARY, _binary),
    (sa.Float, _float),
    (sa.Numeric, _numeric),
    (sa.Integer, lambda _: IntegerCodec()),
    (sa.Boolean, lambda _: BooleanCodec()),
    (sa.DateTime, lambda _: DateTimeCodec()),
    (sa.Date, lambda _: DateCodec()),
    (sa.Time, lambda _: TimeCodec()),
    (sa.Uuid, _uuid),
    (sa.JSON, lambda _: JsonCodec()),
    (sa.ARRAY, _array),
)
