"""The inner types: SQLAlchemy's types that can be encrypted, with what is known about each.

:data:`INNER_TYPES` is the only list of them, so a new type is added only there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

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
    """Longest plaintext in bytes of a value of type `inner`; ``None`` if there is no limit.

    :raises DeclarationError: as :func:`codec_for`.
    """
    return codec_for(inner).max_bytes


def _codec(inner: sa.TypeEngine[Any]) -> Codec:
    if isinstance(inner, sa.PickleType):
        raise DeclarationError(
            "PickleType cannot be encrypted: a pickle runs code when it is read and no other "
            "language reads it; use JSON, or a TypeDecorator over JSON or LargeBinary"
        )
    known = inner_type_of(inner)
    if known is not None and inner.__visit_name__ != "SET":  # MySQL's is a String
        return known.codec(inner)
    names = ", ".join(name for known in INNER_TYPES for name in known.names or (known.name,))
    raise DeclarationError(
        f"{type(inner).__name__} cannot be encrypted: its values have no documented plaintext; "
        f"use {names}, ARRAY of these, or a TypeDecorator over one of them"
    )


def _refuse_own_processing(inner: sa.TypeEngine[Any]) -> None:
    """Refuse processing that would be silently skipped: codecs do not run a driver's or
    server's."""
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
    # load_dialect_impl returns a dialect's own type, whose processing is for its driver.
    _refuse_own_processing(inner.impl_instance)
    return DecoratedCodec(inner, _codec)


class KnownType(NamedTuple):
    """What is known about one of SQLAlchemy's types and its subclasses.

    :ivar kind: its class.
    :ivar codec: creates the codec of its values, given a type of that class.
    :ivar names: SQLAlchemy's types of that class that a command may name, since their name, or name
        and numbers, describes them completely.
    :ivar arguments: what distinguishes types of the class. A worker process or migration recreates
        a type from these.
    :ivar takes_several_forms: whether a value may be given in another form than the loaded one,
        such as a UUID as text.
    :ivar is_guessed: whether autogenerate checks if values that the declared type cannot read are
        of this one.
    :ivar others: similar classes of SQLAlchemy that are not subclasses.
    """

    kind: type[Any]
    codec: Callable[[Any], Codec]
    names: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    takes_several_forms: bool = False
    is_guessed: bool = True
    others: tuple[type[Any], ...] = ()

    @property
    def name(self) -> str:
        """The class's name."""
        return self.kind.__name__


INNER_TYPES = (
    KnownType(sa.Boolean, lambda _: BooleanCodec(), ("Boolean",)),
    KnownType(sa.Integer, lambda _: IntegerCodec(), ("Integer", "SmallInteger")),
    KnownType(sa.BigInteger, lambda _: IntegerCodec(), ("BigInteger",), is_guessed=False),
    KnownType(
        sa.Numeric,
        _numeric,
        ("Numeric",),
        ("precision", "scale", "asdecimal"),
        takes_several_forms=True,
    ),
    KnownType(
        sa.Float,
        _float,
        ("Float", "Double"),
        ("precision", "asdecimal", "decimal_return_scale"),
        takes_several_forms=True,
        is_guessed=False,
    ),
    KnownType(sa.Date, lambda _: DateCodec(), ("Date",), takes_several_forms=True),
    KnownType(
        sa.DateTime,
        lambda _: DateTimeCodec(),
        ("DateTime",),
        ("timezone",),
        takes_several_forms=True,
    ),
    KnownType(sa.Time, lambda _: TimeCodec(), ("Time",), ("timezone",)),
    KnownType(
        sa.Interval,
        lambda _: IntervalCodec(),
        ("Interval",),
        others=(internals.ANY_INTERVAL,),
    ),
    KnownType(sa.Uuid, _uuid, ("Uuid",), ("as_uuid",), takes_several_forms=True),
    KnownType(
        sa.Enum,
        _enum,
        arguments=("enums", "name"),
        takes_several_forms=True,
        is_guessed=False,
    ),
    KnownType(sa.JSON, lambda _: JsonCodec(), ("JSON",)),
    KnownType(sa.String, _text, ("String", "Text", "Unicode"), ("length",)),
    KnownType(
        sa.LargeBinary,
        _binary,
        ("LargeBinary",),
        ("length",),
        others=(internals.ANY_BINARY,),
    ),
)
"""The types with values of their own, from the one that reads the fewest plaintexts to the one that
reads all, the order in which autogenerate tries them."""

OF_OTHERS = (KnownType(sa.ARRAY, _array), KnownType(sa.TypeDecorator, _decorated))
"""The types whose values are of another type."""

_BY_CLASS = {
    kind: known for known in (*INNER_TYPES, *OF_OTHERS) for kind in (known.kind, *known.others)
}


def inner_type_of(type_: sa.TypeEngine[Any]) -> KnownType | None:
    """What is known about a type, by the nearest class in the table: in SQLAlchemy, Enum is a
    String and Interval a TypeDecorator."""
    return next((_BY_CLASS[kind] for kind in type(type_).__mro__ if kind in _BY_CLASS), None)
