"""Fixtures for the tests of blind indexes: attached databases, and a clinic with people in it."""

from __future__ import annotations

import pytest

from tests.database import Database
from tests.index.clinic import Base, fill


@pytest.fixture
def clinic(shared_tables: None, db: Database) -> Database:
    """The shared models' tables with the people of :func:`tests.index.clinic.fill`."""
    db.share(Base.metadata, fill=fill)
    return db


@pytest.fixture
def sqlite_clinic(shared_tables: None, sqlite_db: Database) -> Database:
    """The same on SQLite alone, for what is refused before any server sees it."""
    sqlite_db.share(Base.metadata, fill=fill)
    return sqlite_db
