"""The ORM sees what changed: a mutation is written, and an unchanged value never is."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import (
    JSON,
    DateTime,
    Engine,
    Float,
    LargeBinary,
    Numeric,
    String,
    Uuid,
    event,
    select,
)
from sqlalchemy.ext.mutable import MutableDict, MutableList
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from encfields import EncryptedType, Encryption


class Base(DeclarativeBase):
    pass


class Patient(Base):
    __tablename__ = "patient"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    ssn: Mapped[str | None] = mapped_column(EncryptedType(String))
    born: Mapped[dt.datetime | None] = mapped_column(EncryptedType(DateTime))
    weight: Mapped[Decimal | None] = mapped_column(EncryptedType(Numeric(6, 2)))
    height: Mapped[float | None] = mapped_column(EncryptedType(Float))
    scan: Mapped[bytes | None] = mapped_column(EncryptedType(LargeBinary))
    ward: Mapped[uuid.UUID | None] = mapped_column(EncryptedType(Uuid))
    plain: Mapped[int] = mapped_column(default=0)
    notes: Mapped[Any] = mapped_column(MutableDict.as_mutable(EncryptedType(JSON)), nullable=True)
    tags: Mapped[Any] = mapped_column(MutableList.as_mutable(EncryptedType(JSON)), nullable=True)


VALUES: dict[str, Any] = {
    "ssn": "123-45-6789",
    "born": dt.datetime(1815, 12, 10, 7, 30),
    "weight": Decimal("61.50"),
    "height": 1.65,
    "scan": b"\0\1",
    "ward": uuid.UUID(int=7),
    "notes": {"a": 1},
    "tags": ["x"],
}


@pytest.fixture
def session(engine: Engine, encryption: Encryption) -> Iterator[Session]:
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(Patient(**VALUES))
        session.commit()
        yield session


@pytest.fixture
def updates(engine: Engine) -> list[str]:
    """The UPDATE statements that reach the database from now on."""
    seen: list[str] = []

    @event.listens_for(engine, "before_cursor_execute")
    def note(conn: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if statement.startswith("UPDATE patient"):
            seen.append(statement)

    return seen


def _patient(session: Session) -> Patient:
    return session.scalars(select(Patient)).one()


def test_a_loaded_value_is_not_dirty(session: Session, updates: list[str]) -> None:
    patient = _patient(session)
    session.refresh(patient)
    assert not session.is_modified(patient)
    session.commit()
    assert updates == []


@pytest.mark.parametrize("name", VALUES)
def test_setting_an_equal_value_writes_nothing(
    session: Session, updates: list[str], name: str
) -> None:
    patient = _patient(session)
    assert getattr(patient, name) == VALUES[name]
    setattr(patient, name, VALUES[name])
    session.commit()
    assert updates == []


def test_a_flushed_value_is_not_dirty_afterwards(session: Session, updates: list[str]) -> None:
    patient = _patient(session)
    patient.ssn = "987-65-4321"
    session.flush()
    assert len(updates) == 1
    assert not session.is_modified(patient)
    session.flush()
    session.commit()
    assert len(updates) == 1


def test_a_change_of_another_column_leaves_the_ciphertext_alone(
    session: Session, updates: list[str]
) -> None:
    _patient(session).plain = 5
    session.commit()
    (update,) = updates
    assert "ssn" not in update


def test_a_mutable_dictionary_is_tracked(session: Session) -> None:
    patient = _patient(session)
    patient.notes["b"] = [2]
    assert session.is_modified(patient)
    session.commit()
    session.expire_all()
    assert _patient(session).notes == {"a": 1, "b": [2]}


def test_a_mutable_list_is_tracked(session: Session) -> None:
    patient = _patient(session)
    patient.tags.append("y")
    assert session.is_modified(patient)
    session.commit()
    session.expire_all()
    assert _patient(session).tags == ["x", "y"]


def test_a_value_set_to_none_becomes_null(session: Session) -> None:
    patient = _patient(session)
    patient.ssn = patient.notes = None
    session.commit()
    session.expire_all()
    assert (_patient(session).ssn, _patient(session).notes) == (None, None)
    assert len(session.scalars(select(Patient).where(Patient.ssn.is_(None))).all()) == 1


def test_the_attribute_holds_the_value_after_the_flush_without_a_load(session: Session) -> None:
    patient = Patient(ssn="new", notes={"k": "v"})
    session.add(patient)
    session.flush()
    assert (patient.ssn, patient.notes) == ("new", {"k": "v"})
