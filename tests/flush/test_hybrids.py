"""Attributes that Python computes of encrypted values hinder no write, as with plain columns."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from sqlalchemy import JSON, Integer, String, insert, select, update
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.ext.indexable import index_property
from sqlalchemy.orm import DeclarativeBase, mapped_column

from encfields import EncryptedType
from encfields.errors import UnsupportedOperationError
from tests.turns import databases_by_turns

pytestmark = databases_by_turns


class Base(DeclarativeBase):
    pass


class Person(Base):
    __tablename__ = "person"

    id = mapped_column(Integer, primary_key=True, autoincrement=False)
    first = mapped_column(EncryptedType(String(50)))
    last = mapped_column(EncryptedType(String(50)))
    age = mapped_column(EncryptedType(Integer))
    more = mapped_column(EncryptedType(JSON))
    colour = index_property("more", "colour", default=None)

    @hybrid_property
    def name(self) -> Any:
        return self.first + " " + self.last

    @hybrid_property
    def greeting(self) -> Any:
        return "Dr. " + self.last

    @hybrid_property
    def is_adult(self) -> Any:
        return self.age >= 18

    @hybrid_property
    def is_called_ada(self) -> Any:
        return self.first == "Ada"


ADA = {"id": 1, "first": "Ada", "last": "Byron", "age": 36, "more": {"colour": "red"}}
BOB = {"id": 2, "first": "Bob", "last": "Doe", "age": 7, "more": {}}
WRITES = {
    "bulk insert": lambda session: session.execute(insert(Person), [ADA, BOB]),
    "insert mappings": lambda session: session.bulk_insert_mappings(Person, [ADA, BOB]),
    "bulk update": lambda session: session.execute(update(Person), [ADA, BOB]),
    "update mappings": lambda session: session.bulk_update_mappings(Person, [ADA, BOB]),
}


@pytest.mark.parametrize("way", WRITES)
def test_a_bulk_write_of_a_class_with_hybrids_over_encrypted_columns_works(way, db):
    db.create(Base.metadata)
    with db.session() as session:
        if "update" in way:
            session.add_all([Person(id=1, first="x"), Person(id=2, first="y")])
            session.commit()
        WRITES[way](session)
        session.commit()
        ada, bob = session.scalars(select(Person).order_by(Person.id))
        assert (ada.name, ada.greeting, ada.is_adult, ada.is_called_ada, ada.colour) == (
            "Ada Byron", "Dr. Byron", True, True, "red",
        )  # fmt: skip
        assert (bob.name, bob.is_adult, bob.is_called_ada, bob.colour) == (
            "Bob Doe", False, False, None,
        )  # fmt: skip


@pytest.mark.parametrize("name", ["name", "greeting", "is_adult", "is_called_ada", "colour"])
def test_a_class_lacks_a_hybrid_that_ciphertext_cannot_answer_and_says_why(name):
    assert not hasattr(Person, name)
    with pytest.raises(UnsupportedOperationError, match=r"person\.\w+: the database holds cipher"):
        getattr(Person, name)


def test_a_condition_that_states_such_a_hybrid_is_refused_with_the_reason(db):
    db.create(Base.metadata)
    with db.session() as session:
        stated = [
            lambda: select(Person).filter_by(name="Ada Byron"),
            lambda: update(Person).filter_by(name="Ada Byron"),
            lambda: session.query(Person).filter_by(is_adult=True),
            lambda: session.query(Person.id).filter_by(greeting="Dr. Byron").delete(),
        ]
        for state in stated:
            with pytest.raises(UnsupportedOperationError, match="cannot answer") as refused:
                state()
            assert not isinstance(refused.value, AttributeError)


def test_a_refused_operator_is_the_same_error_after_pickling():
    with pytest.raises(UnsupportedOperationError) as refused:
        Person.first + "x"
    again = pickle.loads(pickle.dumps(refused.value))
    assert type(again) is UnsupportedOperationError
    assert (str(again), again.column) == (str(refused.value), "first")
    assert type(refused.value).__name__ == "UnsupportedOperationError"
