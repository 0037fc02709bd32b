"""Boolean: ``true`` or ``false``."""

from __future__ import annotations

from typing import ClassVar

from sqlalchemy.engine.interfaces import Dialect

from encfields.codecs.base import JsonForm, KeepsValues, undecodable, wrong_type


class BooleanCodec(KeepsValues):
    """``true`` or ``false``; the integers 0 and 1 are accepted, as SQLAlchemy does."""

    __slots__ = ("max_bytes",)
    json_form: ClassVar[JsonForm] = JsonForm.NATIVE

    def __init__(self) -> None:
        self.max_bytes: int | None = 5

    def encode(self, value: object, dialect: Dialect) -> bytes:
        if isinstance(value, int) and value in (0, 1):
            return b"true" if value else b"false"
        raise wrong_type("a bool, 0 or 1", value)

    def decode(self, data: bytes, dialect: Dialect) -> object:
        if data == b"true":
            return True
        if data == b"false":
            return False
        raise undecodable("true or false")
