"""A value that a type cannot hold is refused before it is stored, and is never repeated."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa

from encfields.codecs import codec_for
from encfields.errors import ValueEncodingError
from tests.codecs.support import SQLITE, everything_said_by

CANARY = "canary-7f3a9"
NUMBER = 7389056098930650227


class Colour(enum.Enum):
    RED = "rouge"


class Other(enum.StrEnum):
    RED = "RED"


class Opaque:
    def __repr__(self) -> str:
        return CANARY

    __str__ = __repr__


class BrokenZone(dt.tzinfo):
    def utcoffset(self, when):
        raise RuntimeError(CANARY)

    dst = tzname = utcoffset


WRONG_TYPES: list[tuple[sa.types.TypeEngine[Any], object, str]] = [
    (sa.String(), CANARY.encode(), "a str, not bytes"),
    (sa.String(), NUMBER, "a str, not int"),
    (sa.String(), Opaque(), "a str, not Opaque"),
    (sa.LargeBinary(), CANARY, "not str"),
    (sa.LargeBinary(), NUMBER, "not int"),
    (sa.LargeBinary(), [1, 2], "not list"),
    (sa.Integer(), str(NUMBER), "an int, not str"),
    (sa.Float(), CANARY, "not str"),
    (sa.Numeric(), str(NUMBER), "not str"),
    (sa.Boolean(), CANARY, "a bool, 0 or 1, not str"),
    (sa.Boolean(), NUMBER, "a bool, 0 or 1, not int"),
    (sa.Date(), "1815-12-10", "a date, not str"),
    (sa.Time(), dt.datetime(1815, 12, 10, 3), "a time, not datetime"),
    (sa.DateTime(), "1815-12-10T00:00:00", "a datetime, not str"),
    (sa.Interval(), NUMBER, "a timedelta, not int"),
    (sa.Uuid(), NUMBER, "a UUID or its text, not int"),
    (sa.Enum(Colour), NUMBER, "a member of Colour, not int"),
    (sa.Enum(Colour), [NUMBER], "a member of Colour, not list"),
    (sa.Enum(Colour), Other.RED, "a member of Colour, not Other"),
    (sa.Enum(CANARY), Colour.RED, "a str, not Colour"),
    (sa.ARRAY(sa.String), CANARY, "a list or a tuple, not str"),
    (sa.ARRAY(sa.String), {CANARY}, "a list or a tuple, not set"),
    (sa.ARRAY(sa.String), [NUMBER], "a str, not int"),
    (sa.ARRAY(sa.String, dimensions=1), [[CANARY]], "a str, not list"),
    (sa.ARRAY(sa.String, dimensions=2), [CANARY], "an array of 2 dimensions, not str"),
]

LONE_SURROGATE = CANARY + "\ud800"
CIRCLE: list[object] = [CANARY]
CIRCLE.append(CIRCLE)

OUT_OF_RANGE: list[tuple[sa.types.TypeEngine[Any], object, str]] = [
    (sa.String(), LONE_SURROGATE, "lone surrogate"),
    (sa.Text(), LONE_SURROGATE, "lone surrogate"),
    (sa.String(3), CANARY, "12 characters; the column holds 3"),
    (sa.LargeBinary(3), CANARY.encode(), "12 bytes; the column holds 3"),
    (sa.Integer(), NUMBER**2, "2**64 - 1"),
    (sa.Integer(), -(2**63) - 1, "-2**63"),
    (sa.Integer(), 10**5000, "2**64 - 1"),
    (sa.Integer(), 1.5, "not an integer"),
    (sa.Integer(), 1.5e300, "not an integer"),
    (sa.Integer(), Decimal("0.1"), "not an integer"),
    (sa.Integer(), float("nan"), "NaN"),
    (sa.Float(), NUMBER**20, "range of a double"),
    (sa.Float(), Decimal("1E+999"), "range of a double"),
    (sa.Float(), Decimal("sNaN"), "range of a double"),
    (sa.Numeric(5, 2), Decimal("1000"), "Numeric(5, 2)"),
    (sa.Numeric(5, 2), Decimal("999.995"), "Numeric(5, 2)"),
    (sa.Numeric(5), Decimal("99999.5"), "Numeric(5, 0)"),
    (sa.Numeric(5, 2), NUMBER, "Numeric(5, 2)"),
    (sa.Numeric(), Decimal("NaN"), "NaN"),
    (sa.Numeric(10, 2), Decimal("sNaN"), "NaN"),
    (sa.Numeric(), float("nan"), "NaN"),
    (sa.Numeric(10, 2), Decimal("-Infinity"), "infinities"),
    (sa.Numeric(), Decimal("1E+200000"), "131072 digits"),
    (sa.Numeric(10, 2), Decimal("1E-200000"), "16383 after it"),
    (sa.Time(), dt.time(3, tzinfo=ZoneInfo("Europe/Paris")), "no fixed offset without a date"),
    (sa.Time(), dt.time(3, tzinfo=BrokenZone()), "raised RuntimeError"),
    (sa.DateTime(), dt.datetime(1815, 12, 10, tzinfo=BrokenZone()), "raised RuntimeError"),
    (sa.Uuid(), CANARY, "not a UUID"),
    (sa.Uuid(as_uuid=False), LONE_SURROGATE, "not a UUID"),
    (sa.Enum(Colour), CANARY, "not one of the Enum's members"),
    (sa.Enum("a", "b"), CANARY, "not one of the Enum's members"),
    (sa.Enum("a", "b"), LONE_SURROGATE, "lone surrogate"),
    (sa.JSON(), {CANARY: float("nan")}, "NaN"),
    (sa.JSON(), {CANARY: Opaque()}, "it holds a Opaque"),
    (sa.JSON(), {CANARY: dt.date(1815, 12, 10)}, "it holds a date"),
    (sa.JSON(), {CANARY: {1: LONE_SURROGATE}}, "lone surrogate"),
    (sa.JSON(), {(CANARY,): 1}, "no JSON form"),
    (sa.JSON(), CIRCLE, "no JSON form"),
    (sa.ARRAY(sa.String), [LONE_SURROGATE], "lone surrogate"),
    (sa.ARRAY(sa.String), CIRCLE, "nested too deeply"),
    (sa.ARRAY(sa.JSON), [{CANARY: Opaque()}], "it holds a Opaque"),
    (sa.ARRAY(sa.Numeric(5, 2)), [NUMBER], "Numeric(5, 2)"),
]

SECRETS = (CANARY, str(NUMBER), repr(NUMBER**2), "\\ud800", "1815", "1.5e+300", "1000'", "999.995")


def _name(case: object) -> str:
    return case if isinstance(case, str) else type(case).__name__


@pytest.mark.parametrize("inner, value, named", WRONG_TYPES, ids=_name)
def test_a_wrong_type_is_refused_by_the_names_of_both_types(inner, value, named):
    with pytest.raises(ValueEncodingError) as caught:
        codec_for(inner).encode(value, SQLITE)
    assert named in str(caught.value)
    assert "nothing was stored" in str(caught.value)
    assert caught.value.reason == "type"


@pytest.mark.parametrize("inner, value, named", OUT_OF_RANGE, ids=_name)
def test_a_value_that_the_type_cannot_hold_is_refused_with_the_reason(inner, value, named):
    with pytest.raises(ValueEncodingError) as caught:
        codec_for(inner).encode(value, SQLITE)
    assert named in str(caught.value)
    assert "nothing was stored" in str(caught.value)


@pytest.mark.parametrize("inner, value, named", WRONG_TYPES + OUT_OF_RANGE, ids=_name)
def test_a_refusal_keeps_no_lower_exception_and_no_value(inner, value, named):
    with pytest.raises(ValueEncodingError) as caught:
        codec_for(inner).encode(value, SQLITE)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    said = everything_said_by(caught.value).replace(f"Enum('{CANARY}')", "")
    assert not [secret for secret in SECRETS if secret in said]


def test_the_search_for_a_value_sees_a_suppressed_context():
    def leaky() -> None:
        try:
            LONE_SURROGATE.encode()
        except UnicodeEncodeError:
            raise ValueEncodingError("refused") from None

    with pytest.raises(ValueEncodingError) as caught:
        leaky()
    assert CANARY in everything_said_by(caught.value)


def test_a_composite_flag_is_no_member():
    class Access(enum.Flag):
        READ = 1
        WRITE = 2

    codec = codec_for(sa.Enum(Access))
    assert codec.encode(Access.WRITE, SQLITE) == b"WRITE"
    with pytest.raises(ValueEncodingError, match="not one of the Enum's members"):
        codec.encode(Access.READ | Access.WRITE, SQLITE)


def test_a_length_is_counted_in_characters_and_not_in_bytes():
    codec = codec_for(sa.String(3))
    assert codec.encode("\U0001f512" * 3, SQLITE) == "\U0001f512".encode() * 3
    with pytest.raises(ValueEncodingError, match="4 characters"):
        codec.encode("\U0001f512" * 4, SQLITE)


@pytest.mark.parametrize("returned", ["raises", "surrogate", "number"])
def test_a_failing_json_serializer_leaks_nothing(returned):
    def serialize(value: object) -> Any:
        if returned == "raises":
            raise KeyError(CANARY, value)
        return LONE_SURROGATE if returned == "surrogate" else NUMBER

    engine = sa.create_engine("sqlite://", json_serializer=serialize)
    with pytest.raises(ValueEncodingError) as caught:
        codec_for(sa.JSON()).encode({"a": CANARY}, engine.dialect)
    said = everything_said_by(caught.value)
    assert CANARY not in said
    assert str(NUMBER) not in said
    engine.dispose()


def test_an_array_refuses_what_a_json_serializer_writes_that_is_no_json():
    engine = sa.create_engine("sqlite://", json_serializer=lambda value: CANARY)
    with pytest.raises(ValueEncodingError, match="not JSON") as caught:
        codec_for(sa.ARRAY(sa.JSON)).encode([uuid.uuid4()], engine.dialect)
    assert CANARY not in everything_said_by(caught.value)
    engine.dispose()
