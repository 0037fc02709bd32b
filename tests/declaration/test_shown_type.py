"""Generators of forms and schemas see the inner type; the database sees bytes."""

from __future__ import annotations

import copy
import enum
import inspect
import pickle
from typing import Any, cast

import pytest
from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Date,
    Enum,
    Integer,
    Interval,
    LargeBinary,
    MetaData,
    Numeric,
    String,
    Table,
    TypeDecorator,
    Unicode,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateTable

from encfields import EncryptedType


class Colour(enum.Enum):
    RED = 1


class Notes(TypeDecorator[dict[str, Any]]):
    impl = JSON
    cache_ok = True


INNER: dict[str, tuple[Any, str]] = {
    "String": (String(9), "String"),
    "JSON": (JSON(), "JSON"),
    "Integer": (Integer(), "Integer"),
    "Date": (Date(), "Date"),
    "Enum": (Enum(Colour), "Enum"),
    "Numeric": (Numeric(5, 2), "Numeric"),
    "BigInteger": (BigInteger(), "BigInteger"),
    "Interval": (Interval(), "Interval"),
    "Unicode": (Unicode(9), "Unicode"),
    "TypeDecorator": (Notes(), "JSON"),
}


class Choice(TypeDecorator[str]):
    """A type of another library, which generators of forms ask for its choices."""

    impl = String(5)
    cache_ok = True
    region = "DE"

    def __init__(self, choices: list[str]) -> None:
        super().__init__()
        self.choices = choices
        self._secret = "s"


def test_what_another_librarys_type_adds_is_there():
    type_: Any = EncryptedType(Choice(["a", "b"]))
    assert (type_.choices, type_.region, type_.length) == (["a", "b"], "DE", 5)
    for missing in ("_secret", "nonsense"):
        with pytest.raises(AttributeError):
            getattr(type_, missing)
    assert pickle.loads(pickle.dumps(type_)).choices == ["a", "b"]
    assert copy.deepcopy(type_).region == "DE"


@pytest.mark.parametrize("name", INNER)
def test_the_class_that_is_decorated_is_the_inner_types(name):
    """As sqladmin and starlette-admin look it up: by ``impl`` of the type's own classes."""
    inner, shown = INNER[name]
    type_ = EncryptedType(inner)
    found = next(one.impl for one in inspect.getmro(type(type_)) if hasattr(one, "impl"))
    assert found.__name__ == shown
    assert type(type_).__name__ == "EncryptedType"


@pytest.mark.parametrize("name", INNER)
def test_the_inner_types_classes_are_found_by_their_names(name: str) -> None:
    """As Flask-Admin and WTForms-SQLAlchemy look it up: by the names of the class's own bases."""
    inner, shown = INNER[name]
    type_ = EncryptedType(inner)
    names = [f"{one.__module__}.{one.__name__}" for one in inspect.getmro(type(type_))]
    assert f"sqlalchemy.sql.sqltypes.{shown}" in names
    assert not isinstance(type_, type(inner))


@pytest.mark.parametrize("name", INNER)
def test_they_are_found_before_the_class_that_decorates_bytes(name: str) -> None:
    """As sqladmin goes through them for a field: a big integer has that of any integer."""
    inner, shown = INNER[name]
    kinds = inspect.getmro(type(EncryptedType(inner)))
    found = [kind.__name__ for kind in kinds[: kinds.index(EncryptedType)]]
    assert found[1] == shown
    assert {"BigInteger": "Integer", "Unicode": "String"}.get(shown, shown) in found


@pytest.mark.parametrize("name", INNER)
def test_what_the_type_decorates_is_the_inner_type(name):
    """As marshmallow-sqlalchemy asks of a TypeDecorator that it does not know."""
    inner, _ = INNER[name]
    type_: Any = EncryptedType(inner)
    assert type_.impl is type_.inner
    assert isinstance(type_.dialect_impl(sqlite.dialect()).impl, LargeBinary)


def test_what_a_form_asks_of_the_type_is_answered():
    assert EncryptedType(Enum(Colour)).enums == ["RED"]
    assert EncryptedType(Enum(Colour)).enum_class is Colour
    assert EncryptedType(String(9)).length == 9
    assert (EncryptedType(Numeric(5, 2)).precision, EncryptedType(Numeric(5, 2)).scale) == (5, 2)
    with pytest.raises(AttributeError):
        EncryptedType(Integer).enums  # noqa: B018


@pytest.mark.parametrize("name", INNER)
def test_the_column_holds_bytes_all_the_same(name):
    table = Table(
        "t",
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("v", EncryptedType(INNER[name][0])),
    )
    assert "v BLOB" in str(CreateTable(table))


@pytest.mark.parametrize("name", INNER)
def test_it_is_one_class_for_one_inner_type(name):
    inner, _ = INNER[name]
    type_ = EncryptedType(inner, key="k")
    again = [
        pickle.loads(pickle.dumps(type_)),
        copy.copy(type_),
        copy.deepcopy(type_),
        EncryptedType(inner, key="k"),
    ]
    for one in again:
        assert type(one) is type(type_)
        assert repr(one) == repr(type_)


def test_an_enumeration_is_of_none_of_the_databases_schemas():
    """alembic-postgresql-enum asks for it, and would make and alter an enumeration there."""
    type_: Any = EncryptedType(Enum(Colour))
    assert type_.schema == "none: it is encrypted"
    assert pickle.loads(pickle.dumps(type_)).schema == type_.schema
    with pytest.raises(AttributeError):
        _ = cast("Any", EncryptedType(JSON)).schema
