from __future__ import annotations

import pytest
from sqlalchemy.orm import Session

from encfields import Sealed
from tests.database import Database
from tests.lazy.model import Base, Person
from tests.servers.backends import Backend


@pytest.fixture
def db(shared_tables: None, backend: Backend) -> Database:
    """One person, on each of the three servers in turn."""
    return with_people(Database(backend))


@pytest.fixture
def sqlite_db(shared_tables: None, sqlite: Backend) -> Database:
    """The same, where the database makes no difference."""
    return with_people(Database(sqlite))


def with_people(database: Database) -> Database:
    database.share(Base.metadata, fill=_fill)
    return database


def _fill(database: Database) -> None:
    with database.session() as session:
        session.add(Person(id=1, name="Ada", ssn="ssn-1", notes={"n": 1}))
        session.add(Person(id=2, name="Bob", ssn="ssn-2"))
        session.commit()


@pytest.fixture
def session(sqlite_db: Database):
    with sqlite_db.session() as session:
        yield session


@pytest.fixture
def ssn(session: Session) -> Sealed[str]:
    """A value as it is read."""
    found = session.get_one(Person, 1).ssn
    assert found is not None
    return found
