"""While a column's inner type changes, each value is read for what it is."""

from __future__ import annotations

import datetime as dt
import enum
import itertools
import uuid
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import types as sa
from sqlalchemy.dialects import sqlite

from encfields.codecs import codec_for
from encfields.codecs.conversion import ChangedCodec, Conversion
from encfields.errors import ValueDecodingError, ValueEncodingError
from encfields.orm.declare.formerly import look_alike

DIALECT = sqlite.dialect()

NUMBERS: dict[str, tuple[Any, list[Any]]] = {
    "integer": (sa.Integer(), [0, 5, -3]),
    "float": (sa.Float(), [0.0, 5.0, 0.1, 1.5]),
    "two places": (sa.Numeric(12, 2), [Decimal("5.00"), Decimal("0.10")]),
    "four places": (sa.Numeric(12, 4), [Decimal("5.0000"), Decimal("1.2345")]),
    "any places": (sa.Numeric(), [Decimal(5), Decimal("0.1"), Decimal("1.50")]),
    "floats of two places": (sa.Numeric(12, 2, asdecimal=False), [5.0, 1.5]),
}

CHANGES = list(itertools.permutations(NUMBERS, 2))


def written(kind: sa.TypeEngine[Any], value: Any) -> bytes:
    return codec_for(kind).encode(value, DIALECT)


def codec(was: Any, to: Any, *, writes_former: bool) -> ChangedCodec:
    return ChangedCodec(was, to, is_old=None, writes_former=writes_former)


@pytest.mark.parametrize("former, now", CHANGES)
def test_a_number_is_read_whichever_type_of_numbers_wrote_it(former: str, now: str) -> None:
    (was, old), (to, new) = NUMBERS[former], NUMBERS[now]
    for phase in (True, False):
        changed = codec(was, to, writes_former=phase)
        for value in new:
            assert changed.decode(written(to, value), DIALECT) == value
        for value in old:
            try:
                read = changed.decode(written(was, value), DIALECT)
            except ValueDecodingError:
                assert isinstance(to, sa.Integer)
                assert value % 1  # a fraction that no integer equals
                continue
            assert float(read) == float(value)  # type: ignore[arg-type]


@pytest.mark.parametrize("former, now", CHANGES)
def test_what_the_former_type_would_round_is_refused(former: str, now: str) -> None:
    (was, _), (to, values) = NUMBERS[former], NUMBERS[now]
    changed, stored = codec(was, to, writes_former=True), 0
    for value in values:
        try:
            data = changed.encode(value, DIALECT)
        except ValueEncodingError:
            assert value % 1
            continue
        stored += 1
        assert changed.decode(data, DIALECT) == value
        assert float(codec_for(was).decode(data, DIALECT)) == float(value)  # type: ignore[arg-type]
    assert stored


def test_text_that_the_former_type_would_pad_is_refused() -> None:
    changed = codec(sa.Numeric(12, 2), sa.String(), writes_former=True)
    assert changed.encode("5.00", DIALECT) == b"5.00"
    with pytest.raises(ValueEncodingError, match="former type"):
        changed.encode("5", DIALECT)


def test_a_number_that_both_types_read_stays_as_it_was_written() -> None:
    of = Conversion(sa.Float(), sa.Numeric(), DIALECT).of
    assert [of(data, None) for data in (b"1.50", b"5.0", b"0.1")] == [b"1.50", b"5.0", b"0.1"]


class Cents(sa.TypeDecorator[Decimal]):
    """Amounts that are stored in cents."""

    impl = sa.Integer
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return int(value * 100)

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        return Decimal(value) / 100


def test_numbers_that_mean_another_thing_are_still_refused() -> None:
    with pytest.raises(ValueDecodingError, match="different values"):
        codec(Cents(), sa.Numeric(12, 2), writes_former=False).decode(b"150", DIALECT)


@pytest.mark.parametrize("to, value", [(sa.Numeric(4, 1), Decimal("1.0")), (sa.Float(), 1.0)])
def test_a_truth_value_is_the_number_that_it_equals(to: Any, value: Any) -> None:
    assert codec(sa.Boolean(), to, writes_former=False).decode(b"true", DIALECT) == value
    assert codec(to, sa.Boolean(), writes_former=False).decode(written(to, value), DIALECT) is True


class Mood(enum.Enum):
    GOOD = "good"


@pytest.mark.parametrize("tells_by_name", [True, False])
@pytest.mark.parametrize(
    "to, value, stored",
    [
        (sa.Integer(), 5, "5"),
        (sa.Numeric(6, 2), Decimal("1.50"), "1.50"),
        (sa.Uuid(), uuid.UUID(int=7), str(uuid.UUID(int=7))),
        (sa.Date(), dt.date(2020, 1, 2), "2020-01-02"),
        (sa.Enum(Mood), Mood.GOOD, "GOOD"),
        (sa.Boolean(), True, "true"),
    ],
    ids=str,
)
def test_text_becomes_what_it_says(to: Any, value: Any, stored: str, tells_by_name: bool) -> None:
    is_old = True if tells_by_name else None
    former = ChangedCodec(sa.String(), to, is_old=is_old, writes_former=True)
    data = former.encode(value, DIALECT)
    assert codec_for(sa.String()).decode(data, DIALECT) == stored
    assert former.decode(data, DIALECT) == value
    with pytest.raises(ValueDecodingError):
        former.decode(b"nothing of the kind", DIALECT)


def test_a_text_in_json_is_not_what_it_says() -> None:
    former = ChangedCodec(sa.JSON(), sa.Integer(), is_old=True, writes_former=False)
    with pytest.raises(ValueDecodingError):
        former.decode(b'"5"', DIALECT)


def test_json_looks_like_text_and_like_bytes() -> None:
    for other in (sa.String(), sa.LargeBinary()):
        assert look_alike(sa.JSON(), other)
        assert look_alike(other, sa.JSON())
    assert not look_alike(sa.String(), sa.LargeBinary())


def test_what_is_no_number_is_as_before() -> None:
    changed = codec(sa.Date(), sa.DateTime(), writes_former=True)
    assert changed.encode(dt.datetime(2020, 1, 2), DIALECT) == b"2020-01-02"
    with pytest.raises(ValueEncodingError, match="former type"):
        changed.encode(dt.datetime(2020, 1, 2, 3), DIALECT)
