"""An application's TypeDecorator: its processing, with the codec of the type it decorates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

from encfields.codecs.base import (
    BecomesNullError,
    Codec,
    Equality,
    JsonForm,
    none_is_value,
    processes_binds,
)
from encfields.codecs.temporal import conversion
from encfields.errors import DeclarationError, ValueDecodingError, ValueEncodingError


class DecoratedCodec:
    """Applies ``process_bind_param`` before the decorated type's codec, and
    ``process_result_value`` after.

    The decorated type is the one that ``load_dialect_impl`` returns for the dialect, since
    ``process_bind_param`` prepares values for that. A type that returns different ones for two
    dialects has two plaintext forms.

    :param inner: the declared type.
    :param codec_for: returns the codec of a type.
    :raises DeclarationError: the decorated type cannot be encrypted.
    """

    __slots__ = (
        "_by_dialect",
        "_codec_for",
        "_inner",
        "_processes_binds",
        "_processes_results",
        "_takes_none",
        "max_bytes",
    )
    json_form: ClassVar[JsonForm] = JsonForm.TEXT

    def __init__(
        self, inner: TypeDecorator[Any], codec_for: Callable[[TypeEngine[Any]], Codec]
    ) -> None:
        cls = type(inner)
        self._inner = inner
        self._codec_for = codec_for
        self._takes_none = none_is_value(inner.impl_instance)
        self._by_dialect: WeakKeyDictionary[Dialect, Codec] = WeakKeyDictionary()
        self._processes_binds = processes_binds(inner)
        self._processes_results = cls.process_result_value is not TypeDecorator.process_result_value
        self.max_bytes: int | None = None
        if cls.load_dialect_impl is TypeDecorator.load_dialect_impl:
            self.max_bytes = codec_for(inner.impl_instance).max_bytes

    def __reduce__(self) -> tuple[Any, ...]:
        return DecoratedCodec, (self._inner, self._codec_for)

    def encode(self, value: object, dialect: Dialect) -> bytes:
        return self.impl(dialect).encode(self._bound(value, dialect), dialect)

    def encode_asked(self, value: object, dialect: Dialect) -> bytes:
        impl, bound = self.impl(dialect), self._bound(value, dialect)
        # SQLAlchemy gives every bind that is compared with it the application's type.
        converted = conversion(type(impl), dialect, in_rows=False)
        return impl.encode_asked(converted(bound) if converted else bound, dialect)

    @property
    def equality(self) -> Equality:
        """The equality of the decorated type, whichever type the dialect uses instead."""
        try:
            return self._codec_for(self._inner.impl_instance).equality
        except DeclarationError:  # a placeholder for the dialect's type
            return Equality.PLAINTEXT

    def _bound(self, value: object, dialect: Dialect) -> object:
        """The result of ``process_bind_param`` for a value.

        :raises BecomesNullError: NULL.
        """
        if self._processes_binds:
            value = self._bind(value, dialect)
        if value is None and not self._stores_none(dialect):
            raise BecomesNullError(
                f"process_bind_param of {type(self._inner).__name__} returned None for a value, "
                "where NULL cannot be stored; nothing was stored",
                reason="null",
            )
        return value

    def _stores_none(self, dialect: Dialect) -> bool:
        """Whether ``None`` is a value of the decorated type.

        A type that decorates JSON may decorate another one on `dialect`, such as ARRAY, of which
        ``None`` is NULL.
        """
        return self._takes_none and none_is_value(self._inner.load_dialect_impl(dialect))

    def decode(self, data: bytes, dialect: Dialect) -> object:
        value = self.impl(dialect).decode(data, dialect)
        return self._result(value, dialect) if self._processes_results else value

    def of_null(self, dialect: Dialect) -> object:
        """The result of ``process_result_value`` for NULL.

        :raises ValueDecodingError: it raised an exception.
        """
        value = null_value(self.impl(dialect), dialect)
        return self._result(value, dialect) if self._processes_results else value

    def _bind(self, value: object, dialect: Dialect) -> object:
        try:
            bound: object = self._inner.process_bind_param(value, dialect)
            return bound
        except Exception as error:
            failure = type(error).__name__
        raise ValueEncodingError(
            f"process_bind_param of {type(self._inner).__name__} raised {failure} for a value of "
            f"type {type(value).__name__}; nothing was stored",
            reason="type-decorator",
        )

    def _result(self, value: object, dialect: Dialect) -> object:
        try:
            result: object = self._inner.process_result_value(value, dialect)
            return result
        except Exception as error:
            failure = type(error).__name__
        raise ValueDecodingError(
            f"the message is authentic, but process_result_value of {type(self._inner).__name__} "
            f"raised {failure}",
            reason="type-decorator",
        )

    def impl(self, dialect: Dialect) -> Codec:
        """Codec of the decorated type on `dialect`."""
        codec = self._by_dialect.get(dialect)
        if codec is None:
            impl = self._inner.load_dialect_impl(dialect)
            if impl is self._inner:
                raise DeclarationError(f"{type(self._inner).__name__} decorates itself")
            codec = self._by_dialect[dialect] = self._codec_for(impl)
        return codec


def null_value(codec: Codec, dialect: Dialect) -> object:
    """NULL as a Python value: ``None``, or what an application's type converts it to."""
    return codec.of_null(dialect) if isinstance(codec, DecoratedCodec) else None
