"""An AsyncEngine with encryption on it, through each asyncio driver in turn."""

from __future__ import annotations

import secrets

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from encfields import Encryption, attach
from encfields.testing import local_store
from tests.asyncio.model import Base
from tests.servers.backends import AsyncBackend


@pytest.fixture
def wrapping_key() -> bytes:
    return secrets.token_bytes(32)


@pytest.fixture
async def engine(async_backend: AsyncBackend) -> AsyncEngine:
    """An engine that nothing is attached to yet; its tables are there."""
    engine = async_backend.create_engine()
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    return engine


@pytest.fixture
async def encryption(engine: AsyncEngine, wrapping_key: bytes) -> Encryption:
    encryption = attach(engine, local_store(wrapping_key))
    await encryption.keys.acreate_table()
    await encryption.keys.acreate("default")
    return encryption


@pytest.fixture
async def cold(
    async_backend: AsyncBackend, encryption: Encryption, wrapping_key: bytes
) -> AsyncEngine:
    """Another engine on the same database and keys, none of which it has fetched yet."""
    engine = async_backend.create_engine()
    attach(engine, local_store(wrapping_key))
    return engine
