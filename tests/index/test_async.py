"""Look-ups on an AsyncEngine are the same, through each asyncio driver."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import Integer, String, bindparam, delete, event, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    immediateload,
    joinedload,
    mapped_column,
    relationship,
    selectinload,
)

from encfields import BlindIndex, EncryptedType, SqlKeyStore, attach, keyrings
from encfields.errors import UnsupportedOperationError, ValueEncodingError
from encfields.testing import assert_absent
from tests.database import CANARY, Database
from tests.servers.backends import AsyncBackend
from tests.turns import databases_by_turns

pytestmark = databases_by_turns

KEY = "tenant/{tenant_id}"


class Base(DeclarativeBase):
    pass


class Person(Base):
    __tablename__ = "person"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    tenant_id: Mapped[int]
    plain: Mapped[str | None] = mapped_column(String(20))
    ssn: Mapped[str | None] = mapped_column(
        EncryptedType(String(20), index=BlindIndex(domain="ssn"))
    )
    rough: Mapped[str | None] = mapped_column(EncryptedType(String(20), index=BlindIndex(bits=4)))
    own: Mapped[str | None] = mapped_column(EncryptedType(String(20), key=KEY, index=BlindIndex()))
    claims: Mapped[list[Claim]] = relationship(
        primaryjoin="foreign(Claim.ssn) == Person.ssn", order_by="Claim.id", viewonly=True
    )


class Claim(Base):
    __tablename__ = "claim"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    ssn: Mapped[str | None] = mapped_column(
        EncryptedType(String(20), index=BlindIndex(domain="ssn"))
    )


person: Any = Person.__table__
ROWS = 40


@pytest.fixture
async def engine(shared_tables: None, async_backend: AsyncBackend) -> AsyncEngine:
    """Forty people of two tenants, whose `rough` index tells about sixteen values apart."""
    Database(async_backend.sync).share(Base.metadata, ("tenant/0", "tenant/1"), _fill)
    engine = async_backend.create_engine()
    attach(engine, _store(), create=True)
    return engine


def _fill(db: Database) -> None:
    rows = [
        {"id": n, "tenant_id": n % 2, "ssn": f"ssn-{n}", "rough": f"r-{n}", "own": f"o-{n // 2}"}
        for n in range(ROWS)
    ]
    with db.begin() as connection:
        connection.execute(insert(person), rows)
        connection.execute(insert(Claim), [{"id": n, "ssn": f"ssn-{n // 2}"} for n in range(6)])


def _store() -> SqlKeyStore:
    return SqlKeyStore(keyrings.local(bytes(32)))


@pytest.fixture
async def cold(async_backend: AsyncBackend, engine: AsyncEngine) -> AsyncEngine:
    """Another engine on the same rows and keys, none of which it has fetched yet."""
    cold = async_backend.create_engine()
    attach(cold, _store())
    return cold


@pytest.fixture
async def session(cold: AsyncEngine) -> AsyncIterator[AsyncSession]:
    async with AsyncSession(cold) as session:
        yield session


async def ids(session: AsyncSession, statement: Any, *parameters: Any) -> list[int]:
    return sorted(await session.scalars(statement, *parameters))


async def test_rows_are_found_with_keys_that_are_fetched_for_it(session):
    assert await ids(session, select(Person.id).where(Person.ssn == "ssn-7")) == [7]
    found = await session.scalars(select(Person).where(Person.ssn.in_(["ssn-1", "ssn-2"])))
    assert sorted(one.ssn for one in found) == ["ssn-1", "ssn-2"]
    assert len(await ids(session, select(Person.id).where(Person.ssn != "ssn-7"))) == ROWS - 1
    named = select(Person.id).where(Person.ssn == bindparam("q"))
    for n in (1, 2):
        assert await ids(session, named, {"q": f"ssn-{n}"}) == [n]


async def test_a_tenant_s_rows_are_found(session):
    for tenant in (0, 1):
        found = select(Person.id).where(Person.tenant_id == tenant, Person.own == "o-7")
        assert await ids(session, found) == [14 + tenant]
    with pytest.raises(UnsupportedOperationError, match="tenant_id"):
        await session.scalars(select(Person.id).where(Person.own == "o-7"))


async def test_rows_that_only_look_alike_are_taken_out(session, cold):
    for n in range(ROWS):
        people = (await session.scalars(select(Person).where(Person.rough == f"r-{n}"))).all()
        assert [one.id for one in people] == [n]
    async with cold.connect() as connection:
        rows = select(person.c.id, person.c.rough).where(person.c.rough.in_(["r-1", "r-2", "r-3"]))
        assert sorted(row[0] for row in await connection.execute(rows)) == [1, 2, 3]
    with pytest.raises(UnsupportedOperationError, match="aggregate"):
        await session.scalar(select(func.count()).where(Person.rough == "r-1"))


async def test_rows_that_only_look_alike_are_taken_out_of_streams(session, cold):
    found = select(Person).where(Person.rough.in_(["r-1", "r-2", "r-3"])).order_by(Person.id)
    streamed = await session.stream_scalars(found)
    assert [one.id async for one in streamed] == [1, 2, 3]
    for size in (1, 2, 50):
        streamed = await session.stream_scalars(found.execution_options(yield_per=size))
        assert [one.id async for part in streamed.partitions() for one in part] == [1, 2, 3]
    async with cold.connect() as connection:
        core = select(person.c.id, person.c.rough).where(person.c.rough.in_(["r-1", "r-2"]))
        async with connection.stream(core.order_by(person.c.id)) as rows:
            assert (await rows.fetchone())[0] == 1
            assert [row[0] for row in await rows.fetchmany(5)] == [2]
            assert await rows.fetchone() is None


@pytest.mark.parametrize("load", [selectinload, joinedload, immediateload])
async def test_relationships_are_loaded(session, load):
    found = select(Person).options(load(Person.claims)).where(Person.ssn == "ssn-1")
    one = (await session.scalars(found)).unique().one()
    assert [claim.id for claim in one.claims] == [2, 3]


async def test_a_relationship_is_loaded_when_it_is_awaited(session):
    one = (await session.scalars(select(Person).where(Person.ssn == "ssn-2"))).one()
    claims = await session.run_sync(lambda _: [claim.id for claim in one.claims])
    assert claims == [4, 5]


async def test_rows_are_changed_by_look_up(session):
    one = await session.get(Person, 7)
    await session.execute(update(Person).where(Person.ssn == "ssn-7").values(plain="new"))
    assert one.plain == "new"
    gone: Any = await session.execute(delete(Claim).where(Claim.ssn.in_(["ssn-0", "ssn-1"])))
    assert gone.rowcount == 4
    assert await ids(session, select(Claim.id)) == [4, 5]


async def test_the_database_is_not_told_the_value(session, cold):
    seen: list[Any] = []

    def listen(c: Any, cursor: Any, sql: str, parameters: Any, context: Any, many: bool) -> None:
        seen.append((sql, parameters))

    event.listen(cold.sync_engine, "after_cursor_execute", listen)
    await ids(session, select(Person.id).where(Person.ssn.in_([CANARY])))
    await session.scalars(select(Person).where(Person.rough == CANARY))
    assert len(seen) == 2
    assert_absent(CANARY, seen)


async def test_a_value_of_another_type_is_refused_without_being_shown(session):
    with pytest.raises(ValueEncodingError) as caught:
        await session.scalars(select(Person.id).where(Person.ssn == [CANARY]))
    assert_absent(CANARY, caught.value)
