"""LargeBinary and its SQL names: the bytes as they are."""

from __future__ import annotations

from typing import ClassVar

from sqlalchemy.engine.interfaces import Dialect

from encfields.codecs.base import JsonForm, KeepsValues, out_of_range, wrong_type


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
