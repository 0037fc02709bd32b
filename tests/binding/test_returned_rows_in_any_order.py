"""A database may return the rows of an INSERT in any order: each value stays beside its row's.

Servers return them as they were inserted, mostly. SQLAlchemy's own fixture shuffles them.
"""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import ForeignKey, Identity, Integer, String, insert
from sqlalchemy.orm import DeclarativeBase, Session, mapped_column
from sqlalchemy.testing.fixtures.sql import insertmanyvalues_fixture

from encfields import EncryptedType


class Base(DeclarativeBase):
    pass


class Animal(Base):
    __tablename__ = "animal"
    id = mapped_column(Integer, Identity(), primary_key=True)
    kind = mapped_column(String(9))
    name = mapped_column(EncryptedType(String(20)))
    legs = mapped_column(Integer)
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "animal"}  # noqa: RUF012


class Dog(Animal):
    __tablename__ = "dog"
    id = mapped_column(ForeignKey(Animal.id), primary_key=True)
    chip = mapped_column(EncryptedType(String(20)))
    age = mapped_column(Integer)
    __mapper_args__ = {"polymorphic_identity": "dog"}  # noqa: RUF012


ROWS = [{"name": f"n{n}", "legs": n, "chip": f"c{n}", "age": 10 + n} for n in range(8)]
WHOLE = [(row["name"], row["legs"], row["chip"], row["age"]) for row in ROWS]


@pytest.fixture
def shuffled(db):
    db.backend.require_returning()
    db.create(Base.metadata)
    with db.engine.connect() as connection:
        insertmanyvalues_fixture(connection, randomize_rows=True)
        with Session(connection) as session:
            yield session


def _columns(cls: Any, *, in_order: bool) -> Any:
    columns = Animal.name, Animal.legs, *((Dog.chip, Dog.age) if cls is Dog else ())
    return insert(cls).returning(*columns, sort_by_parameter_order=in_order)


def test_rows_of_a_joined_subclass_are_put_together_of_their_own_parts(shuffled):
    returned = shuffled.execute(_columns(Dog, in_order=False), ROWS)
    assert sorted(map(tuple, returned)) == WHOLE


def test_rows_are_returned_in_the_order_that_was_asked_for(shuffled):
    assert [*map(tuple, shuffled.execute(_columns(Dog, in_order=True), ROWS))] == WHOLE
    of_base = [{"name": row["name"], "legs": row["legs"]} for row in ROWS]
    returned = shuffled.execute(_columns(Animal, in_order=True), of_base)
    assert [*map(tuple, returned)] == [(row["name"], row["legs"]) for row in ROWS]
    objects = shuffled.scalars(insert(Dog).returning(Dog, sort_by_parameter_order=True), ROWS)
    assert [(dog.name, dog.legs, dog.chip, dog.age) for dog in objects] == WHOLE
