"""A UNION of tables that is executed itself gives each value by the table and row it is in."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import (
    Date,
    String,
    Text,
    except_,
    except_all,
    intersect,
    literal_column,
    null,
    select,
    union,
    union_all,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from encfields import EncryptedType
from encfields.errors import ContextMismatchError, UnsupportedOperationError


class Base(DeclarativeBase):
    pass


class Patient(Base):
    __tablename__ = "patient"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str | None] = mapped_column(EncryptedType(String(50)))


class Doctor(Base):
    __tablename__ = "doctor"
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    clinic: Mapped[str] = mapped_column(String(9))
    called: Mapped[str | None] = mapped_column(EncryptedType(Text, key="clinic/{clinic}"))
    since: Mapped[dt.date | None] = mapped_column(EncryptedType(Date))


def of_class(name: str) -> Any:
    return literal_column(f"'{name}'", String).label("of")


PATIENTS = select(Patient.id, of_class("patient"), Patient.name)
DOCTORS = select(Doctor.number, of_class("doctor"), Doctor.called)
NAMED = [(1, "patient", "Ada"), (1, "doctor", "Bob"), (2, "patient", None), (3, "doctor", "Eve")]


@pytest.fixture
def people(db):
    db.create(Base.metadata)
    for clinic in ("a", "b"):
        db.create_key(f"clinic/{clinic}")
    with db.session() as session:
        session.add_all([Patient(id=1, name="Ada"), Patient(id=2)])
        session.add(Doctor(number=1, clinic="a", called="Bob", since=dt.date(2020, 1, 2)))
        session.add(Doctor(number=3, clinic="b", called="Eve"))
        session.commit()
    return db


def _rows(people: Any, statement: Any) -> list[tuple[Any, ...]]:
    with people.session() as session:
        return [tuple(row) for row in session.execute(statement)]


READ: dict[str, tuple[Any, list[Any]]] = {
    "key and constant": (union_all(PATIENTS, DOCTORS), NAMED),
    "the other one first": (union_all(DOCTORS, PATIENTS), NAMED),
    "of tables": (
        union_all(
            select(Patient.__table__.c.id, of_class("patient"), Patient.__table__.c.name),
            select(Doctor.__table__.c.number, of_class("doctor"), Doctor.__table__.c.called),
        ),
        NAMED,
    ),
    "the values alone": (
        union_all(select(Patient.name), select(Doctor.called)),
        [(name,) for _, _, name in NAMED],
    ),
    "of several types": (
        union_all(select(Patient.name), select(Doctor.since)),
        [("Ada",), (None,), (dt.date(2020, 1, 2),), (None,)],
    ),
    "beside NULLs": (
        union_all(PATIENTS, select(Doctor.number, of_class("doctor"), null()), DOCTORS),
        [*NAMED, (1, "doctor", None), (3, "doctor", None)],
    ),
}


@pytest.mark.parametrize("way", READ)
def test_a_union_that_is_executed_gives_the_values_of_each_of_its_tables(people, way):
    statement, wanted = READ[way]
    for _ in range(2):
        assert sorted(_rows(people, statement), key=str) == sorted(wanted, key=str)


def test_a_value_that_was_moved_to_another_table_of_the_union_does_not_open(people):
    people.execute_plain(
        "UPDATE patient SET name = (SELECT since FROM doctor WHERE number = 1) WHERE id = 1"
    )
    patient, doctor = Patient.__table__, Doctor.__table__
    with pytest.raises(ContextMismatchError) as refused:
        _rows(people, union_all(select(doctor.c.since), select(patient.c.name)))
    assert (refused.value.table, refused.value.column) == ("patient", "name")


DOCTORS_ALONE = select(Doctor.number, Doctor.called)
COMPARED: dict[str, Callable[[], Any]] = {
    "union": lambda: union(select(Patient.id, Patient.name), DOCTORS_ALONE),
    "except": lambda: except_all(select(Patient.id, Patient.name), DOCTORS_ALONE),
    "intersect": lambda: intersect(select(Patient.id, Patient.name), DOCTORS_ALONE),
    "one constant": lambda: union(
        PATIENTS, select(Doctor.number, of_class("patient"), Doctor.called)
    ),
    "in a subquery": lambda: select(
        union(select(Patient.id, Patient.name), DOCTORS_ALONE).subquery().c.id
    ),
}


@pytest.mark.parametrize("way", COMPARED)
def test_two_columns_that_would_be_compared_by_their_messages_are_refused(people, way):
    with pytest.raises(UnsupportedOperationError, match="would compare its messages with"):
        _rows(people, COMPARED[way]())


ALIKE: dict[str, tuple[Any, list[Any]]] = {
    "constants": (union(PATIENTS, DOCTORS), NAMED),
    "one column": (
        except_(
            select(Patient.id, Patient.name), select(Patient.id, Patient.name).where(Patient.id > 1)
        ),
        [(1, "Ada")],
    ),
    "nothing beside it": (
        union(select(Patient.id, Patient.name), select(Doctor.number, null())),
        [(1, "Ada"), (2, None), (1, None), (3, None)],
    ),
}


@pytest.mark.parametrize("way", ALIKE)
def test_rows_that_key_or_constant_tells_apart_are_compared(people, way):
    statement, wanted = ALIKE[way]
    assert sorted(_rows(people, statement), key=str) == sorted(wanted, key=str)
