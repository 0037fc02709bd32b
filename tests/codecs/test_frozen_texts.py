"""The plaintext of each type is frozen: these bytes may be added to and never changed."""

from __future__ import annotations

import datetime as dt
import enum
import math
import uuid
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql

from encfields.codecs import codec_for
from tests.codecs.support import SQLITE


class Grade(enum.StrEnum):
    GOOD = "good"


class Mark(enum.StrEnum):
    G = "good"


class Level(enum.IntEnum):
    HIGH = 3


class Colour(enum.Enum):
    RED = "rouge"
    GREEN = "vert"
    CRIMSON = "rouge"  # noqa: PIE796 (an alias of RED)


def by_value(cls: Any) -> list[str]:
    return [member.value for member in cls]


PARIS_1900 = dt.timezone(dt.timedelta(minutes=9, seconds=21))
CET = dt.timezone(dt.timedelta(hours=1))
UUID = uuid.UUID("123E4567-E89B-12D3-A456-426614174000")

FROZEN: list[tuple[sa.types.TypeEngine[Any], object, bytes]] = [
    (sa.String(), "", b""),
    (sa.String(), "Zoë \U0001f512\x00\n", b"Zo\xc3\xab \xf0\x9f\x94\x92\x00\n"),
    (sa.Text(), "e\u0301", b"e\xcc\x81"),  # not normalised
    (sa.Unicode(5), " ab  ", b" ab  "),  # not trimmed
    (postgresql.CITEXT(), "Ab", b"Ab"),
    (mysql.LONGTEXT(), "a", b"a"),
    (sa.LargeBinary(), b"", b""),
    (sa.LargeBinary(), b"\x00\xff", b"\x00\xff"),
    (sa.VARBINARY(2), b"\x00\xff", b"\x00\xff"),
    (mysql.LONGBLOB(), b"\x00\xff", b"\x00\xff"),
    (sa.Integer(), 0, b"0"),
    (sa.Integer(), -42, b"-42"),
    (sa.SmallInteger(), 7, b"7"),
    (sa.BigInteger(), -(2**63), b"-9223372036854775808"),
    (mysql.BIGINT(unsigned=True), 2**64 - 1, b"18446744073709551615"),
    (sa.Float(), 1.0, b"1.0"),
    (sa.Float(), 0.1, b"0.1"),
    (sa.Float(), -0.0, b"-0.0"),
    (sa.Double(), 1e16, b"1e+16"),
    (sa.REAL(), 5e-324, b"5e-324"),
    (sa.Float(), math.inf, b"Infinity"),
    (sa.Float(), -math.inf, b"-Infinity"),
    (sa.Float(asdecimal=True), Decimal("0.1000000000"), b"0.1"),
    (sa.Numeric(10, 2), Decimal("1.50"), b"1.50"),
    (sa.Numeric(10, 2), Decimal("-0.01"), b"-0.01"),
    (sa.Numeric(10), Decimal("12"), b"12"),
    (sa.Numeric(), Decimal("1.500"), b"1.500"),
    (
        sa.Numeric(),
        Decimal("123456789012345678901234567890.1"),
        b"123456789012345678901234567890.1",
    ),
    (sa.DECIMAL(5, 2, asdecimal=False), 1.5, b"1.50"),
    (mysql.DECIMAL(5, 2), Decimal("1.50"), b"1.50"),
    (sa.Boolean(), True, b"true"),
    (sa.Boolean(), False, b"false"),
    (mysql.BOOLEAN(), True, b"true"),
    (sa.Date(), dt.date(2024, 2, 29), b"2024-02-29"),
    (sa.Date(), dt.date(1, 1, 1), b"0001-01-01"),
    (sa.Time(), dt.time(13, 5), b"13:05:00"),
    (sa.Time(), dt.time(13, 5, 0, 6), b"13:05:00.000006"),
    (sa.Time(), dt.time(13, 5, tzinfo=CET), b"13:05:00+01:00"),
    (sa.DateTime(), dt.datetime(2024, 2, 29, 13, 5), b"2024-02-29T13:05:00"),
    (sa.DateTime(), dt.datetime(2024, 2, 29, 13, 5, 0, 6), b"2024-02-29T13:05:00.000006"),
    (sa.DateTime(), dt.datetime(2024, 2, 29, tzinfo=CET), b"2024-02-29T00:00:00+01:00"),
    (sa.DateTime(timezone=True), dt.datetime(2024, 2, 29), b"2024-02-29T00:00:00"),
    (
        sa.TIMESTAMP(),
        dt.datetime(2024, 2, 29, tzinfo=dt.UTC),
        b"2024-02-29T00:00:00+00:00",
    ),
    (sa.DateTime(), dt.datetime(1900, 1, 1, tzinfo=PARIS_1900), b"1900-01-01T00:00:00+00:09:21"),
    (sa.Interval(), dt.timedelta(0), b"PT0S"),
    (sa.Interval(), dt.timedelta(days=1, hours=2, minutes=3, seconds=4), b"PT93784S"),
    (sa.Interval(), dt.timedelta(microseconds=1), b"PT0.000001S"),
    (sa.Interval(), -dt.timedelta(days=1), b"-PT86400S"),
    (sa.Interval(), -dt.timedelta(microseconds=1), b"-PT0.000001S"),
    (postgresql.INTERVAL(), dt.timedelta(seconds=1), b"PT1S"),
    (sa.Uuid(), UUID, b"123e4567-e89b-12d3-a456-426614174000"),
    (sa.Uuid(as_uuid=False), str(UUID), b"123e4567-e89b-12d3-a456-426614174000"),
    (sa.UUID(), UUID, b"123e4567-e89b-12d3-a456-426614174000"),
    (sa.Enum(Colour), Colour.GREEN, b"GREEN"),
    (sa.Enum(Colour, omit_aliases=False), Colour.CRIMSON, b"RED"),
    (sa.Enum(Colour, values_callable=by_value), Colour.GREEN, b"vert"),
    (sa.Enum("low", "élevé"), "élevé", "élevé".encode()),
    (postgresql.ENUM(Colour, name="colour"), Colour.RED, b"RED"),
    (mysql.ENUM("a", "b"), "b", b"b"),
    (
        sa.JSON(),
        {"b": 1, "a": [True, None, 1.5, "é\n"]},
        b'{"b":1,"a":[true,null,1.5,"\xc3\xa9\\n"]}',
    ),
    (sa.JSON(), "text", b'"text"'),
    (sa.JSON(), {}, b"{}"),
    (postgresql.JSONB(), [], b"[]"),
    (sa.ARRAY(sa.String), [], b"[]"),
    (sa.ARRAY(sa.String), ["a", None, ""], b'["a",null,""]'),
    (sa.ARRAY(sa.Integer), [[1, 2], [3, None]], b"[[1,2],[3,null]]"),
    (sa.ARRAY(sa.Integer, dimensions=2, as_tuple=True), ((1,), (2,)), b"[[1],[2]]"),
    (sa.ARRAY(sa.Boolean), [True, False], b"[true,false]"),
    (sa.ARRAY(sa.Float), [1.0, math.inf], b'[1.0,"Infinity"]'),
    (sa.ARRAY(sa.Numeric(5, 2)), [Decimal("1.50")], b'["1.50"]'),
    (sa.ARRAY(sa.Date), [dt.date(2024, 2, 29)], b'["2024-02-29"]'),
    (sa.ARRAY(sa.LargeBinary), [b"\x00\xff"], b'["00ff"]'),
    (sa.ARRAY(sa.Enum(Colour)), [Colour.RED], b'["RED"]'),
    (sa.ARRAY(sa.JSON), [{"a": 1}, [1, [2]], "x"], b'[{"a":1},[1,[2]],"x"]'),
    (sa.ARRAY(sa.JSON, dimensions=2), [[{"a": 1}], [[1]]], b'[[{"a":1}],[[1]]]'),
    (postgresql.ARRAY(sa.Uuid), [UUID], b'["123e4567-e89b-12d3-a456-426614174000"]'),
]


def _name(case: object) -> str | None:
    return repr(case)[:50] if isinstance(case, sa.types.TypeEngine) else None


@pytest.mark.parametrize("inner, value, plaintext", FROZEN, ids=_name)
def test_a_value_is_written_as_its_frozen_plaintext(inner, value, plaintext):
    assert codec_for(inner).encode(value, SQLITE) == plaintext


@pytest.mark.parametrize("inner, value, plaintext", FROZEN, ids=_name)
def test_a_frozen_plaintext_is_read_as_its_value(inner, value, plaintext):
    read = codec_for(inner).decode(plaintext, SQLITE)
    assert read == value
    assert type(read) is type(value)
    assert repr(read) == repr(value)  # 1.50 is not 1.5, and -0.0 is not 0.0


def test_nan_is_a_float():
    codec = codec_for(sa.Float())
    assert codec.encode(math.nan, SQLITE) == b"NaN"
    read = codec.decode(b"NaN", SQLITE)
    assert isinstance(read, float)
    assert math.isnan(read)


# What is accepted beyond the type that comes back, as a plain column accepts it.
ACCEPTED: list[tuple[sa.types.TypeEngine[Any], object, bytes]] = [
    (sa.LargeBinary(), bytearray(b"ab"), b"ab"),
    (sa.LargeBinary(), memoryview(b"abcd")[::2], b"ac"),
    (sa.Float(), 1, b"1.0"),
    (sa.Float(), True, b"1.0"),
    (sa.Numeric(10, 2), False, b"0.00"),
    (sa.Float(), Decimal("1.5"), b"1.5"),
    (sa.Numeric(10, 2), Decimal("1.5"), b"1.50"),
    (sa.Numeric(10, 2), 3, b"3.00"),
    (sa.Numeric(10, 2), 0.1, b"0.10"),
    (sa.Numeric(), 0.1, b"0.1"),
    (sa.Numeric(), Decimal("1E+3"), b"1000"),
    (sa.Numeric(), Decimal("1E-7"), b"0.0000001"),
    (sa.Numeric(10, 2), Decimal("-0"), b"0.00"),
    (sa.Numeric(10, 2), Decimal("-0.001"), b"0.00"),
    (sa.Numeric(10, 2), Decimal("0.005"), b"0.01"),
    (sa.Numeric(10, 2), Decimal("-0.005"), b"-0.01"),
    (sa.Numeric(10, 2), Decimal("0.015"), b"0.02"),
    (sa.Numeric(10), Decimal("1.5"), b"2"),
    (sa.Numeric(scale=1), Decimal("99999999999999999999999999999999.95"), b"1" + b"0" * 32 + b".0"),
    (sa.Boolean(), 1, b"true"),
    (sa.Boolean(), 0, b"false"),
    (sa.Uuid(), UUID.hex.upper(), str(UUID).encode()),
    (sa.Uuid(as_uuid=False), UUID, str(UUID).encode()),
    (sa.Enum(Colour), "RED", b"RED"),
    (sa.Enum(Colour), Colour.CRIMSON, b"RED"),
    (sa.Enum(Colour, values_callable=by_value), "vert", b"vert"),
    (sa.Enum(Grade), "good", b"GOOD"),
    (sa.Enum(Grade), "GOOD", b"GOOD"),
    (sa.Enum(Grade), Mark.G, b"GOOD"),
    (sa.Enum(Level, values_callable=lambda _: ["high"]), 3, b"high"),
    (sa.JSON(), sa.JSON.NULL, b"null"),
    (sa.ARRAY(sa.Integer), (1, 2), b"[1,2]"),
]


@pytest.mark.parametrize("inner, value, plaintext", ACCEPTED, ids=_name)
def test_what_a_plain_column_accepts_is_written_canonically(inner, value, plaintext):
    assert codec_for(inner).encode(value, SQLITE) == plaintext


def test_json_null_comes_back_as_none():
    assert codec_for(sa.JSON()).decode(b"null", SQLITE) is None


def test_a_subclass_with_a_text_of_its_own_is_written_canonically():
    class Text(str):
        def encode(self, *_args, **_options):
            return b"other"

    class Size(enum.IntEnum):
        BIG = 3

        def __format__(self, _spec):
            return "other"

        __str__ = __repr__ = lambda self: "other"

    class Half(float):
        __str__ = __repr__ = lambda self: "other"

    class Day(dt.datetime):
        def isoformat(self, *_args, **_options):
            return "other"

    assert codec_for(sa.String()).encode(Text("a"), SQLITE) == b"a"
    assert codec_for(sa.Integer()).encode(Size.BIG, SQLITE) == b"3"
    assert codec_for(sa.Float()).encode(Half(0.5), SQLITE) == b"0.5"
    assert codec_for(sa.Numeric(5, 2)).encode(Half(0.5), SQLITE) == b"0.50"
    assert codec_for(sa.DateTime()).encode(Day(2024, 1, 1), SQLITE) == b"2024-01-01T00:00:00"


def test_an_enum_that_is_a_string_is_recognised_by_member_and_not_by_equal_text():
    class Crossed(enum.StrEnum):
        A = "B"
        B = "A"

    codec = codec_for(sa.Enum(Crossed))
    assert codec.encode(Crossed.A, SQLITE) == b"A"
    assert codec.encode(Crossed.B, SQLITE) == b"B"


@pytest.mark.parametrize(
    "inner, member",
    [
        (sa.Enum(Colour), Colour.GREEN),
        (sa.Enum(Colour, values_callable=by_value), Colour.GREEN),
        (sa.Enum("RED", "GREEN"), "GREEN"),
        (sa.Enum(Grade), "good"),
        (sa.Enum(Level), 3),
    ],
    ids=["class", "values_callable", "strings", "equal text", "equal number"],
)
def test_an_enum_is_written_as_the_text_that_a_plain_column_stores(inner, member):
    table = sa.Table("t", sa.MetaData(), sa.Column("c", inner))
    engine = sa.create_engine("sqlite://")
    try:
        with engine.begin() as connection:
            table.create(connection)
            connection.execute(table.insert(), {"c": member})
            stored = connection.exec_driver_sql("SELECT c FROM t").scalar_one()
    finally:
        engine.dispose()
    assert codec_for(inner).encode(member, SQLITE) == stored.encode()


def test_numeric_without_asdecimal_comes_back_as_a_float():
    read = codec_for(sa.Numeric(10, 2, asdecimal=False)).decode(b"1.50", SQLITE)
    assert (read, type(read)) == (1.5, float)


def test_float_with_asdecimal_has_the_scale_that_a_plain_column_gives():
    codec = codec_for(sa.Float(asdecimal=True, decimal_return_scale=3))
    assert repr(codec.decode(b"0.1", SQLITE)) == "Decimal('0.100')"
    assert repr(codec_for(sa.Float(asdecimal=True)).decode(b"0.1", SQLITE)) == (
        "Decimal('0.1000000000')"
    )


def test_a_text_written_at_another_scale_is_read_as_it_was_written():
    assert repr(codec_for(sa.Numeric(10, 4)).decode(b"1.50", SQLITE)) == "Decimal('1.50')"
    assert repr(codec_for(sa.Numeric(10, 1)).decode(b"1.55", SQLITE)) == "Decimal('1.55')"


def test_an_engines_own_json_serializer_and_deserializer_are_used():
    engine = sa.create_engine(
        "sqlite://",
        json_serializer=lambda value: f'{{"wrapped":"{value:%Y}"}}',
        json_deserializer=lambda text: text.upper(),
    )
    codec = codec_for(sa.JSON())
    assert codec.encode(dt.date(2024, 1, 1), engine.dialect) == b'{"wrapped":"2024"}'
    assert codec.decode(b'{"a":1}', engine.dialect) == '{"A":1}'
    engine.dispose()
