"""An UPDATE of many rows asks for the stored spelling of their keys once, not once a row."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import String, bindparam, event, select, update
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from encfields import EncryptedType, SqlKeyStore, attach, keyrings


class Base(DeclarativeBase):
    pass


class Coded(Base):
    __tablename__ = "coded"
    code: Mapped[str] = mapped_column(String(40), primary_key=True)
    secret: Mapped[str] = mapped_column(EncryptedType(String))


@pytest.fixture
def engine(mariadb):
    """Under MariaDB's default collation, which takes upper and lower case for equal."""
    engine = mariadb.create_engine()
    attach(engine, SqlKeyStore(keyrings.local(bytes(32))), create=True)
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all([Coded(code=f"code {i}", secret=f"old {i}") for i in range(1200)])
        session.commit()
    return engine


@pytest.fixture
def lookups(engine):
    """The look-ups of keys from here on."""
    found = []

    @event.listens_for(engine, "after_cursor_execute")
    def note(connection, cursor, statement, parameters, context, executemany):
        if statement.startswith("SELECT coded.code"):
            found.append(statement)

    return found


def secrets(engine):
    with Session(engine) as session:
        rows = session.execute(select(Coded.code, Coded.secret)).all()
    return dict(rows)


TABLE: Any = Coded.__table__
UPDATE = update(TABLE).where(TABLE.c.code == bindparam("k"))


def test_many_rows_are_asked_for_in_few_statements(engine, lookups):
    rows = [{"k": f"code {i}", "secret": f"new {i}"} for i in range(1200)]
    with engine.begin() as connection:
        connection.execute(UPDATE, rows)
    assert len(lookups) == 3
    lookups.clear()
    assert secrets(engine) == {f"code {i}": f"new {i}" for i in range(1200)}


def test_rows_spelt_differently_among_them_are_queried_separately(engine, lookups):
    rows = [{"k": f"code {i}", "secret": f"new {i}"} for i in range(20)]
    rows += [{"k": "CODE 7", "secret": "newest"}, {"k": "Code 30", "secret": "other"}]
    rows += [{"k": "no such", "secret": "nowhere"}]
    with engine.begin() as connection:
        connection.execute(UPDATE, rows)
    assert len(lookups) == 1 + 3
    found = secrets(engine)
    assert (found["code 7"], found["code 30"], found["code 8"]) == ("newest", "other", "new 8")
    assert "no such" not in found


def test_an_orm_bulk_update_asks_once(engine, lookups):
    with Session(engine) as session:
        session.execute(
            update(Coded), [{"code": f"code {i}", "secret": f"new {i}"} for i in range(50)]
        )
        session.commit()
    assert len(lookups) == 1
    assert secrets(engine)["code 49"] == "new 49"
