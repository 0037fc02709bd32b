"""Numeric and its SQL names: exact decimal text, rounded as the database would have."""

from __future__ import annotations

import re
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import ClassVar

from sqlalchemy.engine.interfaces import Dialect

from encfields.codecs.base import Equality, JsonForm, out_of_range, undecodable, wrong_type

_DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?")

MAX_DIGITS_BEFORE_POINT = 131_072
"""PostgreSQL's limit of an undeclared ``numeric``; it also bounds the text's size."""

MAX_DIGITS_AFTER_POINT = 16_383
"""PostgreSQL's limit of an undeclared ``numeric``."""

# The thread's own context would round to 28 digits.
_EXACT = Context(prec=MAX_DIGITS_BEFORE_POINT + MAX_DIGITS_AFTER_POINT, rounding=ROUND_HALF_UP)


class NumericCodec:
    """Decimal digits with a point, never an exponent, and never a negative zero.

    With a scale the value is rounded half away from zero to it, and padded to it, as PostgreSQL
    and MariaDB do in ``NUMERIC(precision, scale)``. A precision without a scale means scale 0,
    as in SQL. Without either, the value's own digits are kept. Decoding applies no scale: what
    was written before a declaration changed is returned as it was written.

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
        return _digits(self._fit(as_decimal(value)))

    def encode_asked(self, value: object, dialect: Dialect) -> bytes:
        number = as_decimal(value)
        stored = self._fit(number)
        if stored != number:
            raise out_of_range("the number has more digits after the point than the column keeps")
        return _digits(stored)

    def _fit(self, number: Decimal) -> Decimal:
        """`number` at the column's scale, refused where the column has too few digits."""
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
