"""Fixtures for the tests of blind indexes: attached databases, and a clinic with people in it."""

from __future__ import annotations

import pytest

from tests.binding.database import Database
from tests.index.clinic import Base, fill
from tests.servers.backends import Backend


@pytest.fixture
def db(backend: Backend) -> Database:
    """An attached engine on an empty database, on each of the three servers in turn."""
    return Database(backend)


@pytest.fixture
def sqlite_db(sqlite: Backend) -> Database:
    return Database(sqlite)


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
