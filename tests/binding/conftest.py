"""Fixtures for the tests of binding: a database that is attached, and an attacker's way in."""

from __future__ import annotations

import pytest

from tests.binding.models import Base, Card
from tests.database import Database


@pytest.fixture
def shop(shared_tables: None, db: Database) -> Database:
    """The shared models' tables, with nothing in them."""
    db.share(Base.metadata)
    return db


def _three_cards(db: Database) -> None:
    with db.session() as session:
        session.add_all(
            Card(id=n, holder=f"holder-{n}", number=f"number-{n}", details={"n": n})
            for n in (1, 2, 3)
        )
        session.commit()


@pytest.fixture
def cards(shared_tables: None, db: Database) -> Database:
    """Three cards: 1 to 3, with numbers "number-1" to "number-3"."""
    db.share(Base.metadata, fill=_three_cards)
    return db


@pytest.fixture
def shop_once(shared_tables: None, sqlite_db: Database) -> Database:
    """The shared models' tables on SQLite alone, for what is refused before any server sees it."""
    sqlite_db.share(Base.metadata)
    return sqlite_db


@pytest.fixture
def sqlite_cards(shared_tables: None, sqlite_db: Database) -> Database:
    """The three cards on SQLite alone."""
    sqlite_db.share(Base.metadata, fill=_three_cards)
    return sqlite_db
