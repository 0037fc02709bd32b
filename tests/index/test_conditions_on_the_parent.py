"""A relationship's condition on the row's own encrypted column answers however it is loaded.

A lazy loader, ``with_parent()`` and ``relationship == object`` put the row's value into the place
of its column, so that two values are compared, and no row is there to ask.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import ForeignKey, Integer, String, select
from sqlalchemy.orm import (
    declarative_base,
    joinedload,
    lazyload,
    mapped_column,
    relationship,
    selectinload,
    with_parent,
)

from encfields import BlindIndex, EncryptedType
from encfields.errors import UnsupportedOperationError
from encfields.index.transforms import first
from tests.database import Database

CONDITIONS = {
    "equal": "Patient.name == 'Ada'",
    "unequal": "Patient.name != 'Ada'",
    "listed": "Patient.name.in_(['Ada', 'Bee'])",
    "not listed": "Patient.name.not_in(['Ada'])",
    "null": "Patient.name.is_(None)",
    "equal to null": "Patient.name == None",
    "not null": "Patient.name.is_not(None)",
    "either": "or_(Patient.name == 'Ada', Visit.note == 'c')",
    "columns": "Patient.name == Visit.note",
}


class Twin:
    """Patients and their visits; plaintext or encrypted."""

    def __init__(self, prefix: str, secret: Callable[[], Any], condition: str) -> None:
        base: Any = declarative_base()
        self.metadata = base.metadata

        class Patient(base):  # type: ignore[misc]
            __tablename__ = f"{prefix}_patient"
            id = mapped_column(Integer, primary_key=True, autoincrement=False)
            name = mapped_column(secret())
            visits = relationship(
                "Visit",
                primaryjoin=f"and_(Patient.id == Visit.patient_id, {condition})",
                order_by="Visit.id",
                viewonly=True,
            )

        class Visit(base):  # type: ignore[misc]
            __tablename__ = f"{prefix}_visit"
            id = mapped_column(Integer, primary_key=True, autoincrement=False)
            patient_id = mapped_column(ForeignKey(Patient.id))
            note = mapped_column(secret())
            patient = relationship(
                Patient,
                primaryjoin=f"and_(Patient.id == Visit.patient_id, {condition})",
                viewonly=True,
            )

        self.Patient, self.Visit = Patient, Visit

    def fill(self, db: Database) -> None:
        db.create(self.metadata)
        with db.session() as session:
            session.add_all(
                self.Patient(id=n, name=name) for n, name in ((1, "Ada"), (2, "Bee"), (3, None))
            )
            session.flush()
            session.add_all(
                self.Visit(id=10 * n + m, patient_id=n, note=note)
                for n in (1, 2, 3)
                for m, note in enumerate(("Ada", "c", None))
            )
            session.commit()

    def loaded(self, db: Database, loader: Callable[[Any], Any]) -> list[Any]:
        with db.session() as session:
            patients = select(self.Patient).order_by(self.Patient.id)
            found = session.scalars(patients.options(loader(self.Patient.visits))).unique()
            return [[visit.id for visit in patient.visits] for patient in found]

    def of_each_parent(self, db: Database) -> list[Any]:
        found = []
        with db.session() as session:
            for patient in session.scalars(select(self.Patient).order_by(self.Patient.id)):
                for condition in (
                    with_parent(patient, self.Patient.visits),
                    self.Visit.patient == patient,
                    self.Visit.patient != patient,
                ):
                    rows = select(self.Visit.id).where(condition).order_by(self.Visit.id)
                    found.append([*session.scalars(rows)])
        return found


def _encrypted(**options: Any) -> Callable[[], Any]:
    index = BlindIndex(domain="name", **options)
    return lambda: EncryptedType(String(20), index=index)


@pytest.mark.filterwarnings("ignore:Got None for value of column")
@pytest.mark.parametrize("condition", CONDITIONS.values(), ids=CONDITIONS.keys())
def test_every_way_to_load_gives_the_rows_of_a_plain_column(db, condition):
    plain = Twin("plain", lambda: String(20), condition)
    secret = Twin("secret", _encrypted(), condition)
    plain.fill(db)
    secret.fill(db)
    for loader in (lazyload, joinedload, selectinload):
        assert secret.loaded(db, loader) == plain.loaded(db, loader), loader.__name__
    assert secret.of_each_parent(db) == plain.of_each_parent(db)


def test_no_value_of_the_parent_is_sent(sqlite_db, caplog):
    secret = Twin("secret", _encrypted(), CONDITIONS["equal"])
    secret.fill(sqlite_db)
    with caplog.at_level("INFO", logger="sqlalchemy.engine"):
        assert secret.loaded(sqlite_db, lazyload)[0] == [10, 11, 12]
    assert "secret_visit" in caplog.text
    assert "Ada" not in caplog.text


def test_an_index_of_a_part_is_refused(sqlite_db):
    secret = Twin("secret", _encrypted(transform=first(1)), CONDITIONS["equal"])
    secret.fill(sqlite_db)
    with pytest.raises(UnsupportedOperationError, match="full-length index") as caught:
        secret.loaded(sqlite_db, lazyload)
    assert caught.value.column == "name"
