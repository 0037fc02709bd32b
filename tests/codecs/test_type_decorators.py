"""A user's own TypeDecorator runs around the codec of the type it decorates."""

from __future__ import annotations

import datetime as dt
import pickle
import uuid
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from encfields.codecs import codec_for, max_plaintext_bytes
from encfields.codecs.base import BecomesNullError
from encfields.errors import DeclarationError, ValueDecodingError, ValueEncodingError
from tests.codecs.support import POSTGRESQL, SQLITE, everything_said_by

CANARY = "canary-7f3a9"


class Lower(sa.TypeDecorator[str]):
    impl = sa.String(20)
    cache_ok = True

    def process_bind_param(self, value, dialect):
        return value.lower()

    def process_result_value(self, value, dialect):
        return f"<{value}>"


class Guid(sa.TypeDecorator[uuid.UUID]):
    """SQLAlchemy's own recipe: another type, and another value, on PostgreSQL."""

    impl = sa.CHAR
    cache_ok = True

    def load_dialect_impl(self, dialect):
        if dialect.name == "postgresql":
            return dialect.type_descriptor(postgresql.UUID())
        return dialect.type_descriptor(sa.CHAR(32))

    def process_bind_param(self, value, dialect):
        return value if dialect.name == "postgresql" else value.hex

    def process_result_value(self, value, dialect):
        return value if isinstance(value, uuid.UUID) else uuid.UUID(value)


class Epoch(sa.TypeDecorator[dt.datetime]):
    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value, dialect):
        return int(value.timestamp())

    def process_result_value(self, value, dialect):
        return dt.datetime.fromtimestamp(value, dt.UTC)


class Outer(sa.TypeDecorator[str]):
    impl = Lower
    cache_ok = True

    def process_bind_param(self, value, dialect):
        return value + "!"


class Packed(sa.TypeDecorator[Any]):
    impl = sa.LargeBinary
    cache_ok = True

    def process_bind_param(self, value, dialect):
        return value.encode("utf-16-le")

    def process_result_value(self, value, dialect):
        return value.decode("utf-16-le")


class Document(sa.TypeDecorator[Any]):
    impl = sa.JSON
    cache_ok = True


class Failing(sa.TypeDecorator[Any]):
    impl = sa.String
    cache_ok = True

    def process_bind_param(self, value, dialect):
        if value is None or value == "":
            return
        raise ValueError(f"bad {value}", value)

    def process_result_value(self, value, dialect):
        raise ValueError(f"bad {value}", value)


def test_its_processing_runs_on_both_ways():
    codec = codec_for(Lower())
    assert codec.encode("ABC", SQLITE) == b"abc"
    assert codec.decode(b"abc", SQLITE) == "<abc>"


def test_it_may_decorate_another_kind_of_value():
    codec = codec_for(Epoch())
    moment = dt.datetime(2024, 2, 29, tzinfo=dt.UTC)
    assert codec.encode(moment, SQLITE) == b"1709164800"
    assert codec.decode(b"1709164800", SQLITE) == moment


def test_it_may_decorate_another_type_decorator():
    codec = codec_for(Outer())
    assert codec.encode("ABC", SQLITE) == b"abc!"
    assert codec.decode(b"abc!", SQLITE) == "<abc!>"


def test_the_type_it_loads_for_the_dialect_is_the_one_its_value_is_for():
    codec = codec_for(Guid())
    value = uuid.UUID("123e4567-e89b-12d3-a456-426614174000")
    for dialect, plaintext in ((SQLITE, value.hex.encode()), (POSTGRESQL, str(value).encode())):
        assert codec.encode(value, dialect) == plaintext
        assert codec.decode(plaintext, dialect) == value


def test_without_processing_it_is_the_type_it_decorates():
    codec = codec_for(Document())
    assert codec.encode({"a": 1}, SQLITE) == b'{"a":1}'
    assert codec.decode(b'{"a":1}', SQLITE) == {"a": 1}


@pytest.mark.parametrize(
    "item, value, plaintext",
    [
        (Lower(), ["AB", None], b'["ab",null]'),
        (Packed(), ["\u00ff"], b'["ff00"]'),
        (Document(), [{"a": 1}, [1]], b'[{"a":1},[1]]'),
        (Epoch(), [dt.datetime(1970, 1, 1, tzinfo=dt.UTC)], b"[0]"),
    ],
)
def test_as_an_items_type_it_has_the_form_of_the_type_it_decorates(item, value, plaintext):
    codec = codec_for(sa.ARRAY(item))
    assert codec.encode(value, SQLITE) == plaintext
    if not isinstance(item, Lower):
        assert codec.decode(plaintext, SQLITE) == value


def test_its_exception_is_told_by_class_only():
    with pytest.raises(ValueEncodingError) as caught:
        codec_for(Failing()).encode(CANARY, SQLITE)
    assert "process_bind_param of Failing raised ValueError for a value of type str" in str(
        caught.value
    )
    assert CANARY not in everything_said_by(caught.value)
    assert caught.value.__context__ is None


def test_its_exception_while_reading_is_told_by_class_only():
    with pytest.raises(ValueDecodingError) as caught:
        codec_for(Failing()).decode(CANARY.encode(), SQLITE)
    assert "process_result_value of Failing raised ValueError" in str(caught.value)
    assert CANARY not in everything_said_by(caught.value)
    assert caught.value.__context__ is None


def test_null_has_no_plaintext():
    with pytest.raises(BecomesNullError, match="returned None for a value") as caught:
        codec_for(Failing()).encode("", SQLITE)
    assert caught.value.reason == "null"


def test_what_it_returns_is_held_to_the_type_it_decorates():
    with pytest.raises(ValueEncodingError, match="characters; the column holds 20"):
        codec_for(Lower()).encode(CANARY * 2, SQLITE)


@pytest.mark.parametrize("impl", [sa.PickleType, sa.types.NullType, postgresql.INET])
def test_one_over_a_type_without_plaintext_is_refused_when_declared(impl):
    cls = type("Wrapped", (sa.TypeDecorator,), {"impl": impl, "cache_ok": True})
    with pytest.raises(DeclarationError, match="cannot be encrypted"):
        codec_for(cls())


def test_one_that_loads_a_type_without_plaintext_is_refused_on_that_dialect():
    class Address(sa.TypeDecorator[str]):
        impl = sa.String
        cache_ok = True

        def load_dialect_impl(self, dialect):
            own = postgresql.INET() if dialect.name == "postgresql" else sa.String()
            return dialect.type_descriptor(own)

    codec = codec_for(Address())
    assert codec.encode("::1", SQLITE) == b"::1"
    with pytest.raises(DeclarationError, match="INET"):
        codec.encode("::1", POSTGRESQL)


def test_its_bound_is_known_unless_the_dialect_decides():
    assert max_plaintext_bytes(Lower()) == 80
    assert max_plaintext_bytes(Guid()) is None


def test_its_codec_can_be_pickled_with_its_table():
    codec = codec_for(Lower())
    codec.encode("ABC", SQLITE)
    assert pickle.loads(pickle.dumps(codec)).encode("ABC", SQLITE) == b"abc"
