"""Many tenants through asyncio: no key is mixed up, the loop goes on, keys are renewed."""

from __future__ import annotations

import asyncio
import random
import secrets
import time

import pytest
from sqlalchemy import Table, insert, select
from sqlalchemy.ext.asyncio import AsyncEngine

from encfields import Encryption, SqlKeyStore, attach, keyrings
from encfields.engine import engine_encryption
from encfields.message.header import read_header
from encfields.testing import local_store
from tests.database import raw_select
from tests.keys.passing_time import let_pass
from tests.servers.backends import AsyncBackend
from tests.tenants.invoices import invoice_table
from tests.turns import databases_by_turns

pytestmark = databases_by_turns

TENANTS = 12


@pytest.fixture
def invoices() -> Table:
    return invoice_table()


@pytest.fixture
async def engine(async_backend: AsyncBackend, invoices: Table) -> AsyncEngine:
    engine = async_backend.create_engine()
    async with engine.begin() as connection:
        await connection.run_sync(invoices.create)
    return engine


async def make_keys(encryption: Encryption) -> None:
    await encryption.keys.acreate_table()
    for tenant in range(TENANTS):
        await encryption.keys.acreate(f"tenant/{tenant}")


async def test_keys_are_renewed_without_the_loop(engine: AsyncEngine, invoices: Table):
    key = secrets.token_bytes(32)
    first = attach(engine, local_store(key))
    await make_keys(first)
    first.detach()
    encryption = attach(engine, local_store(key), cache_ttl=600, cache_renewal=300, cache_check=600)
    await encryption.aprefetch(["tenant/1"])
    engine_encryption(encryption).active_key("tenant/1")
    let_pass(encryption._cache, 500)
    async with asyncio.timeout(60):
        while not encryption.stats.keys.renewals:  # noqa: ASYNC110 (another thread's work)
            await asyncio.sleep(0.01)

    engine_encryption(encryption).active_key("tenant/1")
    assert encryption.stats.keys.misses == 1
    encryption.detach()


async def test_under_many_tasks_every_value_names_its_own_tenant(
    engine: AsyncEngine, invoices: Table, async_backend: AsyncBackend
):
    # Fewer keys than tenants fit into the cache, so that keys come and go all the time.
    encryption = attach(engine, local_store(), cache_entries=10)
    await make_keys(encryption)
    sqlite = engine.dialect.name == "sqlite"
    writers = asyncio.Semaphore(1 if sqlite else 8)

    async def work(task: int) -> None:
        chosen = random.Random(task)
        rows = [
            {"id": 10 * task + n, "tenant_id": (t := chosen.randrange(TENANTS)), "iban": f"of {t}"}
            for n in range(10)
        ]
        async with writers:
            async with engine.begin() as connection:
                await connection.execute(insert(invoices), rows)
            async with engine.connect() as connection:
                mine = invoices.c.id.between(10 * task, 10 * task + 9)
                found = (await connection.execute(select(invoices).where(mine))).all()
        assert len(found) == 10
        assert all(row.iban == f"of {row.tenant_id}" for row in found)

    await asyncio.gather(*(work(task) for task in range(12)))

    async with engine.connect() as connection:
        stored = (await connection.execute(raw_select(invoices))).all()
    assert len(stored) == 120
    for row in stored:
        (key,) = read_header(bytes(row.iban)).keys
        assert key.key_id == f"tenant/{row.tenant_id}"
    encryption.detach()


async def test_a_cold_batch_over_many_tenants_leaves_the_loop_free(
    engine: AsyncEngine, invoices: Table, async_backend: AsyncBackend, kms, kms_proxy
):
    keyring = keyrings.aws_kms(kms.create_key())
    first = attach(engine, SqlKeyStore(keyring))
    await make_keys(first)
    first.detach()
    encryption = attach(engine, SqlKeyStore(keyring))
    kms_proxy.reset()
    kms_proxy.delay = 0.5
    beats: list[float] = []

    async def beat() -> None:
        while True:
            beats.append(time.monotonic())
            await asyncio.sleep(0.001)

    heart = asyncio.create_task(beat())
    rows = [{"id": n, "tenant_id": n, "iban": f"{n}"} for n in range(TENANTS)]
    async with engine.begin() as connection:
        await connection.execute(insert(invoices), rows)
    heart.cancel()

    assert kms_proxy.counts == {"Decrypt": TENANTS}
    # Two rounds of 0.5 s at KMS at least; a blocked loop would have had no beat in them.
    assert len(beats) >= 10
    encryption.detach()
