"""Strings, bytes and UUIDs.

Strings (String, Text, Unicode and their SQL names) are UTF-8, bytes are unchanged, and UUIDs are
lower-case and hyphenated.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import ClassVar, cast

from sqlalchemy.engine.interfaces import Dialect

from encfields.codecs.base import (
    JsonForm,
    KeepsValues,
    not_unicode,
    out_of_range,
    undecodable,
    wrong_type,
)
from encfields.errors import ValueEncodingError

# Unbound on purpose: a str subclass may override the method, and any other type is a TypeError.
_utf8 = cast(Callable[[object], bytes], str.encode)


def encode_utf8(value: object) -> bytes:
    """UTF-8 of a string.

    :raises ValueEncodingError: not a string, or it holds a lone surrogate.
    """
    try:
        return _utf8(value)
    except (TypeError, UnicodeEncodeError):
        pass
    raise _no_utf8(value)


def _no_utf8(value: object) -> ValueEncodingError:
    return not_unicode() if isinstance(value, str) else wrong_type("a str", value)


class TextCodec(KeepsValues):
    """UTF-8 without trimming, padding or normalisation.

    :param length: longest string in characters, as the column declares it, or ``None``. The
        database cannot enforce it on ciphertext, so the codec does.
    """

    __slots__ = ("_length", "max_bytes")
    json_form: ClassVar[JsonForm] = JsonForm.TEXT

    def __init__(self, length: int | None) -> None:
        self._length = length
        self.max_bytes = None if length is None else 4 * length

    def encode(self, value: object, dialect: Dialect) -> bytes:
        try:
            # encode_utf8() once more, without a call: most values are text.
            data = _utf8(value)
        except (TypeError, UnicodeEncodeError):
            data = None
        if data is None:
            raise _no_utf8(value)
        # Only a text with more bytes than the limit can have more characters.
        if self._length is not None and len(data) > self._length:
            characters = len(data.decode())
            if characters > self._length:
                raise out_of_range(
                    f"the string has {characters} characters; the column holds {self._length}"
                )
        return data

    encode_asked = encode

    def decode(self, data: bytes, dialect: Dialect) -> object:
        try:
            return data.decode()
        except UnicodeDecodeError:
            pass
        raise undecodable("UTF-8 text")


class BinaryCodec(KeepsValues):
    """The bytes themselves; ``bytearray`` and ``memoryview`` are accepted and copied.

    :param length: longest value in bytes, as the column declares it, or ``None``. The database
        cannot enforce it on ciphertext, so the codec does.
    """

    __slots__ = ("max_bytes",)
    json_form: ClassVar[JsonForm] = JsonForm.HEX

    def __init__(self, length: int | None) -> None:
        self.max_bytes = length

    def encode(self, value: object, dialect: Dialect) -> bytes:
        if not isinstance(value, (bytes, bytearray, memoryview)):
            raise wrong_type("bytes, a bytearray or a memoryview", value)
        data = bytes(value)
        if self.max_bytes is not None and len(data) > self.max_bytes:
            raise out_of_range(
                f"the value has {len(data)} bytes; the column holds {self.max_bytes}"
            )
        return data

    def decode(self, data: bytes, dialect: Dialect) -> object:
        return data


class UuidCodec(KeepsValues):
    """36 characters: lower-case hexadecimal digits in groups of 8, 4, 4, 4 and 12.

    A ``UUID`` and any text that ``uuid.UUID`` reads are accepted.

    :param as_uuid: whether `decode` returns a ``UUID`` or the text.
    """

    __slots__ = ("_as_uuid", "max_bytes")
    json_form: ClassVar[JsonForm] = JsonForm.TEXT

    def __init__(self, as_uuid: bool) -> None:
        self._as_uuid = as_uuid
        self.max_bytes: int | None = 36

    def encode(self, value: object, dialect: Dialect) -> bytes:
        if isinstance(value, uuid.UUID):
            return uuid.UUID.__str__(value).encode("ascii")
        if not isinstance(value, str):
            raise wrong_type("a UUID or its text", value)
        try:
            return str(uuid.UUID(value)).encode("ascii")
        except ValueError:
            pass
        raise out_of_range("the string is not a UUID")

    def decode(self, data: bytes, dialect: Dialect) -> object:
        try:
            text = data.decode("ascii")
            value = uuid.UUID(text)
            if str(value) == text:
                return value if self._as_uuid else text
        except ValueError:
            pass
        raise undecodable("a lower-case hyphenated UUID")
