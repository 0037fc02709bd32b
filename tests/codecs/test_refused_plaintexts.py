"""An authentic plaintext that the column's type never writes is refused, and never printed."""

from __future__ import annotations

import enum
from typing import Any

import pytest
import sqlalchemy as sa

from encfields.codecs import codec_for
from encfields.errors import DecryptionError, ValueDecodingError
from tests.codecs.support import SQLITE, everything_said_by

CANARY = b"canary-7f3a9"


class Colour(enum.Enum):
    RED = "rouge"


REFUSED: list[tuple[sa.types.TypeEngine[Any], list[bytes]]] = [
    (sa.String(), [CANARY + b"\xff", b"\xed\xa0\x80"]),
    (sa.Integer(), [b"", CANARY, b"+7", b" 7", b"1_000", b"007", b"-0", b"7.0", b"7" * 5000]),
    (sa.Integer(), ["\N{ARABIC-INDIC DIGIT SEVEN}".encode()]),
    (sa.Float(), [b"", CANARY, b"nan", b"inf", b" 1.0", b"1_0.0", b"1e999", b"0x1p3", b"1.0\n"]),
    (sa.Numeric(), [b"", CANARY, b"NaN", b"1E+3", b"+1", b"01", b".5", b"1.", b"1.0\n", b"\xff"]),
    (sa.Boolean(), [b"", CANARY, b"True", b"1", b"false "]),
    (sa.Date(), [b"", CANARY, b"20240229", b"2024-W01-1", b"2024-02-30", b"2024-02-29T00:00:00"]),
    (sa.Time(), [b"", CANARY, b"13:05", b"130500", b"13:05:00.5", b"25:00:00", b"13:05:00Z"]),
    (sa.DateTime(), [b"", CANARY, b"2024-02-29", b"2024-02-29 13:05:00", b"2024-02-29T13:05:00Z"]),
    (sa.Interval(), [b"", CANARY, b"P1D", b"PT1.5S", b"PT01S", b"-PT0S", b"PT1.000000S"]),
    (sa.Interval(), [b"PT99999999999999S", b"1.0", b"PT1S\n"]),
    (sa.Uuid(), [b"", CANARY, b"123E4567-E89B-12D3-A456-426614174000", b"\xff"]),
    (sa.Uuid(), [b"{123e4567-e89b-12d3-a456-426614174000}", b"123e4567e89b12d3a456426614174000"]),
    (sa.Enum(Colour), [b"", CANARY, b"rouge", b"\xff"]),
    (sa.Enum("a", "b"), [b"", CANARY, b"A"]),
    (sa.JSON(), [b"", CANARY, b"NaN", b"[Infinity]", b"{'a':1}", b"\xff", b"[" * 200_000]),
    (sa.ARRAY(sa.String), [b"", CANARY, b"{}", b'"a"', b"[1]", b"[true]", b'["\\ud800"]']),
    (sa.ARRAY(sa.Integer), [b'["1"]', b"[1.0]", b"[true]", b"[{}]", b'["NaN"]']),
    (sa.ARRAY(sa.Float), [b'["1.0"]', b"[true]", b'["nan"]']),
    (sa.ARRAY(sa.Boolean), [b"[1]", b'["true"]']),
    (sa.ARRAY(sa.LargeBinary), [b'["0"]', b'["FF"]', b'["00 ff"]', b"[0]"]),
    (sa.ARRAY(sa.Date), [b'["' + CANARY + b'"]', b"[20240229]"]),
]

CASES = [(inner, data) for inner, plaintexts in REFUSED for data in plaintexts]


@pytest.mark.parametrize("inner, data", CASES, ids=lambda case: repr(case)[:40])
def test_what_the_type_never_writes_is_refused_and_not_repeated(inner, data):
    with pytest.raises(ValueDecodingError) as caught:
        codec_for(inner).decode(data, SQLITE)
    error = caught.value
    assert isinstance(error, DecryptionError)
    assert "authentic" in str(error)
    assert error.reason == "plaintext"
    assert error.__cause__ is None
    assert error.__context__ is None
    assert CANARY.decode() not in everything_said_by(error)


def test_a_failing_json_deserializer_leaks_nothing():
    def deserialize(text: str) -> Any:
        raise KeyError(text)

    engine = sa.create_engine("sqlite://", json_deserializer=deserialize)
    with pytest.raises(ValueDecodingError, match="KeyError") as caught:
        codec_for(sa.JSON()).decode(b'"' + CANARY + b'"', engine.dialect)
    assert CANARY.decode() not in everything_said_by(caught.value)
    engine.dispose()
