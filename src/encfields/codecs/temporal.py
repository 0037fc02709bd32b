"""Date, Time, DateTime and Interval: ISO 8601.

The methods of ``datetime`` are called unbound, because a subclass (pendulum, a frozen clock)
may have a text of its own.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from typing import Any, ClassVar, TypeGuard

from sqlalchemy.engine.interfaces import Dialect

from encfields.codecs.base import (
    Equality,
    JsonForm,
    KeepsValues,
    out_of_range,
    undecodable,
    wrong_type,
)

_DURATION = re.compile(rb"(-?)PT(0|[1-9][0-9]{0,13})(?:\.([0-9]{6}))?S")

_MICROSECOND = dt.timedelta(microseconds=1)


def is_day(value: object) -> TypeGuard[dt.date]:
    """Whether it is a date without a time of day."""
    return isinstance(value, dt.date) and not isinstance(value, dt.datetime)


def _midnight(day: dt.date) -> dt.datetime:
    return dt.datetime(day.year, day.month, day.day)


class DateCodec(KeepsValues):
    """``YYYY-MM-DD``. For a ``datetime`` its date is stored, as in a plain Date column."""

    __slots__ = ("max_bytes",)
    json_form: ClassVar[JsonForm] = JsonForm.TEXT

    def __init__(self) -> None:
        self.max_bytes: int | None = 10

    def encode(self, value: object, dialect: Dialect) -> bytes:
        if not isinstance(value, dt.date):
            raise wrong_type("a date", value)
        if isinstance(value, dt.datetime):
            value = dt.datetime.date(value)
        return dt.date.isoformat(value).encode("ascii")

    def encode_asked(self, value: object, dialect: Dialect) -> bytes:
        # A database compares a date with a datetime as its midnight; SQLite compares their texts.
        if isinstance(value, dt.datetime) and (
            dialect.name == "sqlite" or dt.datetime.timetz(value) != dt.time()
        ):
            raise out_of_range("a date never equals a datetime with a time of day")
        return self.encode(value, dialect)

    @staticmethod
    def bound(value: object) -> object:
        """What a bind of the type Date sends, where it converts."""
        return dt.datetime.date(value) if isinstance(value, dt.datetime) else value

    @staticmethod
    def converts_binds(dialect: Dialect, *, in_rows: bool) -> bool:
        """Whether a datetime in a bind of the type Date is sent to the database as its date.

        :param in_rows: in a bind for a list of rows.
        """
        if dialect.name == "postgresql":  # by a cast, which psycopg's rows lack, or by the driver
            return dialect.driver not in (("psycopg", "psycopg2") if in_rows else ("psycopg2",))
        return dialect.name == "sqlite"

    def decode(self, data: bytes, dialect: Dialect) -> object:
        try:
            text = data.decode("ascii")
            value = dt.date.fromisoformat(text)
            if value.isoformat() == text:
                return value
        except ValueError:
            pass
        raise undecodable("an ISO 8601 date")


class TimeCodec(KeepsValues):
    """``HH:MM:SS``, with ``.ffffff`` if it has microseconds, and its offset if it has one."""

    __slots__ = ("max_bytes",)
    json_form: ClassVar[JsonForm] = JsonForm.TEXT

    def __init__(self) -> None:
        self.max_bytes: int | None = 31

    def encode(self, value: object, dialect: Dialect) -> bytes:
        if not isinstance(value, dt.time):
            raise wrong_type("a time", value)
        problem = "gives no fixed offset without a date"
        try:
            if value.tzinfo is None or dt.time.utcoffset(value) is not None:
                return dt.time.isoformat(value).encode("ascii")
        except Exception as error:  # a time zone of the user's own may raise anything
            problem = f"raised {type(error).__name__}"
        raise out_of_range(f"the time's zone {problem}")

    def decode(self, data: bytes, dialect: Dialect) -> object:
        try:
            text = data.decode("ascii")
            value = dt.time.fromisoformat(text)
            if value.isoformat() == text:
                return value
        except ValueError:
            pass
        raise undecodable("an ISO 8601 time")


class DateTimeCodec(KeepsValues):
    """``YYYY-MM-DDTHH:MM:SS``, with ``.ffffff`` if it has microseconds, and its offset if it has
    one.

    The value is kept exactly, whatever ``timezone`` says: a naive one is returned naive, an aware
    one with the same offset (its zone's name is not kept). A ``date`` is stored as its midnight, as
    in a plain DateTime column.
    """

    __slots__ = ("max_bytes",)
    json_form: ClassVar[JsonForm] = JsonForm.TEXT
    equality = Equality.INSTANT

    def __init__(self) -> None:
        self.max_bytes: int | None = 42

    def encode(self, value: object, dialect: Dialect) -> bytes:
        if not isinstance(value, dt.date):
            raise wrong_type("a datetime", value)
        if not isinstance(value, dt.datetime):
            value = _midnight(value)
        problem = "gives no offset for it"
        try:
            if value.tzinfo is None or dt.datetime.utcoffset(value) is not None:
                return dt.datetime.isoformat(value).encode("ascii")
        except Exception as error:  # a time zone of the user's own may raise anything
            problem = f"raised {type(error).__name__}"
        raise out_of_range(f"the datetime's time zone {problem}")

    def encode_asked(self, value: object, dialect: Dialect) -> bytes:
        # A database compares a date as its midnight; SQLite compares their texts.
        if dialect.name == "sqlite" and is_day(value):
            raise out_of_range("in SQLite no datetime equals a date")
        return self.encode(value, dialect)

    @staticmethod
    def bound(value: object) -> object:
        """What a bind of the type DateTime sends, where it converts."""
        return value if not is_day(value) else _midnight(value)

    @staticmethod
    def converts_binds(dialect: Dialect, *, in_rows: bool) -> bool:
        """Whether a date in a bind of the type DateTime equals what a date would not.

        :param in_rows: in a bind for a list of rows.
        """
        return dialect.name == "sqlite"

    def decode(self, data: bytes, dialect: Dialect) -> object:
        try:
            text = data.decode("ascii")
            value = dt.datetime.fromisoformat(text)
            if value.isoformat() == text:
                return value
        except ValueError:
            pass
        raise undecodable("an ISO 8601 date and time")


def conversion(
    codec: type[object] | None, dialect: Dialect, *, in_rows: bool
) -> Callable[[Any], object] | None:
    """What converts a value in a bind of a type before the database compares it, if anything.

    :param codec: of the bind's type, if it has one. :param in_rows: in a bind for a list of rows.
    """
    if codec is None or not issubclass(codec, DateCodec | DateTimeCodec):
        return None
    return codec.bound if codec.converts_binds(dialect, in_rows=in_rows) else None


class IntervalCodec(KeepsValues):
    """``PT<seconds>S``, with ``.ffffff`` if it has microseconds, and ``-`` in front if negative.

    Only seconds, because a duration in days and hours has more than one spelling.
    """

    __slots__ = ("max_bytes",)
    json_form: ClassVar[JsonForm] = JsonForm.TEXT

    def __init__(self) -> None:
        self.max_bytes: int | None = 25

    def encode(self, value: object, dialect: Dialect) -> bytes:
        if not isinstance(value, dt.timedelta):
            raise wrong_type("a timedelta", value)
        total = (value.days * 86_400 + value.seconds) * 1_000_000 + value.microseconds
        seconds, micros = divmod(abs(total), 1_000_000)
        sign = b"-" if total < 0 else b""
        fraction = b".%06d" % micros if micros else b""
        return b"%bPT%d%bS" % (sign, seconds, fraction)

    def decode(self, data: bytes, dialect: Dialect) -> object:
        match = _DURATION.fullmatch(data)
        if match:
            sign, seconds, fraction = match.groups(default=b"0")
            total = int(seconds) * 1_000_000 + int(fraction)
            try:
                value = (-total if sign == b"-" else total) * _MICROSECOND
                if self.encode(value, dialect) == data:
                    return value
            except OverflowError:
                pass
        raise undecodable("an ISO 8601 duration in seconds")
