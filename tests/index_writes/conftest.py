"""Fixtures for the tests of blind indexes: those of the binding, and tables with indexes."""

from __future__ import annotations

import pytest

from tests.database import Database
from tests.index_writes.models import Base, Patient

TENANTS = ("tenant/10", "tenant/20")


@pytest.fixture
def clinic(shared_tables: None, db: Database) -> Database:
    """The shared models' tables, with nothing in them, on each database in turn."""
    db.share(Base.metadata, TENANTS)
    return db


@pytest.fixture
def clinic_once(shared_tables: None, sqlite_db: Database) -> Database:
    """The same on SQLite alone, for what is refused before any server sees it."""
    sqlite_db.share(Base.metadata)
    return sqlite_db


def _three_patients(db: Database) -> None:
    with db.session() as session:
        session.add_all(
            Patient(id=n, name=f"name-{n}", ssn=f"123-45-{n:04}", mail=f"User{n}@X.org")
            for n in (1, 2, 3)
        )
        session.commit()


@pytest.fixture
def patients(shared_tables: None, db: Database) -> Database:
    """Three patients: 1 to 3, with numbers "123-45-0001" to "123-45-0003"."""
    db.share(Base.metadata, TENANTS, _three_patients)
    return db
