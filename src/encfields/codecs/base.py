"""The protocol of codecs, and their errors, which never show a value.

An underlying exception (``UnicodeEncodeError``, ``InvalidOperation``, or one from an application's
type) can hold the value. Codecs therefore leave the ``except`` block before they raise, so that not
even the error's ``__context__`` keeps it alive.
"""

from __future__ import annotations

import enum
from typing import Any, ClassVar, Protocol

from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.types import JSON, TypeDecorator, TypeEngine

from encfields.errors import ValueDecodingError, ValueEncodingError


class JsonForm(enum.Enum):
    """How a plaintext is written as an item of a JSON array."""

    TEXT = "text"
    """As a string."""

    NATIVE = "native"
    """Unchanged: a number, ``true`` or ``false``. A text that is not JSON (NaN) is a string."""

    ANY = "any"
    """Unchanged: any JSON value, including an array."""

    HEX = "hex"
    """As a string of lower-case hexadecimal digits."""


class Equality(enum.Enum):
    """When two values are equal although their plaintexts differ."""

    PLAINTEXT = "plaintext"
    """Never."""

    NUMBER = "number"
    """``1.5`` and ``1.50``, ``0.0`` and ``-0.0``."""

    INSTANT = "instant"
    """The same moment in different time zones."""


class Codec(Protocol):
    """Converts a Python value to its canonical plaintext bytes, and back.

    The canonical text of every type is in the table of :mod:`encfields.codecs`.
    """

    max_bytes: int | None
    """Longest plaintext in bytes that `encode` returns; ``None`` if there is no limit."""

    json_form: ClassVar[JsonForm]
    """How the plaintext is written as an item of an array."""

    @property
    def equality(self) -> Equality:
        """When two values are equal although their plaintexts differ."""
        ...

    def encode(self, value: object, dialect: Dialect) -> bytes:
        """The canonical plaintext of `value`, which may be ``None`` only for JSON.

        :param dialect: the database's, whose serializers of JSON are used.
        :raises ValueEncodingError: the value is of another type, or out of range.
        """
        ...

    def encode_asked(self, value: object, dialect: Dialect) -> bytes:
        """The plaintext of the stored values that equal the looked-up `value`.

        :raises ValueEncodingError: as `encode`; also for a value that `encode` would round, since
            no stored value equals it.
        """
        ...

    def decode(self, data: bytes, dialect: Dialect) -> object:
        """The value whose canonical plaintext is `data`.

        :param dialect: the database's, whose serializers of JSON are used.
        :raises ValueDecodingError: `data` is not what `encode` writes.
        """
        ...


class KeepsValues:
    """A codec that never rounds, so that a value is looked up as it is stored."""

    __slots__ = ()
    equality = Equality.PLAINTEXT

    def encode(self, value: object, dialect: Dialect) -> bytes:
        """As :meth:`Codec.encode`."""
        raise NotImplementedError

    def encode_asked(self, value: object, dialect: Dialect) -> bytes:
        """As :meth:`Codec.encode_asked`."""
        return self.encode(value, dialect)


def wrong_type(expected: str, value: object) -> ValueEncodingError:
    """The error for a value of the wrong type: names both types, never the value."""
    return ValueEncodingError(
        f"the column takes {expected}, not {type(value).__name__}; nothing was stored",
        reason="type",
    )


def out_of_range(message: str) -> ValueEncodingError:
    """The error for a value of the right type that the column cannot hold."""
    return ValueEncodingError(f"{message}; nothing was stored", reason="range")


def not_unicode() -> ValueEncodingError:
    """The error for a string that has no UTF-8 form."""
    return ValueEncodingError(
        "the string is not valid Unicode (it holds a lone surrogate) and has no UTF-8 form; "
        "nothing was stored",
        reason="unicode",
    )


def undecodable(expected: str) -> ValueDecodingError:
    """The error for a plaintext that does not decode: says what it should be, never what it is."""
    return ValueDecodingError(
        f"the message is authentic, but its plaintext is not {expected}; it was written under "
        "another column type, or by another program. Declare the type that wrote it, or convert "
        "the values with op.convert_encrypted() (Alembic's autogenerate lists the steps)",
        reason="plaintext",
    )


class BecomesNullError(ValueEncodingError):
    """A TypeDecorator's ``process_bind_param`` converted a value to NULL, which is what is
    stored."""


def processes_binds(inner: TypeDecorator[Any]) -> bool:
    """Whether a TypeDecorator defines ``process_bind_param``."""
    return type(inner).process_bind_param is not TypeDecorator.process_bind_param


def none_is_value(inner: TypeEngine[Any]) -> bool:
    """Whether ``None`` is a value of the type, and not NULL.

    It is for SQLAlchemy's JSON without ``none_as_null=True``, for a TypeDecorator whose
    ``process_bind_param`` converts it, and for types that decorate either.
    """
    stored: Any = inner
    while isinstance(stored, TypeDecorator):
        if processes_binds(stored) and _bound_none(stored) is not None:
            return True
        stored = stored.impl_instance
    return isinstance(stored, JSON) and not stored.none_as_null


def _bound_none(inner: TypeDecorator[Any]) -> object:
    """What a TypeDecorator stores for ``None``: NULL, if it does not expect it."""
    try:
        bound: object = inner.process_bind_param(None, DefaultDialect())
    except Exception:
        return None
    return bound
