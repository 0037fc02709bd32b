"""Every value a type accepts comes back equal, and under the bound its type promises."""

from __future__ import annotations

import datetime as dt
import json
import math
from decimal import ROUND_HALF_UP, Decimal, localcontext
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from encfields.codecs import codec_for, max_plaintext_bytes
from tests.codecs.support import SQLITE

offsets = st.timedeltas(
    min_value=-dt.timedelta(hours=24) + dt.timedelta(microseconds=1),
    max_value=dt.timedelta(hours=24) - dt.timedelta(microseconds=1),
).map(dt.timezone)
zones = st.none() | st.just(dt.UTC) | offsets
jsons = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
json_items = jsons.filter(lambda value: value is not None)


def round_trip(inner: sa.types.TypeEngine[Any], value: object) -> object:
    codec = codec_for(inner)
    data = codec.encode(value, SQLITE)
    assert type(data) is bytes
    bound = max_plaintext_bytes(inner)
    assert bound is None or len(data) <= bound
    return codec.decode(data, SQLITE)


@given(st.text())
def test_any_text_comes_back(value):
    assert round_trip(sa.Text(), value) == value


@given(st.text(max_size=3))
def test_any_text_of_the_declared_length_comes_back(value):
    assert round_trip(sa.String(3), value) == value


@given(st.binary())
def test_any_bytes_come_back(value):
    assert round_trip(sa.LargeBinary(), value) == value


@given(st.integers(-(2**63), 2**64 - 1))
def test_any_integer_of_a_database_comes_back(value):
    assert round_trip(sa.Integer(), value) == value


@given(st.floats())
def test_any_double_comes_back_bit_for_bit(value):
    read = round_trip(sa.Float(), value)
    assert isinstance(read, float)
    assert math.isnan(read) if math.isnan(value) else read.hex() == value.hex()


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**40), max_value=10**40))
def test_any_decimal_comes_back_with_its_own_digits(value):
    read = round_trip(sa.Numeric(), value)
    assert isinstance(read, Decimal)
    assert read == value
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int)
    assert read.as_tuple().exponent == min(exponent, 0)


@given(st.decimals("-99999999.99", "99999999.99", places=2))
def test_any_decimal_of_the_declared_scale_comes_back_as_it_was(value):
    assert str(round_trip(sa.Numeric(10, 2), value)) == str(value if value else value.copy_abs())


@given(st.decimals("-9999", "9999", allow_nan=False))
def test_a_decimal_is_rounded_half_away_from_zero(value):
    with localcontext(prec=200):
        rounded = value.quantize(Decimal("0.01"), rounding=ROUND_HALF_UP)
    assert round_trip(sa.Numeric(10, 2), value) == rounded


@given(st.integers(1, 8), st.integers(0, 8), st.data())
def test_a_numeric_is_never_longer_than_its_bound(precision, scale, data):
    scale = min(scale, precision)
    value = Decimal(data.draw(st.integers(-(10**precision) + 1, 10**precision - 1))).scaleb(-scale)
    assert round_trip(sa.Numeric(precision, scale), value) == value


@given(st.booleans())
def test_any_boolean_comes_back(value):
    assert round_trip(sa.Boolean(), value) is value


@given(st.dates())
def test_any_date_comes_back(value):
    assert round_trip(sa.Date(), value) == value


@given(st.times(timezones=zones))
def test_any_time_comes_back_with_its_offset(value):
    read = round_trip(sa.Time(), value)
    assert isinstance(read, dt.time)
    assert (read.replace(tzinfo=None), read.utcoffset()) == (
        value.replace(tzinfo=None),
        value.utcoffset(),
    )


@pytest.mark.parametrize("timezone", [False, True])
@given(value=st.datetimes(timezones=zones))
def test_any_datetime_comes_back_naive_or_with_its_offset_as_it_was(timezone, value):
    read = round_trip(sa.DateTime(timezone=timezone), value)
    assert isinstance(read, dt.datetime)
    assert (read.replace(tzinfo=None), read.utcoffset()) == (
        value.replace(tzinfo=None),
        value.utcoffset(),
    )


@given(st.datetimes(timezones=st.timezones()))
def test_a_datetime_of_a_named_zone_comes_back_as_the_same_instant(value):
    read = round_trip(sa.DateTime(timezone=True), value)
    assert isinstance(read, dt.datetime)
    assert read.utcoffset() == value.utcoffset()
    assert read.replace(tzinfo=None) == value.replace(tzinfo=None, fold=0)


@given(st.timedeltas())
def test_any_timedelta_comes_back_to_the_microsecond(value):
    assert round_trip(sa.Interval(), value) == value


@pytest.mark.parametrize("value", [dt.timedelta.min, dt.timedelta.max, dt.timedelta.resolution])
def test_the_extremes_of_timedelta_come_back(value):
    assert round_trip(sa.Interval(), value) == value


@given(st.uuids())
def test_any_uuid_comes_back(value):
    assert round_trip(sa.Uuid(), value) == value
    assert round_trip(sa.Uuid(as_uuid=False), value) == str(value)


@given(jsons)
def test_any_json_comes_back_and_is_strict_json(value):
    codec = codec_for(sa.JSON())
    data = codec.encode(value, SQLITE)
    assert codec.decode(data, SQLITE) == value
    assert json.loads(data.decode("utf-8"), parse_constant=pytest.fail) == value


ARRAYS: list[tuple[sa.types.TypeEngine[Any], st.SearchStrategy[Any]]] = [
    (sa.String(), st.text()),
    (sa.LargeBinary(), st.binary()),
    (sa.Integer(), st.integers(-(2**63), 2**64 - 1)),
    (sa.Float(), st.floats(allow_nan=False)),
    (sa.Numeric(), st.decimals("-1e9", "1e9", places=3)),
    (sa.Boolean(), st.booleans()),
    (sa.DateTime(), st.datetimes(timezones=zones)),
    (sa.Interval(), st.timedeltas()),
    (sa.Uuid(), st.uuids()),
    (sa.JSON(), json_items),
]


@pytest.mark.parametrize("item, values", ARRAYS, ids=lambda case: type(case).__name__)
@given(data=st.data())
def test_any_array_comes_back(item, values, data):
    value = data.draw(st.lists(st.none() | values, max_size=5))
    assert round_trip(sa.ARRAY(item), value) == value


@given(st.lists(st.lists(st.lists(st.integers(0, 9), max_size=3), max_size=3), max_size=3))
def test_nested_dimensions_come_back(value):
    assert round_trip(sa.ARRAY(sa.Integer), value) == value
    assert round_trip(sa.ARRAY(sa.Integer, dimensions=3), value) == value


def test_a_value_of_fifty_megabytes_comes_back():
    value = b"\x00\xff" * (25 * 2**20)
    assert round_trip(sa.LargeBinary(), value) == value
    text = "é" * (25 * 2**20)
    assert round_trip(sa.Text(), text) == text
