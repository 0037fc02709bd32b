"""A test in one transaction that is rolled back: the session's commits are SAVEPOINTs of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, String, event, func, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from encfields import BlindIndex, EncryptedType
from encfields.errors import UnsupportedOperationError
from encfields.testing import attach_locally, attach_locally_async
from tests.servers.backends import AsyncBackend, Backend


class Base(DeclarativeBase):
    pass


class Patient(Base):
    __tablename__ = "patient"
    id: Mapped[int] = mapped_column(primary_key=True)
    ssn: Mapped[str] = mapped_column(EncryptedType(String(11), index=BlindIndex(unique=True)))


def _begin_by_itself(engine: Engine) -> None:
    """SQLAlchemy's recipe for SAVEPOINT with sqlite3, whose driver begins too late by itself."""

    @event.listens_for(engine, "connect")
    def connect(connection: Any, record: Any) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN")


@pytest.fixture
def engine(backend: Backend) -> Engine:
    engine = backend.create_engine()
    if backend.name == "sqlite":
        _begin_by_itself(engine)
    Base.metadata.create_all(engine)
    attach_locally(engine)
    return engine


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    """As in SQLAlchemy's documentation."""
    with engine.connect() as connection:
        transaction = connection.begin()
        with Session(connection, join_transaction_mode="create_savepoint") as session:
            yield session
        transaction.rollback()
    with Session(engine) as after:
        assert after.scalar(select(func.count()).select_from(Patient)) == 0


def _find(session: Session, ssn: str) -> list[str]:
    return list(session.scalars(select(Patient.ssn).where(Patient.ssn == ssn)))


def test_commits_are_seen_and_undone(session: Session) -> None:
    for ssn in ("1", "2"):
        session.add(Patient(ssn=ssn))
        session.commit()
    session.expunge_all()
    assert _find(session, "2") == ["2"]
    session.get_one(Patient, session.scalars(select(Patient.id)).first()).ssn = "3"
    session.commit()
    assert len(session.scalars(select(Patient.ssn)).all()) == 2


def test_a_rollback_goes_back_to_the_last_commit(session: Session) -> None:
    session.add(Patient(ssn="1"))
    session.commit()
    session.add(Patient(ssn="2"))
    session.flush()
    session.rollback()
    assert session.scalars(select(Patient.ssn)).all() == ["1"]


def test_a_nested_savepoint_is_undone_alone(session: Session) -> None:
    session.add(Patient(ssn="1"))
    with session.begin_nested() as nested:
        session.add(Patient(ssn="2"))
        session.flush()
        nested.rollback()
    session.add(Patient(ssn="3"))
    session.commit()
    assert sorted(session.scalars(select(Patient.ssn))) == ["1", "3"]


def test_the_session_works_after_a_refusal(session: Session) -> None:
    session.add(Patient(ssn="1"))
    session.commit()
    with pytest.raises(UnsupportedOperationError):
        session.scalars(select(Patient).order_by(Patient.ssn)).all()
    assert _find(session, "1") == ["1"]


@pytest.fixture
async def async_session(async_backend: AsyncBackend) -> AsyncIterator[AsyncSession]:
    engine: AsyncEngine = async_backend.create_engine()
    if async_backend.name == "sqlite":
        _begin_by_itself(engine.sync_engine)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    await attach_locally_async(engine)
    async with engine.connect() as connection:
        transaction = await connection.begin()
        async with AsyncSession(
            connection, join_transaction_mode="create_savepoint", expire_on_commit=False
        ) as session:
            yield session
        await transaction.rollback()
        assert await connection.scalar(select(func.count()).select_from(Patient)) == 0


async def test_the_same_with_asyncio(async_session: AsyncSession) -> None:
    async_session.add(Patient(ssn="1"))
    await async_session.commit()
    async_session.add(Patient(ssn="2"))
    await async_session.flush()
    await async_session.rollback()
    async_session.expunge_all()
    assert (await async_session.scalars(select(Patient.ssn))).all() == ["1"]
