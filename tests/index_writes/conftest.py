"""Fixtures for the tests of blind indexes: those of the binding, and tables with indexes."""

from __future__ import annotations

import pytest

from tests.database import Database
from tests.index_writes.models import Base, Patient


@pytest.fixture
def clinic(db: Database) -> Database:
    """The shared models' tables, with nothing in them, on each database in turn."""
    db.create(Base.metadata, is_empty=True)
    for tenant in (10, 20):
        db.create_key(f"tenant/{tenant}")
    return db


@pytest.fixture
def clinic_once(sqlite_db: Database) -> Database:
    """The same on SQLite alone, for what is refused before any server sees it."""
    sqlite_db.create(Base.metadata, is_empty=True)
    return sqlite_db


@pytest.fixture
def patients(clinic: Database) -> Database:
    """Three patients: 1 to 3, with numbers "123-45-0001" to "123-45-0003"."""
    with clinic.session() as session:
        session.add_all(
            Patient(id=n, name=f"name-{n}", ssn=f"123-45-{n:04}", mail=f"User{n}@X.org")
            for n in (1, 2, 3)
        )
        session.commit()
    return clinic
