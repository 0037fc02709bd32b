"""Lazy values in coroutines: a key that is not at hand is awaited, and never blocks the loop."""

from __future__ import annotations

import secrets
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from encfields import Encryption, attach
from encfields.errors import KeyUnavailableError
from encfields.testing import local_store
from tests.lazy.model import Base, Person
from tests.servers.backends import AsyncBackend


@pytest.fixture
async def cold(async_backend: AsyncBackend) -> tuple[AsyncEngine, Encryption]:
    """An engine that has fetched no key yet, on a database with a person."""
    wrapping_key = secrets.token_bytes(32)
    first = async_backend.create_engine()
    encryption = attach(first, local_store(wrapping_key))
    await encryption.keys.acreate_table()
    await encryption.keys.acreate("default")
    async with first.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with AsyncSession(first) as session:
        session.add(Person(id=1, name="Ada", ssn="ssn-1"))
        await session.commit()
    engine = async_backend.create_engine()
    return engine, attach(engine, local_store(wrapping_key))


async def test_a_cold_key_is_awaited_and_refused_where_it_would_block(cold):
    engine, encryption = cold
    async with AsyncSession(engine) as session:
        person: Any = await session.get_one(Person, 1)
        with pytest.raises(KeyUnavailableError, match="areveal") as caught:
            person.ssn.reveal()
        assert caught.value.reason == "would-block"
        assert encryption.stats.opened == 0
        assert await person.ssn.areveal() == "ssn-1"
        assert person.ssn.reveal() == "ssn-1"
        assert person.level.reveal() == "public"


async def test_in_a_greenlet_reveal_awaits_it(cold):
    engine, _ = cold
    async with AsyncSession(engine) as session:
        person: Any = await session.get_one(Person, 1)
        assert await session.run_sync(lambda _: person.ssn.reveal()) == "ssn-1"


async def test_a_key_that_was_fetched_ahead_is_at_hand(cold):
    engine, encryption = cold
    await encryption.aprefetch()
    async with engine.connect() as connection:
        row = (await connection.execute(Person.__table__.select())).one()
    assert row.ssn.reveal() == "ssn-1"
