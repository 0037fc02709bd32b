"""Float, Double and their SQL names: the shortest text that reads back as the same double."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import ClassVar

from sqlalchemy.engine.interfaces import Dialect

from encfields.codecs.base import (
    Equality,
    JsonForm,
    KeepsValues,
    out_of_range,
    undecodable,
    wrong_type,
)

_FINITE = re.compile(rb"-?[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?")

_SPECIAL = {b"NaN": math.nan, b"Infinity": math.inf, b"-Infinity": -math.inf}

DEFAULT_RETURN_SCALE = 10
"""Digits after the point that SQLAlchemy gives a Float with ``asdecimal`` and no scale."""


class FloatCodec(KeepsValues):
    """Python's ``repr`` of a double, or ``NaN``, ``Infinity``, ``-Infinity``.

    NaN and the infinities are values of a PostgreSQL ``double precision`` and are kept. ``int``
    and ``Decimal`` are accepted and rounded to the nearest double, as a plain column does.

    :param return_scale: digits after the point of the ``Decimal`` that `decode` returns, or
        ``None`` to return a ``float``.
    """

    __slots__ = ("_return_scale", "max_bytes")
    equality = Equality.NUMBER
    json_form: ClassVar[JsonForm] = JsonForm.NATIVE

    def __init__(self, return_scale: int | None) -> None:
        self._return_scale = return_scale
        self.max_bytes: int | None = 24

    def encode(self, value: object, dialect: Dialect) -> bytes:
        number = as_double(value)
        if math.isfinite(number):
            return float.__repr__(number).encode("ascii")
        if math.isnan(number):
            return b"NaN"
        return b"Infinity" if number > 0 else b"-Infinity"

    def decode(self, data: bytes, dialect: Dialect) -> object:
        number = _SPECIAL.get(data)
        if number is None:
            number = float(data) if _FINITE.fullmatch(data) else math.inf
            if math.isinf(number):
                raise undecodable("a floating-point number")
        if self._return_scale is None:
            return number
        return Decimal(f"{number:.{self._return_scale}f}")


def as_double(value: object) -> float:
    """A float, int or Decimal as a double.

    :raises ValueEncodingError: of another type, or beyond the range of a double.
    """
    if isinstance(value, bool) or not isinstance(value, (float, int, Decimal)):
        raise wrong_type("a float, an int or a Decimal", value)
    try:
        number = float(value)
    except (OverflowError, ValueError):  # a huge int; a signalling NaN
        pass
    else:
        if not math.isinf(number) or _is_infinite(value):
            return number
    raise out_of_range("the number is beyond the range of a double")


def _is_infinite(value: float | Decimal) -> bool:
    return value.is_infinite() if isinstance(value, Decimal) else math.isinf(value)
