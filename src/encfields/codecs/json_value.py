"""JSON: compact UTF-8."""

from __future__ import annotations

import json
from typing import ClassVar, NoReturn

from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.types import JSON

from encfields.codecs.base import JsonForm, KeepsValues, not_unicode, undecodable
from encfields.errors import ValueEncodingError
from encfields.orm import internals


class _NoJsonForm(Exception):
    """Contains the name of the type that has no JSON form, but not the value."""


def _no_json_form(value: object) -> NoReturn:
    raise _NoJsonForm(type(value).__name__)


def _no_constant(_: str) -> NoReturn:
    raise ValueError("NaN and the infinities are not JSON")


_ENCODER = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_no_json_form
)

_DECODER = json.JSONDecoder(parse_constant=_no_constant)


def dump_json(value: object) -> bytes:
    """RFC 8259 text of `value`: no white space, keys in the order given, only necessary escapes.

    :raises ValueEncodingError: it holds a type without a JSON form, NaN, an infinity, a lone
        surrogate, or itself.
    """
    try:
        return _ENCODER.encode(value).encode()
    except _NoJsonForm as error:
        problem = f"it holds a {error.args[0]}"
    except UnicodeEncodeError:
        problem = ""
    except Exception:  # ValueError, TypeError, RecursionError, or a subclass's own method
        problem = "it holds NaN, an infinity, a key that is not a string, or itself"
    raise no_json(value, problem) if problem else not_unicode()


def load_json(data: bytes) -> object:
    """The value of an RFC 8259 text.

    :raises ValueDecodingError: it is not one.
    """
    try:
        return _DECODER.decode(data.decode())
    except (ValueError, RecursionError):
        pass
    raise undecodable("JSON")


def no_json(value: object, problem: str) -> ValueEncodingError:
    """The error for a value that has no JSON form."""
    return ValueEncodingError(
        f"the {type(value).__name__} has no JSON form: {problem}; nothing was stored",
        reason="json",
    )


class JsonCodec(KeepsValues):
    """JSON text; ``None`` and ``JSON.NULL`` are ``null``, which is returned as ``None``.

    An engine's own ``json_serializer`` and ``json_deserializer`` are used if it has them, and
    determine the text.
    """

    __slots__ = ("max_bytes",)
    json_form: ClassVar[JsonForm] = JsonForm.ANY

    def __init__(self) -> None:
        self.max_bytes: int | None = None

    def encode(self, value: object, dialect: Dialect) -> bytes:
        if value is JSON.NULL:
            return b"null"
        serializer = internals.json_serializer(dialect)
        if serializer is None:
            return dump_json(value)
        try:
            text = serializer(value)
            return text if isinstance(text, bytes) else str.encode(text)
        except UnicodeEncodeError:
            problem = ""
        except Exception as error:
            problem = f"the engine's json_serializer raised {type(error).__name__}"
        raise no_json(value, problem) if problem else not_unicode()

    def decode(self, data: bytes, dialect: Dialect) -> object:
        deserializer = internals.json_deserializer(dialect)
        if deserializer is None:
            return load_json(data)
        try:
            value: object = deserializer(data.decode())
            return value
        except Exception as error:
            failure = type(error).__name__
        raise undecodable(f"JSON that the engine's json_deserializer reads ({failure})")
