"""Converts plaintexts of one inner type to another without loss."""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
from collections.abc import Callable
from typing import Any, ClassVar

from sqlalchemy import types as sa
from sqlalchemy.engine import Dialect

from encfields.codecs.base import BecomesNullError, Codec, Equality, JsonForm, out_of_range
from encfields.codecs.inner_types import codec_for
from encfields.codecs.numbers import as_decimal
from encfields.errors import EncFieldsError, ValueDecodingError, ValueEncodingError

_NUMBERS = (int, float, decimal.Decimal)


class LossyError(Exception):
    """The other type has no equivalent value."""


class Conversion:
    """Converts plaintexts.

    :param was: the type that wrote them.
    :param to: the type that is to read them.
    :param dialect: of the database.
    """

    def __init__(self, was: sa.TypeEngine[Any], to: sa.TypeEngine[Any], dialect: Dialect) -> None:
        self._was, self._to, self._dialect = was, to, dialect
        self._old, self._new = codec_for(was), codec_for(to)

    def of(self, data: bytes, is_old: bool | None) -> bytes:
        """The plaintext that the new type reads.

        :param is_old: whether the former type wrote `data`; ``None`` if only `data` can tell.
        :returns: `data` itself if nothing needs to be converted.
        :raises ValueDecodingError: it is of neither type, of both with different meanings, or has
            no equivalent in the new one.
        """
        if is_old is not True and self._reads(self._new, data):
            if is_old is None:
                self._require_one_meaning(data)
            return data
        if is_old is False or not self._reads(self._old, data):
            raise ValueDecodingError(
                f"it is of neither the former type, {self._was!r}, nor the new one, {self._to!r}; "
                "it is left as it is",
                reason="neither-type",
            )
        return self._converted(data)

    def _require_one_meaning(self, data: bytes) -> None:
        """Check that a plaintext of the new type is not also a different value of the former
        one."""
        if not self._reads(self._old, data):
            return
        try:
            converted = self._converted(data)
        except EncFieldsError:
            return  # a value of the former type could not be converted, so it is a new one
        if converted == data or are_equal(self._value(converted), self._value(data)):
            return  # a number has the same meaning in all types of numbers
        raise ValueDecodingError(
            f"both {self._was!r} and {self._to!r} can read it, as different values, so it is not "
            "known whether it was converted; it is left as it is. Give the new type a name of its "
            "own, EncryptedType(..., name=), and the former one in was_bound=",
            reason="ambiguous-type",
        )

    def _converted(self, data: bytes) -> bytes:
        dialect, failure = self._dialect, "it has no equivalent in the new type"
        try:
            value = adapted(self._old.decode(data, dialect), self._to)
            new = self._new.encode(value, dialect)
            if are_equal(self._new.decode(new, dialect), value):
                return new
        except ValueEncodingError as error:
            failure = error.message.removesuffix("; nothing was stored")
        except (LossyError, UnicodeError, ArithmeticError, ValueError, TypeError):
            pass
        if self._is_text_of_both(data):
            return data
        raise ValueDecodingError(
            f"it cannot be converted from {self._was!r} to {self._to!r} without loss ({failure}); "
            "it is left as it is",
            reason="not-convertible",
        )

    def _is_text_of_both(self, data: bytes) -> bool:
        """Whether the former type's value is exactly the text that the new type writes."""
        read = self._old.decode(data, self._dialect)
        return isinstance(read, str) and read.encode() == data and self._reads(self._new, data)

    def _value(self, data: bytes) -> object:
        return self._new.decode(data, self._dialect)

    def _reads(self, codec: Any, data: bytes) -> bool:
        try:
            codec.decode(data, self._dialect)
        except ValueDecodingError:
            return False
        return True


def are_equal(one: object, other: object) -> bool:
    """Whether two values are equal, where a float is the number that its shortest text says."""
    if one == other:
        return True
    try:
        return as_decimal(one) == as_decimal(other)
    except ValueEncodingError:  # one is not a number, or not finite
        return False


def adapted(value: object, to: sa.TypeEngine[Any]) -> object:
    """The value of a type that equals `value`.

    :raises LossyError: there is none.
    """
    if isinstance(to, sa.DateTime):
        is_day = isinstance(value, dt.date) and not isinstance(value, dt.datetime)
        return dt.datetime.combine(value, dt.time()) if is_day else value  # type: ignore[arg-type]
    if isinstance(to, sa.Date):
        return _day(value)
    if isinstance(to, sa.JSON):
        return _json(value)
    if isinstance(to, sa.String) and not isinstance(to, sa.Enum):
        return value.decode() if isinstance(value, bytes) else _text(value)
    if isinstance(to, sa.LargeBinary):
        return value.encode() if isinstance(value, str) else value
    return _number(value, to)


def _day(value: object) -> object:
    if isinstance(value, dt.datetime):
        if value.tzinfo is not None or value.time() != dt.time():
            raise LossyError
        return value.date()
    return value


def _text(value: object) -> object:
    if isinstance(value, (dt.date, dt.time)):
        return value.isoformat()
    is_plain = isinstance(value, (int, decimal.Decimal, uuid.UUID)) and not isinstance(value, bool)
    return str(value) if is_plain else value


def _json(value: object) -> object:
    if isinstance(value, (dt.date, dt.time)):
        return value.isoformat()
    return str(value) if isinstance(value, uuid.UUID) else value


def _number(value: object, to: sa.TypeEngine[Any]) -> object:
    if not isinstance(value, _NUMBERS):
        return value
    number: Any
    if isinstance(to, sa.Boolean):
        number = bool(value)
    elif isinstance(to, sa.Integer):
        number = int(value)
    elif isinstance(to, sa.Numeric | sa.Float):  # Float is not a subclass from SQLAlchemy 2.1 on
        number = _decimal(value) if to.asdecimal else float(value)
    else:
        return value
    if not are_equal(number, value):
        raise LossyError
    return number


def _decimal(value: Any) -> object:
    try:
        return as_decimal(int(value) if isinstance(value, bool) else value)
    except ValueEncodingError:  # not finite
        pass
    raise LossyError


_PARSERS: tuple[tuple[type[sa.TypeEngine[Any]], Callable[[str], object]], ...] = (
    (sa.DateTime, dt.datetime.fromisoformat),
    (sa.Date, dt.date.fromisoformat),
    (sa.Time, dt.time.fromisoformat),
    (sa.Uuid, uuid.UUID),
    (sa.Integer, int),
    (sa.Numeric, decimal.Decimal),
)


def _parsed(value: object, to: sa.TypeEngine[Any]) -> object:
    """The value for a text; the opposite of what :func:`adapted` does.

    :raises ValueError: the text is not one of a value.
    :raises ArithmeticError: likewise.
    """
    parse = next((parse for kind, parse in _PARSERS if isinstance(to, kind)), None)
    return parse(value) if parse is not None and isinstance(value, str) else value


class ChangedCodec:
    """The codec of a column whose inner type is being changed. It returns values of the new type,
    whichever of the two wrote them.

    :param was: the former type.
    :param to: the new one.
    :param is_old: whether the former type wrote what is read; ``None`` if only the plaintext can
        tell.
    :param writes_former: write as the former type does, for processes that know only that.
    """

    json_form: ClassVar[JsonForm] = JsonForm.TEXT

    def __init__(
        self,
        was: sa.TypeEngine[Any],
        to: sa.TypeEngine[Any],
        *,
        is_old: bool | None,
        writes_former: bool,
    ) -> None:
        self._was, self._to, self._is_old = was, to, is_old
        self._old, self._new = codec_for(was), codec_for(to)
        self.writes_former = writes_former
        longest = [self._old.max_bytes, self._new.max_bytes]
        self.max_bytes = None if None in longest else max(filter(None, longest), default=0)

    @property
    def equality(self) -> Equality:
        """That of the type that is written."""
        return self.written.equality

    @property
    def written(self) -> Codec:
        """The codec of the type that is written."""
        return self._old if self.writes_former else self._new

    def as_written(self, value: object, dialect: Dialect) -> object:
        """The equal of `value`, which is of the new type, in the type that is written.

        If that is text, it may be the text that the new type writes.

        :raises ValueEncodingError: it has none.
        """
        if not self.writes_former:
            return value
        try:
            former = adapted(_parsed(value, self._was), self._was)
            if are_equal(adapted(former, self._to), value) and self._is_former(former, dialect):
                return former
        except (LossyError, UnicodeError, ArithmeticError, ValueError, TypeError):
            pass
        try:
            former = self._old.decode(self._new.encode(value, dialect), dialect)
            if self._is_former(former, dialect):
                return former
        except (ValueEncodingError, ValueDecodingError):
            pass
        raise self._no_equal()

    def _is_former(self, value: object, dialect: Dialect) -> bool:
        """Whether it is a value of the former type."""
        try:
            self._old.encode(value, dialect)
        except BecomesNullError:
            return True
        except ValueEncodingError:
            return False
        return True

    def _no_equal(self) -> ValueEncodingError:
        return out_of_range(
            f"the value has no equivalent in the former type, {self._was!r}, which is written as "
            'long as the phase of formerly= is "write-former"'
        )

    def encode(self, value: object, dialect: Dialect) -> bytes:
        """As :meth:`Codec.encode`; refuses what the former type would round or pad."""
        data = self.written.encode(self.as_written(value, dialect), dialect)
        if self.writes_former and not self._reads_back_as(data, value, dialect):
            raise self._no_equal()
        return data

    def _reads_back_as(self, data: bytes, value: object, dialect: Dialect) -> bool:
        """Whether what the former type wrote is read as `value`, or as the new type would return
        it."""
        try:
            read_back = self.decode(data, dialect)
            if are_equal(read_back, value):
                return True
            as_new = self._new.decode(self._new.encode(value, dialect), dialect)
        except EncFieldsError:
            return False
        return are_equal(read_back, as_new)

    def encode_asked(self, value: object, dialect: Dialect) -> bytes:
        """As :meth:`Codec.encode_asked`."""
        return self.written.encode_asked(self.as_written(value, dialect), dialect)

    def decode(self, data: bytes, dialect: Dialect) -> object:
        """As :meth:`Codec.decode`."""
        conversion = Conversion(self._was, self._to, dialect)
        return self._new.decode(conversion.of(data, self._is_old), dialect)
