"""Fixtures for the tests of binding: a database that is attached, and an attacker's way in."""

from __future__ import annotations

import pytest

from tests.binding.models import Base, Card
from tests.database import Database


@pytest.fixture
def shop(db: Database) -> Database:
    """The shared models' tables, with nothing in them."""
    db.create(Base.metadata, is_empty=True)
    return db


@pytest.fixture
def cards(shop: Database) -> Database:
    """Three cards: 1 to 3, with numbers "number-1" to "number-3"."""
    with shop.session() as session:
        session.add_all(
            Card(id=n, holder=f"holder-{n}", number=f"number-{n}", details={"n": n})
            for n in (1, 2, 3)
        )
        session.commit()
    return shop


@pytest.fixture
def shop_once(sqlite_db: Database) -> Database:
    """The shared models' tables on SQLite alone, for what is refused before any server sees it."""
    sqlite_db.create(Base.metadata, is_empty=True)
    return sqlite_db


@pytest.fixture
def sqlite_cards(shop_once: Database) -> Database:
    """The three cards on SQLite alone."""
    with shop_once.session() as session:
        session.add_all(Card(id=n, holder=f"holder-{n}", number=f"number-{n}") for n in (1, 2, 3))
        session.commit()
    return shop_once
