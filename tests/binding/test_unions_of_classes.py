"""A UNION whose branches say which class and row a value is of is read, as one of tables is."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import String, literal_column, select, true, union, union_all
from sqlalchemy.orm import DeclarativeBase, Mapped, aliased, mapped_column

from encfields import EncryptedType
from encfields.errors import ContextMismatchError, UnreadableError
from tests.turns import databases_by_turns

pytestmark = databases_by_turns


class Base(DeclarativeBase):
    pass


class Patient(Base):
    __tablename__ = "patient"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str | None] = mapped_column(EncryptedType(String(50)))


class Doctor(Base):
    __tablename__ = "doctor"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    called: Mapped[str | None] = mapped_column(EncryptedType(String(50)))


def of_class(name: str) -> Any:
    return literal_column(f"'{name}'", String).label("of")


PATIENTS = select(Patient.id, of_class("patient"), Patient.name.label("name"))
DOCTORS = select(Doctor.number, of_class("doctor"), Doctor.called)
READ = {
    "subquery": union_all(PATIENTS, DOCTORS).subquery(),
    "CTE": union_all(PATIENTS, DOCTORS).cte("people"),
    "distinct": union(PATIENTS, DOCTORS).subquery(),
    "some": union_all(PATIENTS.where(Patient.id < 9), DOCTORS).subquery(),
}


@pytest.fixture
def people(db):
    db.create(Base.metadata)
    with db.session() as session:
        session.add_all([Patient(id=1, name="Ada"), Doctor(number=1, called="Bob")])
        session.add_all([Patient(id=2), Doctor(number=3, called="Eve")])
        session.commit()
    return db


@pytest.mark.parametrize("way", READ)
def test_a_union_of_attributes_with_key_and_constant_is_read(way, people):
    found = READ[way]
    with people.session() as session:
        rows = session.execute(select(found.c.of, found.c.id, found.c.name)).all()
    assert sorted(map(tuple, rows)) == [
        ("doctor", 1, "Bob"), ("doctor", 3, "Eve"), ("patient", 1, "Ada"), ("patient", 2, None),
    ]  # fmt: skip


def test_a_value_of_another_class_s_row_does_not_open_in_a_union(people):
    with people.engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE doctor SET called = (SELECT name FROM patient WHERE id = 1) WHERE number = 1"
        )
    with people.session() as session, pytest.raises(ContextMismatchError, match="doctor"):
        session.execute(select(READ["subquery"].c.name)).all()


other = aliased(Patient)
UNREADABLE = {
    "another row's key": select(other.id, of_class("patient"), Patient.name).join(Patient, true()),
    "no key": select(literal_column("1"), of_class("patient"), Patient.name),
    "the same constant": select(Patient.id, of_class("doctor"), Patient.name),
}


@pytest.mark.parametrize("way", UNREADABLE)
def test_a_union_of_attributes_that_does_not_tell_the_row_is_refused(way, people):
    both = union_all(UNREADABLE[way], DOCTORS).subquery()
    with people.session() as session, pytest.raises(UnreadableError, match="UNION"):
        session.execute(select(both.c[2])).all()
