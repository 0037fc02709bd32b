"""factory_boy: rows are built, created, and got or created by an encrypted column."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

import factory
import pytest
from factory.alchemy import SQLAlchemyModelFactory
from sqlalchemy import JSON, Date, ForeignKey, String, select
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    mapped_column,
    relationship,
    scoped_session,
    sessionmaker,
)

from encfields import BlindIndex, EncryptedType
from encfields.testing import attach_locally
from tests.frameworks.stored import assert_sealed
from tests.servers.backends import Backend


class Base(DeclarativeBase):
    pass


class Patient(Base):
    __tablename__ = "patient"
    id: Mapped[int] = mapped_column(primary_key=True)
    ssn: Mapped[str] = mapped_column(EncryptedType(String(11), index=BlindIndex(unique=True)))
    born: Mapped[date] = mapped_column(EncryptedType(Date))
    visits: Mapped[list[Visit]] = relationship(back_populates="patient")


class Visit(Base):
    __tablename__ = "visit"
    id: Mapped[int] = mapped_column(primary_key=True)
    patient_id: Mapped[int] = mapped_column(ForeignKey("patient.id"))
    patient: Mapped[Patient] = relationship(back_populates="visits")
    notes: Mapped[dict[str, Any]] = mapped_column(EncryptedType(JSON))


SESSION = scoped_session(sessionmaker())


class PatientFactory(SQLAlchemyModelFactory):
    class Meta:
        model = Patient
        sqlalchemy_session = SESSION
        sqlalchemy_session_persistence = "commit"
        sqlalchemy_get_or_create = ("ssn",)

    ssn = factory.Sequence("123-45-{:04}".format)
    born = factory.Faker("date_object")


class VisitFactory(SQLAlchemyModelFactory):
    class Meta:
        model = Visit
        sqlalchemy_session = SESSION
        sqlalchemy_session_persistence = "flush"

    patient = factory.SubFactory(PatientFactory)
    notes = factory.LazyAttribute(lambda visit: {"of": visit.patient.ssn})


@pytest.fixture
def session(backend: Backend) -> Iterator[Session]:
    engine = backend.create_engine()
    Base.metadata.create_all(engine)
    attach_locally(engine)
    SESSION.configure(bind=engine)
    PatientFactory.reset_sequence()
    yield SESSION()
    SESSION.remove()


def test_rows_are_created_and_read_again(session: Session) -> None:
    made = PatientFactory.create_batch(3)
    dates = [one.born for one in made]
    session.expunge_all()
    found = session.scalars(select(Patient).order_by(Patient.id)).all()
    assert [one.ssn for one in found] == ["123-45-0000", "123-45-0001", "123-45-0002"]
    assert [one.born for one in found] == dates
    assert_sealed(session.connection(), "patient", "ssn", *(one.ssn for one in found))


def test_get_or_create_finds_the_row_by_its_blind_index(session: Session) -> None:
    first = PatientFactory(ssn="999-99-9999")
    session.expire_all()
    assert PatientFactory(ssn="999-99-9999") is first
    assert PatientFactory(ssn="888-88-8888") is not first
    assert len(session.scalars(select(Patient)).all()) == 2


def test_related_rows_are_created_along(session: Session) -> None:
    visit = VisitFactory(patient__ssn="777-77-7777")
    session.commit()
    number = visit.id
    session.expunge_all()
    (found,) = session.scalars(select(Visit)).all()
    assert (found.id, found.notes) == (number, {"of": "777-77-7777"})
    assert found.patient.ssn == "777-77-7777"


def test_what_is_only_built_is_not_stored(session: Session) -> None:
    assert PatientFactory.build().ssn == "123-45-0000"
    assert session.scalars(select(Patient)).all() == []
