"""A value that cannot be read is never written back: a flush that needs it fails, and it stays."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, Integer, String, text
from sqlalchemy.orm import DeclarativeBase, Session, load_only, mapped_column
from sqlalchemy.orm.exc import StaleDataError

from encfields import CompoundBlindIndex, EncryptedType, Encryption, SqlKeyStore, attach, keyrings
from encfields.errors import EncFieldsError
from tests.servers.backends import Backend
from tests.turns import databases_by_turns

pytestmark = databases_by_turns

_DESTROYED = object()


class Base(DeclarativeBase):
    pass


class Doc(Base):
    __tablename__ = "doc"
    __table_args__ = (CompoundBlindIndex("both", "title", "body"),)

    id = mapped_column(Integer, primary_key=True, autoincrement=False)
    tenant = mapped_column(Integer)
    title = mapped_column(EncryptedType(String, key="tenant/{tenant}"))
    body = mapped_column(EncryptedType(String, key="tenant/{tenant}"))


@pytest.fixture
def engine(backend: Backend) -> Engine:
    return backend.create_engine()


@pytest.fixture(params=[None, _DESTROYED], ids=["as-none", "as-sentinel"], autouse=True)
def encryption(engine: Engine, request: pytest.FixtureRequest) -> Encryption:
    """Document 7 of tenant 1; a destroyed value reads as what the parameter says."""
    store = SqlKeyStore(keyrings.local(bytes(32)))
    encryption = attach(engine, store, create=True, destroyed=request.param, cache_check=0.2)
    Base.metadata.create_all(engine)
    for tenant in (1, 8):
        encryption.keys.create(f"tenant/{tenant}")
    with Session(engine) as session:
        session.add(Doc(id=7, tenant=1, title="title", body="body"))
        session.commit()
    return encryption


def stored(attacker: Engine) -> list[object]:
    with attacker.connect() as connection:
        return list(connection.execute(text("SELECT title, body, both_bidx FROM doc")).one())


@pytest.mark.parametrize(
    "attack, change",
    [
        ("tenant = NULL", {"tenant": 1}),
        ("tenant = NULL", {"id": 8}),
        ("tenant = 8", {"tenant": 1}),
        ("body = title", {"tenant": 8}),
        ("body = title", {"title": "new"}),
        ("body = 'plaintext'", {"id": 8}),
    ],
)
def test_what_a_database_writer_spoilt_stays_as_it_is(engine, attacker, attack, change):
    with attacker.begin() as connection:
        connection.execute(text(f"UPDATE doc SET {attack}"))
    before = stored(attacker)
    with Session(engine) as session:
        doc = session.get_one(Doc, 7, options=[load_only(Doc.tenant)])
        for name, value in change.items():
            setattr(doc, name, value)
        with pytest.raises(EncFieldsError):
            session.commit()
    assert stored(attacker) == before


def test_a_row_that_a_database_writer_gives_to_another_tenant_gets_no_value(engine, attacker):
    """Else the session's tenant would have its value sealed under the other tenant's key."""
    before = stored(attacker)
    with Session(engine, expire_on_commit=False) as session:
        doc = session.get_one(Doc, 7)
        session.commit()
        with attacker.begin() as connection:
            connection.execute(text("UPDATE doc SET tenant = 8"))
        doc.title, doc.body = "secret", "secret"
        with pytest.raises(StaleDataError):
            session.commit()
    assert stored(attacker) == before


def test_a_destroyed_value_is_no_value_to_write(encryption, engine, attacker):
    before = stored(attacker)
    with Session(engine) as session:
        doc = session.get_one(Doc, 7)
        encryption.keys.destroy("tenant/1", confirm="tenant/1", specs=None)
        for change in ({"tenant": 8}, {"id": 8}):
            for name, value in change.items():
                setattr(doc, name, value)
            with pytest.raises(EncFieldsError):
                session.commit()
            session.rollback()
    assert stored(attacker) == before
