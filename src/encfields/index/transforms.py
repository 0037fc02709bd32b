"""The parts of a value that a blind index is made of. Names and results are **frozen**.

=============== ========================================================== ====================
name            normalised value                                           of columns of
=============== ========================================================== ====================
exact           the column's canonical plaintext                           any scalar
number          the same without zeros behind the point, ``-0`` as ``0``   exact, of numbers
instant         ``@`` and the microseconds since 0001-01-01 UTC, where     exact, of datetimes
                there is an offset; else the canonical plaintext
casefold        NFC, full case folding, NFC                                text
digits          the decimal digits of any script, as ASCII                 text
first4          the first 4 characters after NFC (4 is any number from 1)  text
last4           the last 4 characters after NFC                            text
first_letter    the first letter after casefold, or nothing                text
year            the year in four digits                                    dates and datetimes
digits.last4    last4 of what digits leaves                                text
=============== ========================================================== ====================

Text is UTF-8. A character is a Unicode code point. NFC is Unicode's composed form, in which
``é`` is one character however it was typed.

All start from the column's canonical plaintext (:mod:`encfields.codecs`), the very bytes that
are encrypted. An index made again from the decrypted value is therefore the one made when the
value was written, whatever a user's own type makes of values.

An exact index of numbers is one of ``number``, and of datetimes one of ``instant``: what compares
equal (1.5 and 1.50, 0.0 and -0.0, one moment in two time zones) is found by each other, as in a
plain column.

All are **idempotent**: a query may give the whole value or its transformed part (``"6789"`` for
last4, ``1984`` for year), and finds the same rows.

What is promised across Python versions: exact, number, instant and year never change. The others
depend on the Unicode version that Python brings, and Unicode's stability policy keeps the normal
form, the case folding and the decimal value of a character once it is assigned. (Whether it is a
letter, which first_letter asks, is not in that policy; from Python 3.11 to 3.13 it changed for
none.) They differ for characters that a Python version does not know yet: Python 3.11 knows those
of Unicode 14 (2021). If you store newer ones, index them again after upgrading Python.
"""

from __future__ import annotations

import abc
import datetime as dt
import re
import unicodedata
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, cast

from encfields.arguments import kind
from encfields.codecs.base import BecomesNullError
from encfields.errors import DeclarationError, ValueEncodingError

Encode = Callable[[object], bytes]
"""Canonical plaintext of a Python value under the column's type."""


class Transform(abc.ABC):
    """The part of a value to index. Immutable; two transforms with the same name are equal.

    :ivar name: its name, which enters the derivation of the index's key.
    :ivar lossy: whether different values may have the same normalised value.
    """

    __slots__ = ()

    name: str
    lossy: ClassVar[bool] = True

    @abc.abstractmethod
    def accepts(self, python_type: type) -> bool:
        """Whether it supports a column with values of `python_type`.

        :param python_type: of the column's values.
        """

    @abc.abstractmethod
    def apply(self, value: object, encode: Encode) -> bytes:
        """The normalised form of `value`, whole or already transformed; not for ``None``.

        :param value: of the column, not ``None``.
        :param encode: the codec's: gives the canonical plaintext of a value.
        :raises ValueEncodingError: the value is of another type than the column's. The value is
            neither in the error nor in what it was raised from.
        """

    def form(self, encode: Encode) -> Encode:
        """:meth:`apply` as a function of the value alone.

        :param encode: canonical plaintext of a value under the column's type.
        """
        return lambda value: self.apply(value, encode)

    def then(self, other: Transform) -> Transform:
        """This transform followed by `other`: ``digits.then(last(4))``.

        :param other: transforms the result.
        :raises DeclarationError: one of them is not about text, or `other` is casefold.
        """
        given = other.name if isinstance(other, Transform) else kind(other)
        raise DeclarationError(
            f"{self.name}.then({given}): then() takes another transform of text, such as last(4); "
            "exact and year cannot be combined",
            reason="transform",
        )

    def __eq__(self, other: object) -> bool:
        return self.name == other.name if isinstance(other, Transform) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f"<Transform {self.name}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return transform_named, (self.name,)


@dataclass(frozen=True, eq=False, repr=False)
class _Exact(Transform):
    """The canonical plaintext, in the form that equal values share."""

    name: str
    shared_form: Callable[[bytes], bytes]
    lossy: ClassVar[bool] = False

    def accepts(self, python_type: type) -> bool:
        if issubclass(python_type, (str, bytes)):
            return True
        # What SQLAlchemy's JSON says of its values is `object`, from version 2.1 on.
        return python_type is not object and not issubclass(python_type, Collection)

    def apply(self, value: object, encode: Encode) -> bytes:
        return self.shared_form(encode(value))

    def form(self, encode: Encode) -> Encode:
        return encode if self.shared_form is _plaintext else super().form(encode)


class _Year(Transform):
    """The year of a date, in the time zone that it is written in; or a year given as an int."""

    __slots__ = ()

    name = "year"

    def accepts(self, python_type: type) -> bool:
        return issubclass(python_type, dt.date)

    def apply(self, value: object, encode: Encode) -> bytes:
        if isinstance(value, int) and not isinstance(value, bool):
            if dt.MINYEAR <= value <= dt.MAXYEAR:
                return b"%04d" % value
            raise _out_of_range(f"a year is a number from {dt.MINYEAR} to {dt.MAXYEAR}")
        data = _encoded(value, encode)
        if data is None and isinstance(value, dt.date):
            # A date asked of a column of datetimes, or the other way round.
            return b"%04d" % value.year
        year = re.match(rb"[0-9]{4}(?=-)", data or b"")
        if year is None:
            raise _wrong_type(self.name, "a date, a datetime or an int", value)
        return year.group()


@dataclass(frozen=True, eq=False, repr=False)
class _Text(Transform):
    """Steps from a text to a text, one after the other."""

    name: str
    steps: tuple[Callable[[str], str], ...]

    def accepts(self, python_type: type) -> bool:
        return issubclass(python_type, str)

    def apply(self, value: object, encode: Encode) -> bytes:
        text = self._text(value, encode)
        for step in self.steps:
            text = step(text)
        return text.encode()

    def _text(self, value: object, encode: Encode) -> str:
        data = _encoded(value, encode)
        if data is None and isinstance(value, str):
            # The column does not take what the transform leaves of its values: a type of the
            # user's own may insist on a whole number. In a write, the column itself refuses.
            data = _utf8(value)
        if data is not None:
            try:
                return data.decode()
            except UnicodeDecodeError:
                pass
        raise _wrong_type(self.name, "a str", value)

    def then(self, other: Transform) -> Transform:
        if not isinstance(other, _Text):
            return super().then(other)
        if _fold in other.steps:
            # What is cut and folded afterwards may be longer than what was cut (ß becomes ss), so
            # that a query could not give it.
            raise DeclarationError(
                f"{self.name}.then({other.name}): put casefold first", reason="transform"
            )
        return _Text(f"{self.name}.{other.name}", self.steps + other.steps)


def _encoded(value: object, encode: Encode) -> bytes | None:
    """The canonical plaintext, or ``None`` where the column does not take the value."""
    try:
        return encode(value)
    except BecomesNullError:
        raise
    except ValueEncodingError:
        return None


def _utf8(text: str) -> bytes:
    try:
        return str.encode(text)
    except UnicodeEncodeError:
        pass
    raise ValueEncodingError(
        "the string is not valid Unicode (it holds a lone surrogate) and has no UTF-8 form",
        reason="unicode",
    )


def _wrong_type(name: str, expected: str, value: object) -> ValueEncodingError:
    return ValueEncodingError(
        f"an index of {name} takes {expected}, not {type(value).__name__}", reason="type"
    )


def _out_of_range(message: str) -> ValueEncodingError:
    return ValueEncodingError(message, reason="range")


def _plaintext(data: bytes) -> bytes:
    return data


def _number(data: bytes) -> bytes:
    if b"." in data and b"e" not in data:
        data = data.rstrip(b"0").rstrip(b".")
    return b"0" if data == b"-0" else data


_FIRST_DAY = dt.datetime(1, 1, 1)
_MICROSECOND = dt.timedelta(microseconds=1)


def _instant(data: bytes) -> bytes:
    try:
        moment = dt.datetime.fromisoformat(data.decode("ascii"))
    except ValueError:  # no datetime: the column has another type by now
        return data
    offset = moment.utcoffset()
    if offset is None:
        return data
    # Counted, because the first and the last day have moments that no UTC datetime expresses.
    return b"@%d" % ((moment.replace(tzinfo=None) - _FIRST_DAY - offset) // _MICROSECOND)


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _fold(text: str) -> str:
    return _nfc(_nfc(text).casefold())


def _digits(text: str) -> str:
    return "".join(
        character if character.isascii() else str(unicodedata.decimal(character))
        for character in text
        if character.isdecimal()
    )


def _first_letter(text: str) -> str:
    return next((character for character in _fold(text) if character.isalpha()), "")


def _first(count: int, text: str) -> str:
    return _nfc(text)[:count]


def _last(count: int, text: str) -> str:
    return _nfc(text)[-count:]


exact: Transform = _Exact("exact", _plaintext)
"""The value as it is."""

number: Transform = _Exact("number", _number)
"""What ``exact`` is of numbers: however many zeros they are written with."""

instant: Transform = _Exact("instant", _instant)
"""What ``exact`` is of datetimes: in whatever time zone they are written."""

casefold: Transform = _Text("casefold", (_fold,))
"""Text whose case, and whose composed or decomposed spelling, does not matter."""

digits: Transform = _Text("digits", (_digits,))
"""Numbers written with hyphens, spaces or brackets."""

first_letter: Transform = _Text("first_letter", (_first_letter,))
"""An index card's tab: the first letter, in lower case."""

year: Transform = _Year()
"""The year of a date."""

_SIMPLE = {one.name: one for one in (exact, number, instant, casefold, digits, first_letter, year)}


def first(count: int) -> Transform:
    """The first `count` characters; of a shorter text, all.

    :param count: characters, 1 or more.
    :raises DeclarationError: `count` is not a whole number from 1.
    """
    return _Text(f"first{_count(count)}", (partial(_first, count),))


def last(count: int) -> Transform:
    """The last `count` characters; of a shorter text, all.

    :param count: characters, 1 or more.
    :raises DeclarationError: `count` is not a whole number from 1.
    """
    return _Text(f"last{_count(count)}", (partial(_last, count),))


def _count(count: int) -> int:
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise DeclarationError("first() and last() take a number of 1 or more", reason="transform")
    return count


def transform_named(name: str) -> Transform:
    """The transform of a name, as the table of this module has them.

    :param name: as its ``name`` has it: ``"last(4)"``.
    :raises DeclarationError: there is none of that name.
    """
    parts = [_part(part) for part in name.split(".")] if isinstance(name, str) else [None]
    if all(parts):
        made, *others = cast("list[Transform]", parts)
        for other in others:
            made = made.then(other)
        return made
    raise DeclarationError(
        f"there is no transform {name!r}; there are {', '.join(_SIMPLE)}, first4, last4 and other "
        "numbers, and several joined by dots as in digits.last4",
        reason="transform",
    )


def _part(name: str) -> Transform | None:
    if cut := re.fullmatch("(first|last)([1-9][0-9]{0,8})", name):
        make = first if cut[1] == "first" else last
        return make(int(cut[2]))
    return _SIMPLE.get(name)
