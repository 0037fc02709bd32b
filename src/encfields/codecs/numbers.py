"""Numbers and truth values: Integer, Float, Numeric, Boolean and their SQL names.

Integers are decimal digits, floats the shortest text that reads back as the same double, decimals
exact text that is rounded as the database would have, booleans ``true`` or ``false``.
"""

from __future__ import annotations

import math
import re
from decimal import ROUND_HALF_UP, Context, Decimal
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

_DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?")

MAX_DIGITS_BEFORE_POINT = 131_072
"""PostgreSQL's limit for an undeclared ``numeric``; it also limits the text's size."""

MAX_DIGITS_AFTER_POINT = 16_383
"""PostgreSQL's limit for an undeclared ``numeric``."""

# The thread's own context would round to 28 digits.
_EXACT = Context(prec=MAX_DIGITS_BEFORE_POINT + MAX_DIGITS_AFTER_POINT, rounding=ROUND_HALF_UP)


class NumericCodec:
    """Decimal digits with a point, never an exponent, and never a negative zero.

    A bool is the number that it equals, except on PostgreSQL with a driver that refuses it.
    With a scale the value is rounded half away from zero to it, and padded to it, as PostgreSQL
    and MariaDB do in ``NUMERIC(precision, scale)``. A precision without a scale means scale 0,
    as in SQL. Without either, the value's own digits are kept. Decoding applies no scale: a value
    written before the declaration changed is returned as it was written.

    :param precision: number of significant digits, or ``None`` for no limit.
    :param scale: number of digits after the point, or ``None``.
    :param asdecimal: whether `decode` returns a ``Decimal`` or a ``float``.
    """

    __slots__ = ("_asdecimal", "_precision", "_scale", "max_bytes")
    json_form: ClassVar[JsonForm] = JsonForm.TEXT
    equality = Equality.NUMBER

    def __init__(self, precision: int | None, scale: int | None, asdecimal: bool) -> None:
        self._precision = precision
        self._scale = 0 if scale is None and precision is not None else scale
        self._asdecimal = asdecimal
        self.max_bytes: int | None = None
        if precision is not None:
            scale = self._scale or 0
            # a sign, a point and a zero before it
            self.max_bytes = max(precision, scale, precision - scale) + 3

    def encode(self, value: object, dialect: Dialect) -> bytes:
        return _digits(self._fit(as_decimal(_number(value, dialect))))

    def encode_asked(self, value: object, dialect: Dialect) -> bytes:
        number = as_decimal(_number(value, dialect))
        stored = self._fit(number)
        if stored != number:
            raise out_of_range("the number has more digits after the point than the column keeps")
        return _digits(stored)

    def _fit(self, number: Decimal) -> Decimal:
        """`number` at the column's scale, refused if the column has too few digits."""
        if self._scale is not None:
            number = number.quantize(Decimal((0, (1,), -self._scale)), context=_EXACT)
        if self._precision is not None and number:
            before = self._precision - (self._scale or 0)
            if number.adjusted() >= before:
                raise out_of_range(
                    f"the number has more digits than Numeric({self._precision}, {self._scale}) "
                    "holds"
                )
        return number

    def decode(self, data: bytes, dialect: Dialect) -> object:
        try:
            text = data.decode("ascii")
            if _DECIMAL.fullmatch(text):
                return Decimal(text) if self._asdecimal else float(text)
        except UnicodeDecodeError:
            pass
        raise undecodable("a decimal number")


def _digits(number: Decimal) -> bytes:
    """Never an exponent, and never a negative zero."""
    return format(number if number else number.copy_abs(), "f").encode("ascii")


def _number(value: object, dialect: Dialect) -> object:
    """A bool as the number that a plain column stores for it.

    PostgreSQL has no cast from boolean to a number with a fraction, which of its drivers only
    asyncpg does without.
    """
    if isinstance(value, bool) and (dialect.name != "postgresql" or dialect.driver == "asyncpg"):
        return int(value)
    return value


def as_decimal(value: object) -> Decimal:
    """A Decimal, int or float as a Decimal, a float by its shortest exact text.

    :raises ValueEncodingError: of another type, NaN, infinite, or of too many digits.
    """
    if isinstance(value, Decimal):
        number = value
    elif isinstance(value, bool) or not isinstance(value, (int, float)):
        raise wrong_type("a Decimal, an int or a float", value)
    elif isinstance(value, float):
        number = Decimal(float.__repr__(value))
    else:
        number = Decimal(value)
    if not number.is_finite():
        raise out_of_range("NaN and the infinities are not numbers that Numeric holds")
    exponent = number.as_tuple().exponent
    if number.adjusted() >= MAX_DIGITS_BEFORE_POINT or (
        isinstance(exponent, int) and -exponent > MAX_DIGITS_AFTER_POINT
    ):
        raise out_of_range(
            f"the number has more than {MAX_DIGITS_BEFORE_POINT} digits before the point "
            f"or {MAX_DIGITS_AFTER_POINT} after it"
        )
    return number


class BooleanCodec(KeepsValues):
    """``true`` or ``false``; the numbers 0 and 1 are accepted, as SQLAlchemy does."""

    __slots__ = ("max_bytes",)
    json_form: ClassVar[JsonForm] = JsonForm.NATIVE

    def __init__(self) -> None:
        self.max_bytes: int | None = 5

    def encode(self, value: object, dialect: Dialect) -> bytes:
        if isinstance(value, int | float | Decimal) and value in (0, 1):
            return b"true" if value else b"false"
        raise wrong_type("a bool, 0 or 1", value)

    def decode(self, data: bytes, dialect: Dialect) -> object:
        if data == b"true":
            return True
        if data == b"false":
            return False
        raise undecodable("true or false")


MIN_INTEGER = -(2**63)
"""Smallest value of any database's integer column."""

MAX_INTEGER = 2**64 - 1
"""Largest value of any database's integer column (MariaDB's unsigned BIGINT)."""


_DIGITS = 20
"""Length of the longest text."""


class IntegerCodec(KeepsValues):
    """Decimal digits in ASCII, a minus sign where negative, no plus sign, no leading zero.

    All integer types share one range, so that widening a column later changes no stored text.
    A bool, and a float or Decimal without a fraction, are converted to the integer that they equal.
    """

    __slots__ = ("max_bytes",)
    json_form: ClassVar[JsonForm] = JsonForm.NATIVE

    def __init__(self) -> None:
        self.max_bytes: int | None = 20

    def encode(self, value: object, dialect: Dialect) -> bytes:
        if isinstance(value, float | Decimal):
            value = _whole(value)
        if not isinstance(value, int):
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


def _whole(value: float | Decimal) -> int:
    """The integer that a float or Decimal equals: of a float beyond 2**53, its shortest text says
    another one."""
    number = as_decimal(value)
    if isinstance(value, float) and value.is_integer():
        number = Decimal(value)
    if number.adjusted() >= _DIGITS or number != number.to_integral_value(context=_EXACT):
        raise out_of_range("the number is not an integer that the column holds")
    return int(number)


_FINITE = re.compile(rb"-?[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?")

_SPECIAL = {b"NaN": math.nan, b"Infinity": math.inf, b"-Infinity": -math.inf}

DEFAULT_RETURN_SCALE = 10
"""Digits after the point in SQLAlchemy for a Float with ``asdecimal`` and no scale."""


class FloatCodec(KeepsValues):
    """Python's ``repr`` of a double, or ``NaN``, ``Infinity``, ``-Infinity``.

    NaN and the infinities are kept, since a PostgreSQL ``double precision`` can store them. ``int``
    and ``Decimal`` are accepted and rounded to the nearest double, as in a plain column; a bool as
    in :class:`NumericCodec`.

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
        number = as_double(_number(value, dialect))
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
