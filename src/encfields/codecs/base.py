"""What a codec is, and how it refuses a value without repeating it.

A lower exception (``UnicodeEncodeError``, ``InvalidOperation``, whatever a user's own type
raises) can hold the value. Codecs therefore leave the ``except`` block before they raise, so
that not even ``__context__`` of the error keeps the lower exception alive.
"""

from __future__ import annotations

import enum
from typing import Any, ClassVar, Protocol

from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.types import JSON, TypeDecorator, TypeEngine

from encfields.errors import ValueDecodingError, ValueEncodingError


class JsonForm(enum.Enum):
    """How a plaintext stands as an item of a JSON array."""

    TEXT = "text"
    """As a string."""

    NATIVE = "native"
    """As it is: a number, ``true`` or ``false``. A text that is no JSON (NaN) is a string."""

    ANY = "any"
    """As it is: any JSON value, an array included."""

    HEX = "hex"
    """As a string of lower-case hexadecimal digits."""


class Equality(enum.Enum):
    """When two values are equal whose plaintexts are not."""

    PLAINTEXT = "plaintext"
    """Never."""

    NUMBER = "number"
    """``1.5`` and ``1.50``, ``0.0`` and ``-0.0``."""

    INSTANT = "instant"
    """One moment in two time zones."""


class Codec(Protocol):
    """Turns a Python value into its canonical plaintext bytes, and back.

    The canonical text of every type is in the table of :mod:`encfields.codecs`.
    """

    max_bytes: int | None
    """Longest plaintext in bytes that `encode` returns, or ``None`` where there is no bound."""

    json_form: ClassVar[JsonForm]
    """How the plaintext stands as an item of an array."""

    @property
    def equality(self) -> Equality:
        """When two values are equal whose plaintexts are not."""
        ...

    def encode(self, value: object, dialect: Dialect) -> bytes:
        """The canonical plaintext of `value`, which is ``None`` for JSON alone.

        :param dialect: the database's, whose serializers of JSON are used.
        :raises ValueEncodingError: the value is of another type, or out of range.
        """
        ...

    def encode_asked(self, value: object, dialect: Dialect) -> bytes:
        """The plaintext of the stored values that equal `value`, which is looked up.

        :raises ValueEncodingError: as `encode`; and for a value that `encode` would round, since
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
    """A codec that writes each value as it is, so that a value is asked for as it is stored."""

    __slots__ = ()
    equality = Equality.PLAINTEXT

    def encode(self, value: object, dialect: Dialect) -> bytes:
        """As :meth:`Codec.encode`."""
        raise NotImplementedError

    def encode_asked(self, value: object, dialect: Dialect) -> bytes:
        """As :meth:`Codec.encode_asked`."""
        return self.encode(value, dialect)


def wrong_type(expected: str, value: object) -> ValueEncodingError:
    """The refusal of a value by its type: names both types, never the value."""
    return ValueEncodingError(
        f"the column takes {expected}, not {type(value).__name__}; nothing was stored",
        reason="type",
    )


def out_of_range(message: str) -> ValueEncodingError:
    """The refusal of a value of the right type that the column cannot hold."""
    return ValueEncodingError(f"{message}; nothing was stored", reason="range")


def not_unicode() -> ValueEncodingError:
    """The refusal of a string that has no UTF-8 form."""
    return ValueEncodingError(
        "the string is not valid Unicode (it holds a lone surrogate) and has no UTF-8 form; "
        "nothing was stored",
        reason="unicode",
    )


def undecodable(expected: str) -> ValueDecodingError:
    """The refusal of a plaintext: says what it should have been, never what it is."""
    return ValueDecodingError(
        f"the message is authentic, but its plaintext is not {expected}; it was written under "
        "another column type, or by another program. Declare the type that wrote it, or convert "
        "the values with op.convert_encrypted() (Alembic's autogenerate lists the steps)",
        reason="plaintext",
    )


class BecomesNullError(ValueEncodingError):
    """A TypeDecorator's ``process_bind_param`` made NULL of a value: that is what is stored."""


def processes_binds(inner: TypeDecorator[Any]) -> bool:
    """Whether a TypeDecorator defines ``process_bind_param``."""
    return type(inner).process_bind_param is not TypeDecorator.process_bind_param


def none_is_value(inner: TypeEngine[Any]) -> bool:
    """Whether ``None`` is a value to the type, and not NULL.

    So it is to SQLAlchemy's JSON unless it has ``none_as_null=True``, to a TypeDecorator whose
    ``process_bind_param`` makes something of it, and to what decorates either.
    """
    stored: Any = inner
    while isinstance(stored, TypeDecorator):
        if processes_binds(stored) and _bound_none(stored) is not None:
            return True
        stored = stored.impl_instance
    return isinstance(stored, JSON) and not stored.none_as_null


def _bound_none(inner: TypeDecorator[Any]) -> object:
    """What a TypeDecorator stores for ``None``; one that does not expect it stores NULL."""
    try:
        bound: object = inner.process_bind_param(None, DefaultDialect())
    except Exception:
        return None
    return bound
