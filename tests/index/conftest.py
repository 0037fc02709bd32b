"""Fixtures for the tests of blind indexes: attached databases, and a clinic with people in it."""

from __future__ import annotations

import pytest

from tests.database import Database
from tests.index.clinic import Base, fill


@pytest.fixture
def clinic(db: Database) -> Database:
    """The shared models' tables with the people of :func:`tests.index.clinic.fill`."""
    db.create(Base.metadata, is_empty=True)
    fill(db)
    return db


@pytest.fixture
def sqlite_clinic(sqlite_db: Database) -> Database:
    """The same on SQLite alone, for what is refused before any server sees it."""
    sqlite_db.create(Base.metadata, is_empty=True)
    fill(sqlite_db)
    return sqlite_db
