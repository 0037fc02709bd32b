"""Look-ups follow the ORM's inheritance: one table for all, and a table for each class."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import ForeignKey, Integer, String, func, select, update
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    aliased,
    mapped_column,
    selectin_polymorphic,
    with_polymorphic,
)

from encfields import BlindIndex, EncryptedType
from tests.database import Database
from tests.index.clinic import ids
from tests.turns import databases_by_turns

pytestmark = databases_by_turns


class Base(DeclarativeBase):
    pass


def _number() -> Any:
    return EncryptedType(String(20), index=BlindIndex(domain="number"))


class Animal(Base):
    """One table for all its subclasses."""

    __tablename__ = "animal"
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "animal"}  # noqa: RUF012

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(String(10))
    chip: Mapped[str | None] = mapped_column(_number())


class Dog(Animal):
    __mapper_args__ = {"polymorphic_identity": "dog"}  # noqa: RUF012

    tag: Mapped[str | None] = mapped_column(_number())


class Person(Base):
    """A table for itself, and one more for each subclass."""

    __tablename__ = "person"
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "person"}  # noqa: RUF012

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(String(10))
    ssn: Mapped[str | None] = mapped_column(_number())
    name: Mapped[str | None] = mapped_column(String(20))


class Doctor(Person):
    __tablename__ = "doctor"
    __mapper_args__ = {"polymorphic_identity": "doctor"}  # noqa: RUF012

    id: Mapped[int] = mapped_column(ForeignKey("person.id"), primary_key=True)
    licence: Mapped[str | None] = mapped_column(_number())


def _fill(db: Database) -> None:
    with db.session() as session:
        session.add_all(
            [
                Animal(id=1, chip="a"),
                Dog(id=2, chip="a", tag="t"),
                Dog(id=3, chip="b", tag="a"),
                Person(id=1, ssn="s"),
                Doctor(id=2, ssn="s", licence="l"),
                Doctor(id=3, ssn="r", licence="s"),
            ]
        )
        session.commit()


@pytest.fixture
def practice(shared_tables: None, db: Database) -> Database:
    db.share(Base.metadata, fill=_fill)
    return db


def test_a_class_in_one_table_is_found_with_its_subclasses(practice):
    assert ids(practice, select(Animal.id).where(Animal.chip == "a")) == [1, 2]
    assert ids(practice, select(Dog.id).where(Dog.chip == "a")) == [2]
    assert ids(practice, select(Dog.id).where(Dog.chip != "a")) == [3]
    assert ids(practice, select(Dog.id).where(Dog.tag == "t")) == [2]
    with practice.session() as session:
        found = session.scalars(select(Animal).where(Animal.chip == "a").order_by(Animal.id)).all()
        assert [type(one) for one in found] == [Animal, Dog]
        assert found[1].tag == "t"


def test_an_alias_of_a_subclass_in_one_table_is_asked(practice):
    dog, other = aliased(Dog), aliased(Dog)
    assert ids(practice, select(dog.id).where(dog.chip == "a")) == [2]
    assert ids(practice, select(dog.id).join(other, dog.chip == other.tag)) == [2]
    assert ids(practice, select(Animal.id).join(dog, dog.tag == Animal.chip)) == [1, 2]


def test_a_class_in_two_tables_is_found_by_the_columns_of_either(practice):
    assert ids(practice, select(Person.id).where(Person.ssn == "s")) == [1, 2]
    assert ids(practice, select(Doctor.id).where(Doctor.ssn == "s")) == [2]
    assert ids(practice, select(Doctor.id).where(Doctor.licence == "s")) == [3]
    assert ids(practice, select(Doctor.id).where(Doctor.ssn == "s", Doctor.licence == "l")) == [2]
    assert ids(practice, select(Doctor.id).where(Doctor.ssn.in_(["s", "r"]))) == [2, 3]
    with practice.session() as session:
        doctor = session.scalars(select(Doctor).where(Doctor.licence == "l")).one()
        assert (doctor.ssn, doctor.licence) == ("s", "l")
        both = session.scalars(select(Person).where(Person.ssn == "s").order_by(Person.id)).all()
        assert [type(one) for one in both] == [Person, Doctor]


def test_polymorphic_entities_are_asked_by_every_column(practice):
    for flat in (False, True):
        everyone = with_polymorphic(Person, "*", flat=flat)
        assert ids(practice, select(everyone.id).where(everyone.ssn == "s")) == [1, 2]
        assert ids(practice, select(everyone.id).where(everyone.Doctor.licence == "l")) == [2]
    everyone = with_polymorphic(Person, [Doctor], aliased=True, flat=True)
    assert ids(practice, select(everyone.id).where(everyone.ssn == "s")) == [1, 2]
    assert ids(practice, select(everyone.id).where(everyone.Doctor.licence == "s")) == [3]
    with practice.session() as session:
        loaded = select(Person).options(selectin_polymorphic(Person, [Doctor]))
        doctor = session.scalars(loaded.where(Person.ssn == "r")).one()
        assert doctor.licence == "s"


@pytest.mark.parametrize("flat", [True, False])
def test_aliases_of_a_class_in_two_tables_are_asked(practice, flat):
    """Unless they are flat, SQLAlchemy puts the two tables into a subquery, without the index."""
    doctor, other = aliased(Doctor, flat=flat), aliased(Doctor, flat=flat)
    assert ids(practice, select(doctor.id).where(doctor.ssn == "s")) == [2]
    assert ids(practice, select(doctor.id).where(doctor.licence == "s")) == [3]
    assert ids(practice, select(doctor.id).where(doctor.licence != "s")) == [2]
    assert ids(practice, select(doctor.id).where(~doctor.licence.in_(["s", "x"]))) == [2]
    assert ids(
        practice, select(doctor.id).where(~((doctor.licence == "s") | (doctor.id == 9)))
    ) == [2]
    assert ids(practice, select(Person.id).join(doctor, doctor.licence == Person.ssn)) == [1, 2]
    crossed = select(doctor.id).join(other, doctor.licence == other.ssn)
    assert ids(practice, crossed) == [3]
    optional = select(Person.id).outerjoin(doctor, doctor.id == Person.id)
    assert ids(practice, optional.where(doctor.licence == None)) == [1]  # noqa: E711
    assert ids(practice, optional.where((doctor.licence != "s") | (Person.id == 1))) == [1, 2]
    with practice.session() as session:
        one = session.scalars(select(doctor).where(doctor.licence == "s")).one()
        assert (one.ssn, one.licence) == ("r", "s")


def test_polymorphic_entities_are_asked_as_a_subquery(practice):
    everyone = with_polymorphic(Person, [Doctor], aliased=True)
    either = (everyone.ssn == "s") | (everyone.Doctor.licence == "s")
    assert ids(practice, select(everyone.id).where(either)) == [1, 2, 3]


def test_columns_of_two_classes_are_joined(practice):
    joined = select(Doctor.id).join(Dog, Dog.chip != Doctor.licence).where(Dog.id == 2)
    assert ids(practice, joined) == [2, 3]
    assert ids(practice, select(Person.id).where(Person.ssn.in_(select(Doctor.licence)))) == [1, 2]
    assert ids(practice, select(Person.id).where(Person.ssn.in_(select(Doctor.ssn)))) == [1, 2, 3]


def test_a_subclass_is_updated_by_look_up(practice):
    with practice.session() as session:
        found = session.get(Doctor, 2)
        session.execute(update(Person).where(Person.ssn == "s").values(name="n"))
        assert found.name == "n"
        session.commit()
        assert session.scalar(select(func.count()).where(Person.name == "n")) == 2


# -- a table for each class, without one for all ---------------------------------------------------


class Mixin:
    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    ssn: Mapped[str | None] = mapped_column(EncryptedType(String(20), index=BlindIndex()))


class Nurse(Mixin, Base):
    __tablename__ = "nurse"


class Porter(Mixin, Base):
    __tablename__ = "porter"


def test_classes_that_share_a_mixin_have_indexes_of_their_own(db):
    db.create(Base.metadata)
    with db.session() as session:
        session.add_all([Nurse(id=1, ssn="s"), Porter(id=2, ssn="s")])
        session.commit()
    assert ids(db, select(Nurse.id).where(Nurse.ssn == "s")) == [1]
    assert ids(db, select(Porter.id).where(Porter.ssn == "s")) == [2]
    with db.plain.connect() as connection:
        hashes = {
            bytes(connection.exec_driver_sql(f"SELECT ssn_bidx FROM {name}").scalar_one())
            for name in ("nurse", "porter")
        }
    assert len(hashes) == 2
