"""Integer, BigInteger, SmallInteger and their SQL names: decimal digits."""

from __future__ import annotations

from typing import ClassVar

from sqlalchemy.engine.interfaces import Dialect

from encfields.codecs.base import JsonForm, KeepsValues, out_of_range, undecodable, wrong_type

MIN_INTEGER = -(2**63)
"""Least value of any database's integer column."""

MAX_INTEGER = 2**64 - 1
"""Greatest value of any database's integer column (MariaDB's unsigned BIGINT)."""


class IntegerCodec(KeepsValues):
    """Decimal digits in ASCII, a minus sign where negative, no plus sign, no leading zero.

    All integer types share one range, so that widening a column later changes no stored text.
    """

    __slots__ = ("max_bytes",)
    json_form: ClassVar[JsonForm] = JsonForm.NATIVE

    def __init__(self) -> None:
        self.max_bytes: int | None = 20

    def encode(self, value: object, dialect: Dialect) -> bytes:
        if not isinstance(value, int) or isinstance(value, bool):
            raise wrong_type("an int", value)
        if not MIN_INTEGER <= value <= MAX_INTEGER:
            raise out_of_range("the integer is below -2**63 or above 2**64 - 1")
        # %-formatting, because an int subclass (an IntEnum) may have a text of its own.
        return b"%d" % value

    def decode(self, data: bytes, dialect: Dialect) -> object:
        try:
            value = int(data)
            if b"%d" % value == data:
                return value
        except ValueError:
            pass
        raise undecodable("a decimal integer")
