"""Types whose values have no documented plaintext are refused when the column is declared."""

from __future__ import annotations

import enum
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql

from encfields.codecs import codec_for, max_plaintext_bytes
from encfields.errors import DeclarationError
from tests.codecs.support import POSTGRESQL, SQLITE


class Point(sa.types.UserDefinedType[Any]):
    cache_ok = True

    def get_col_spec(self, **_options):
        return "POINT"


class OwnBind(sa.String):
    def bind_processor(self, dialect):
        return lambda value: value.upper()


class OwnExpression(sa.String):
    def column_expression(self, column):
        return sa.func.lower(column)


class OwnInterval(sa.Interval):
    cache_ok = True

    def process_bind_param(self, value, dialect):
        return value * 2


class OwnDecorator(sa.TypeDecorator[str]):
    impl = sa.String
    cache_ok = True

    def bind_expression(self, bindparam):
        return sa.func.lower(bindparam)


class Empty(enum.Enum):
    pass


REFUSED: list[tuple[sa.types.TypeEngine[Any], str]] = [
    (sa.PickleType(), "a pickle runs code when it is read.*use JSON"),
    (sa.types.NullType(), "NullType cannot be encrypted.*use Boolean, .*String"),
    (sa.types.TupleType(sa.Integer(), sa.String()), "TupleType"),
    (Point(), "Point cannot be encrypted"),
    (postgresql.INET(), "INET"),
    (postgresql.HSTORE(), "HSTORE"),
    (postgresql.INT4RANGE(), "INT4RANGE"),
    (postgresql.TSVECTOR(), "TSVECTOR"),
    (postgresql.BIT(3), "BIT"),
    (mysql.SET("a", "b"), "SET"),
    (mysql.YEAR(), "YEAR"),
    (sa.ARRAY(sa.PickleType), "PickleType"),
    (sa.ARRAY(postgresql.INET), "INET"),
    (OwnBind(), "it defines bind_processor.*use a TypeDecorator"),
    (OwnExpression(), "it defines column_expression"),
    (OwnInterval(), "it defines process_bind_param"),
    (OwnDecorator(), "it defines bind_expression"),
    (sa.ARRAY(OwnBind), "it defines bind_processor"),
    (sa.Enum(Empty), "no members"),
]


@pytest.mark.parametrize("inner, match", REFUSED, ids=lambda case: type(case).__name__)
def test_a_type_without_plaintext_is_refused_with_the_fix(inner, match):
    with pytest.raises(DeclarationError, match=match):
        codec_for(inner)


def test_a_decorator_over_a_type_with_its_own_processing_is_refused():
    class Over(sa.TypeDecorator[str]):
        impl = OwnBind
        cache_ok = True

    with pytest.raises(DeclarationError, match="it defines bind_processor"):
        codec_for(Over())


def test_a_class_is_taken_for_its_instance():
    assert codec_for(sa.Integer).encode(1, SQLITE) == b"1"
    assert max_plaintext_bytes(sa.Uuid) == 36


def test_variants_share_the_one_plaintext():
    codec = codec_for(sa.JSON().with_variant(postgresql.JSONB(), "postgresql"))
    assert codec.encode({"b": 1, "a": 2}, POSTGRESQL) == codec.encode({"b": 1, "a": 2}, SQLITE)


BASES = {"TypeEngine", "TypeDecorator", "UserDefinedType", "ExternalType", "Variant"}

ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "ARRAY": (sa.Integer,),
    "Enum": ("a",),
    "TupleType": (sa.Integer(),),
}

PUBLIC_TYPES = [
    name
    for name, cls in vars(sa.types).items()
    if name[0] != "_" and name not in BASES
    if isinstance(cls, type) and issubclass(cls, sa.types.TypeEngine)
]


@pytest.mark.parametrize("name", PUBLIC_TYPES)
def test_every_type_that_sqlalchemy_offers_has_a_codec_or_is_refused_on_purpose(name):
    inner = getattr(sa.types, name)(*ARGUMENTS.get(name, ()))
    if name in ("NullType", "PickleType", "TupleType"):
        with pytest.raises(DeclarationError, match=name):
            codec_for(inner)
    else:
        assert callable(codec_for(inner).encode)


BOUNDS: list[tuple[sa.types.TypeEngine[Any], int | None]] = [
    (sa.String(), None),
    (sa.String(10), 40),
    (sa.LargeBinary(), None),
    (sa.LargeBinary(10), 10),
    (sa.Integer(), 20),
    (sa.Float(), 24),
    (sa.Numeric(), None),
    (sa.Numeric(10, 2), 13),
    (sa.Numeric(2, 5), 8),
    (sa.Numeric(5, -2), 10),
    (sa.Boolean(), 5),
    (sa.Date(), 10),
    (sa.Time(), 31),
    (sa.DateTime(), 42),
    (sa.Interval(), 25),
    (sa.Uuid(), 36),
    (sa.Enum("a", "élevé"), 7),
    (sa.JSON(), None),
    (sa.ARRAY(sa.Boolean), None),
]


@pytest.mark.parametrize("inner, bound", BOUNDS, ids=lambda case: repr(case)[:30])
def test_the_longest_plaintext_is_known_where_there_is_one(inner, bound):
    assert max_plaintext_bytes(inner) == bound
