"""Uuid and its SQL names: lower-case, hyphenated."""

from __future__ import annotations

import uuid
from typing import ClassVar

from sqlalchemy.engine.interfaces import Dialect

from encfields.codecs.base import JsonForm, KeepsValues, out_of_range, undecodable, wrong_type


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
        raise out_of_range("the string is not the text of a UUID")

    def decode(self, data: bytes, dialect: Dialect) -> object:
        try:
            text = data.decode("ascii")
            value = uuid.UUID(text)
            if str(value) == text:
                return value if self._as_uuid else text
        except ValueError:
            pass
        raise undecodable("a lower-case hyphenated UUID")
