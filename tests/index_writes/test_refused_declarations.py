"""What cannot be indexed, or would give too much away, is refused where it is declared."""

from __future__ import annotations

import enum
from typing import Any

import pytest
from sqlalchemy import (
    ARRAY,
    JSON,
    Boolean,
    Column,
    Date,
    Enum,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    func,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

from encfields import BlindIndex, CompoundBlindIndex, EncryptedType
from encfields.errors import DeclarationError
from encfields.index.transforms import casefold, first, last, year


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Flag(TypeDecorator[bool]):
    impl = Boolean
    cache_ok = True


class Chosen(TypeDecorator[str]):
    impl = Enum("a", "b")
    cache_ok = True


def compound_of(*parts: Any) -> CompoundBlindIndex:
    return CompoundBlindIndex("a", *parts)


def table_of(*items: Any) -> Table:
    return Table(
        "t", MetaData(), Column("id", Integer, primary_key=True), Column("tenant", Integer), *items
    )


FEW = {
    "boolean": Boolean(),
    "enum": Enum(Colour),
    "enum of strings": Enum("a", "b", "c"),
    "decorated boolean": Flag(),
    "decorated enum": Chosen(),
}


@pytest.mark.parametrize("inner", FEW.values(), ids=FEW.keys())
def test_a_column_of_few_values_is_refused_unless_a_reason_is_given(inner):
    for reason in (None, "", "  "):
        with pytest.raises(DeclarationError, match="accept_leakage") as caught:
            EncryptedType(inner, index=BlindIndex(accept_leakage=reason))
        assert caught.value.reason == "leakage"
    EncryptedType(inner, index=BlindIndex(accept_leakage="reviewed: nobody else reads it"))


def test_the_reason_is_kept_with_the_declaration():
    index = BlindIndex(accept_leakage="reviewed by A. L.")
    type_ = EncryptedType(Boolean, index=index)
    assert type_.indexes[0].accept_leakage == "reviewed by A. L."


TRANSFORMS = {
    "casefold of an integer": (Integer(), casefold),
    "last4 of a date": (Date(), last(4)),
    "first of bytes": (LargeBinary(), first(2)),
    "year of a text": (String(), year),
    "exact of JSON": (JSON(), None),
    "exact of an array": (ARRAY(Integer), None),
}


@pytest.mark.parametrize("inner, transform", TRANSFORMS.values(), ids=TRANSFORMS.keys())
def test_a_transform_that_the_values_do_not_have_is_refused(inner, transform):
    with pytest.raises(DeclarationError, match="cannot be applied"):
        EncryptedType(inner, index=BlindIndex(transform))


ARGUMENTS = {
    "a text for a transform": lambda: BlindIndex("casefold"),  # type: ignore[arg-type]
    "no bits": lambda: BlindIndex(bits=0),
    "three bits": lambda: BlindIndex(bits=3),
    "too many bits": lambda: BlindIndex(bits=257),
    "bits that are no number": lambda: BlindIndex(bits=True),
    "a name with a blank": lambda: BlindIndex(name="a b"),
    "a name with a quote": lambda: BlindIndex(name='a"'),
    "no version": lambda: BlindIndex(versions=()),
    "version 0": lambda: BlindIndex(versions=(0,)),
    "a version twice": lambda: BlindIndex(versions=(1, 1)),
    "three versions": lambda: BlindIndex(versions=(1, 2, 3)),
    "one part": lambda: CompoundBlindIndex("a", "b"),
    "a part without its transform": lambda: compound_of(("b",), "c"),
    "a part with two transforms": lambda: compound_of(("b", casefold, year), "c"),
    "a part with a transform's name": lambda: compound_of(("b", "casefold"), "c"),
    "a part that is a number": lambda: compound_of(1, "c"),
    "no part": lambda: CompoundBlindIndex("a"),
    "a part twice": lambda: CompoundBlindIndex("a", "b", "b"),
    "a part twice, transformed": lambda: CompoundBlindIndex("a", "b", ("b", casefold)),
    "a compound name with a blank": lambda: CompoundBlindIndex("a b", "c", "d"),
    "an index that is none": lambda: EncryptedType(index="exact"),  # type: ignore[arg-type]
    "a compound index for one column": lambda: EncryptedType(
        index=CompoundBlindIndex("a", "b", "c")  # type: ignore[arg-type]
    ),
    "two of one name": lambda: EncryptedType(index=[BlindIndex(), BlindIndex(bits=8)]),
    "two of one name, given": lambda: EncryptedType(
        index=[BlindIndex(name="a"), BlindIndex(casefold, name="a")]
    ),
}


@pytest.mark.parametrize("declare", ARGUMENTS.values(), ids=ARGUMENTS.keys())
def test_an_argument_that_makes_no_sense_is_refused(declare):
    with pytest.raises(DeclarationError):
        declare()


def secret(name: str, inner: Any = String, **options: Any) -> Column[Any]:
    return Column(name, EncryptedType(inner, **options))


TABLES = {
    "another column of the index's name": (
        "name=",
        lambda: table_of(Column("ssn_bidx", String), secret("ssn", index=BlindIndex())),
    ),
    "two indexes in one column": (
        "name=",
        lambda: table_of(
            secret("who", index=BlindIndex()),
            secret("b"),
            CompoundBlindIndex("who", "who", "b"),
        ),
    ),
    "a compound index of a column that is not there": (
        "nothing",
        lambda: table_of(secret("a"), CompoundBlindIndex("both", "a", "nothing")),
    ),
    "a compound index of a plain column": (
        "tenant",
        lambda: table_of(secret("a"), CompoundBlindIndex("both", "a", "tenant")),
    ),
    "a compound index of columns under different keys": (
        "key=",
        lambda: table_of(
            secret("a"), secret("b", key="other"), CompoundBlindIndex("both", "a", "b")
        ),
    ),
    "a compound index of a transform that does not fit": (
        "cannot be applied",
        lambda: table_of(
            secret("a"), secret("b", Date), CompoundBlindIndex("both", "a", ("b", last(4)))
        ),
    ),
    "a compound index of JSON": (
        "cannot be applied",
        lambda: table_of(secret("a"), secret("b", JSON), CompoundBlindIndex("both", "a", "b")),
    ),
    "a compound index of flags": (
        "accept_leakage",
        lambda: table_of(
            secret("a", Boolean), secret("b", Enum(Colour)), CompoundBlindIndex("both", "a", "b")
        ),
    ),
    "a key template that is not the column's": (
        "template",
        lambda: table_of(secret("a", index=BlindIndex(key="tenant/{tenant}"))),
    ),
    "an index on a function of the column": (
        "computed of a ciphertext",
        lambda: Index(
            "ix", func.lower(table_of(secret("ssn", index=BlindIndex())).c.ssn), unique=True
        ),
    ),
}


@pytest.mark.parametrize("told, declare", TABLES.values(), ids=TABLES.keys())
def test_a_table_that_cannot_hold_the_index_is_refused(told, declare):
    with pytest.raises(DeclarationError) as caught:
        declare()
    assert told in str(caught.value)
    assert caught.value.table == "t"


def test_columns_of_few_values_may_be_part_of_a_compound_index():
    table_of(secret("a", Boolean), secret("b"), CompoundBlindIndex("both", "a", "b"))
    table_of(
        secret("a", Boolean),
        secret("b", Boolean),
        CompoundBlindIndex("both", "a", "b", accept_leakage="reviewed"),
    )


def declare_a_column_of_the_index_s_name() -> None:
    class Base(DeclarativeBase):
        pass

    class Model(Base):
        __tablename__ = "t"
        id: Mapped[int] = mapped_column(primary_key=True)
        ssn: Mapped[str] = mapped_column(EncryptedType(index=BlindIndex()))
        ssn_bidx: Mapped[bytes] = mapped_column(LargeBinary)


def test_a_column_of_the_application_s_own_is_never_replaced():
    with pytest.raises(DeclarationError, match="name="):
        declare_a_column_of_the_index_s_name()


class Shouted(TypeDecorator[str]):
    impl = String
    cache_ok = True


def test_a_type_of_the_user_s_own_is_indexed_as_the_type_that_it_decorates():
    EncryptedType(Shouted, index=[BlindIndex(), BlindIndex(casefold)])
    with pytest.raises(DeclarationError, match="cannot be applied"):
        EncryptedType(Shouted, index=BlindIndex(year))
