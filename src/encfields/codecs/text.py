"""String, Text, Unicode and their SQL names: UTF-8."""

from __future__ import annotations

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

# Unbound on purpose: a str subclass may override the method, and another type is a TypeError.
_utf8 = cast(Callable[[object], bytes], str.encode)


def encode_utf8(value: object) -> bytes:
    """UTF-8 of a string.

    :raises ValueEncodingError: not a string, or it holds a lone surrogate.
    """
    try:
        return _utf8(value)
    except (TypeError, UnicodeEncodeError):
        pass
    raise not_unicode() if isinstance(value, str) else wrong_type("a str", value)


class TextCodec(KeepsValues):
    """UTF-8, nothing trimmed, padded or normalised.

    :param length: longest string in characters, as the column declares it, or ``None``. The
        database cannot enforce it on ciphertext, so the codec does.
    """

    __slots__ = ("_length", "max_bytes")
    json_form: ClassVar[JsonForm] = JsonForm.TEXT

    def __init__(self, length: int | None) -> None:
        self._length = length
        self.max_bytes = None if length is None else 4 * length

    def encode(self, value: object, dialect: Dialect) -> bytes:
        data = encode_utf8(value)
        # Only a text of more bytes than the limit can have more characters than it.
        if self._length is not None and len(data) > self._length:
            characters = len(data.decode())
            if characters > self._length:
                raise out_of_range(
                    f"the string has {characters} characters; the column holds {self._length}"
                )
        return data

    def decode(self, data: bytes, dialect: Dialect) -> object:
        try:
            return data.decode()
        except UnicodeDecodeError:
            pass
        raise undecodable("UTF-8 text")
