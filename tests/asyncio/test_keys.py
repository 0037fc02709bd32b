"""Keys on an event loop: found cold wherever rows are processed, and without stopping the loop."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import LargeBinary, Uuid, column, func, insert, select, table, text, update
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, NullPool
from sqlalchemy.util import greenlet_spawn

from encfields import Encryption, SqlKeyStore, attach, encryption_of, keyrings
from encfields.engine import engine_encryption
from encfields.errors import ContextMismatchError, KeyUnavailableError
from encfields.keys.fetching.threads import MAX_AT_WORK
from encfields.testing import local_store
from tests.asyncio.model import ID, OTHER, PATIENT, ROW, Base, Patient
from tests.servers.backends import AsyncBackend
from tests.servers.kms_proxy import KmsProxy
from tests.servers.moto import Kms
from tests.turns import databases_by_turns, on_each_database

pytestmark = databases_by_turns


SLOW = 0.5
"""Seconds that KMS takes in these tests."""

MANY = 5
"""Ticks of the heart in that time if the loop is free are some fifty; if it is not, one."""


class Heart:
    """Counts how often the event loop comes around."""

    def __init__(self) -> None:
        self.ticks = 0

    async def beat(self) -> None:
        while True:
            await asyncio.sleep(SLOW / 50)
            self.ticks += 1


@asynccontextmanager
async def _beating() -> AsyncIterator[Heart]:
    heart = Heart()
    task = asyncio.create_task(heart.beat())
    try:
        yield heart
    finally:
        task.cancel()


async def _called(proxy: KmsProxy, times: int = 1) -> None:
    """Wait until KMS was called."""
    async with asyncio.timeout(60):
        while len(proxy.calls) < times:  # noqa: ASYNC110 (the proxy is on threads of its own)
            await asyncio.sleep(0.01)


@pytest.fixture
async def slow_kms(engine: AsyncEngine, kms: Kms, kms_proxy: KmsProxy) -> SqlKeyStore:
    """A store with a key under a KMS that is slow from now on; `engine` has stored a row."""
    keyring = keyrings.aws_kms(kms.create_key())
    first = attach(engine, SqlKeyStore(keyring))
    await first.keys.acreate_table()
    await first.keys.acreate("default")
    async with engine.begin() as connection:
        await connection.execute(insert(PATIENT), ROW)
    first.detach()
    kms_proxy.reset()
    kms_proxy.delay = SLOW
    return SqlKeyStore(keyring)


# -- where a cold key is found -----------------------------------------------------------------


@on_each_database
async def test_rows_that_are_processed_outside_the_greenlet(
    engine: AsyncEngine, encryption: Encryption, cold: AsyncEngine
) -> None:
    async with engine.begin() as connection:
        await connection.execute(insert(PATIENT), ROW)
    async with cold.connect() as connection:
        result = await connection.execute(select(PATIENT.c.ssn))
        assert result.scalars().all() == [ROW["ssn"]]


@on_each_database
async def test_rows_of_raw_sql_that_are_processed_outside_the_greenlet(
    engine: AsyncEngine, encryption: Encryption, cold: AsyncEngine
) -> None:
    async with engine.begin() as connection:
        await connection.execute(insert(PATIENT), ROW)
    raw = text("SELECT id, ssn FROM patient").columns(PATIENT.c.id, PATIENT.c.ssn)
    async with cold.connect() as connection:
        result = await connection.execute(raw)
        assert result.scalars("ssn").all() == [ROW["ssn"]]
    async with AsyncSession(cold) as session:
        entities = select(Patient).from_statement(text("SELECT * FROM patient"))
        patient = (await session.scalars(entities)).one()
        assert (patient.ssn, patient.notes) == (ROW["ssn"], ROW["notes"])


@on_each_database
@pytest.mark.parametrize("how", ["get", "scalars", "stream", "scalar", "refresh"])
async def test_a_session_that_reads_first(engine: AsyncEngine, cold: AsyncEngine, how: str) -> None:
    async with engine.begin() as connection:
        await connection.execute(insert(PATIENT), ROW)
    async with AsyncSession(cold) as session:
        if how == "get":
            ssn = (await session.get_one(Patient, ID)).ssn
        elif how == "scalars":
            ssn = (await session.scalars(select(Patient.ssn))).one()
        elif how == "stream":
            ssn = await (await session.stream_scalars(select(Patient.ssn))).one()
        elif how == "scalar":
            ssn = await session.scalar(select(Patient.ssn))
        else:
            patient = Patient(id=OTHER)
            session.add(patient)
            await session.flush()
            await session.refresh(patient)
            assert patient.ssn is None
            ssn = await session.scalar(select(Patient.ssn).where(Patient.id == ID))
    assert ssn == ROW["ssn"]


@on_each_database
async def test_a_pool_of_one_connection_is_enough(
    async_backend: AsyncBackend, engine: AsyncEngine, encryption: Encryption, wrapping_key: bytes
) -> None:
    # The key is fetched while the statement that needs it holds the only connection.
    narrow = async_backend.create_engine(
        poolclass=AsyncAdaptedQueuePool, pool_size=1, max_overflow=0, pool_timeout=5
    )
    attach(narrow, local_store(wrapping_key))
    async with AsyncSession(narrow) as session:
        session.add(Patient(**ROW))
        await session.commit()
        assert (await session.get_one(Patient, ID)).ssn == ROW["ssn"]


async def test_aprefetch_loads_every_key(cold: AsyncEngine, wrapping_key: bytes) -> None:
    attached = encryption_of(cold)
    assert await attached.aprefetch() == 1
    calls = attached.stats.keys.store_calls
    async with cold.begin() as connection:
        await connection.execute(insert(PATIENT), ROW)
        assert (await connection.execute(select(PATIENT.c.ssn))).scalars().all() == [ROW["ssn"]]
    assert attached.stats.keys.store_calls == calls


async def test_an_in_memory_database_asks_for_prefetch_where_nothing_can_be_awaited(
    wrapping_key: bytes,
) -> None:
    engine = create_async_engine("sqlite+aiosqlite://")
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    encryption = attach(engine, local_store(wrapping_key))
    await encryption.keys.acreate_table()
    await encryption.keys.acreate("default")
    async with AsyncSession(engine) as session:
        session.add(Patient(**ROW))
        await session.commit()
    message = encryption.seal(b"scan", {"file": "1"})
    encryption.detach()
    encryption = attach(engine, local_store(wrapping_key))
    with pytest.raises(KeyUnavailableError, match="aprefetch"):
        encryption.open(message, {"file": "1"})
    async with engine.connect() as connection:
        assert (await connection.execute(select(PATIENT.c.ssn))).scalars().all() == [ROW["ssn"]]
    await encryption.aprefetch()
    assert encryption.open(message, {"file": "1"}) == b"scan"
    await engine.dispose()


# -- the event loop goes on --------------------------------------------------------------------


async def test_a_write_leaves_the_loop_free_while_kms_unwraps(
    engine: AsyncEngine, slow_kms: SqlKeyStore, kms_proxy: KmsProxy
) -> None:
    attach(engine, slow_kms)
    async with _beating() as heart, AsyncSession(engine) as session:
        session.add(Patient(id=OTHER, ssn="x"))
        await session.commit()
        assert heart.ticks >= MANY
    assert kms_proxy.counts == {"Decrypt": 1}


async def test_a_session_read_leaves_the_loop_free_while_kms_unwraps(
    engine: AsyncEngine, slow_kms: SqlKeyStore
) -> None:
    attach(engine, slow_kms)
    async with _beating() as heart, AsyncSession(engine) as session:
        assert (await session.get_one(Patient, ID)).ssn == ROW["ssn"]
        assert heart.ticks >= MANY


async def test_aprefetch_and_key_creation_leave_the_loop_free(
    engine: AsyncEngine, slow_kms: SqlKeyStore
) -> None:
    encryption = attach(engine, slow_kms)
    async with _beating() as heart:
        await encryption.aprefetch()
        assert heart.ticks >= MANY
    async with _beating() as heart:
        await encryption.keys.acreate("other")
        assert heart.ticks >= MANY


async def test_many_tasks_wait_for_one_kms_call(
    engine: AsyncEngine, slow_kms: SqlKeyStore, kms_proxy: KmsProxy
) -> None:
    attach(engine, slow_kms)

    async def read() -> Any:
        async with AsyncSession(engine) as session:
            return await session.scalar(select(Patient.ssn))

    assert await asyncio.gather(*(read() for _ in range(10))) == [ROW["ssn"]] * 10
    assert kms_proxy.counts == {"Decrypt": 1}


# -- cancellation ------------------------------------------------------------------------------


@on_each_database
async def test_a_cancelled_write_leaves_everything_usable(
    engine: AsyncEngine, slow_kms: SqlKeyStore, kms_proxy: KmsProxy
) -> None:
    attach(engine, slow_kms)

    async def write() -> None:
        async with AsyncSession(engine) as session:
            session.add(Patient(id=OTHER, ssn="cancelled"))
            await session.commit()

    task = asyncio.create_task(write())
    await _called(kms_proxy)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with AsyncSession(engine) as session:
        assert await session.scalar(select(func.count()).select_from(PATIENT)) == 1
        session.add(Patient(id=OTHER, ssn="second"))
        await session.commit()
        assert (await session.get_one(Patient, OTHER)).ssn == "second"
    if not isinstance(engine.pool, NullPool):  # as older SQLAlchemy has for SQLite
        assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]


async def test_cancelling_one_waiter_does_not_cancel_the_others(
    engine: AsyncEngine, slow_kms: SqlKeyStore, kms_proxy: KmsProxy
) -> None:
    attach(engine, slow_kms)

    async def read() -> Any:
        async with AsyncSession(engine) as session:
            return await session.scalar(select(Patient.ssn))

    first, second = asyncio.create_task(read()), asyncio.create_task(read())
    await _called(kms_proxy)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert await second == ROW["ssn"]
    assert kms_proxy.counts == {"Decrypt": 1}


# -- rows that are processed outside the greenlet ----------------------------------------------


@on_each_database
async def test_a_connections_rows_leave_the_loop_free_while_kms_unwraps(
    engine: AsyncEngine, slow_kms: SqlKeyStore, kms_proxy: KmsProxy
) -> None:
    attach(engine, slow_kms)
    async with _beating() as heart, engine.connect() as connection:
        result = await connection.execute(select(PATIENT.c.id, PATIENT.c.notes, PATIENT.c.ssn))
        assert heart.ticks >= MANY
        heart.ticks = 0
        assert result.all() == [(ID, ROW["notes"], ROW["ssn"])]
        assert heart.ticks == 0  # nothing was waited for
    assert kms_proxy.counts == {"Decrypt": 1}


async def test_each_of_a_connections_keys_is_fetched_once_and_before_the_rows_are_read(
    engine: AsyncEngine, encryption: Encryption, cold: AsyncEngine
) -> None:
    rows = [{"id": uuid.UUID(int=number), "ssn": f"s{number}"} for number in range(20)]
    async with engine.begin() as connection:
        await connection.execute(insert(PATIENT), rows[::2])
    await encryption.keys.arotate("default")
    async with engine.begin() as connection:
        await connection.execute(insert(PATIENT), rows[1::2])
    stats = encryption_of(cold).stats
    async with cold.connect() as connection:
        result = await connection.execute(select(PATIENT.c.ssn).order_by(PATIENT.c.id))
        assert stats.keys.store_calls == 2
        assert set(result.scalars()) == {row["ssn"] for row in rows}
    assert stats.keys.store_calls == stats.keys.misses == 2


async def test_rows_that_cannot_be_opened_fail_when_they_are_read_and_not_before(
    engine: AsyncEngine, encryption: Encryption, cold: AsyncEngine
) -> None:
    async with engine.begin() as connection:
        await connection.execute(insert(PATIENT), [ROW, {**ROW, "id": OTHER, "ssn": "other"}])
        raw = table("patient", column("id", Uuid()), column("ssn", LargeBinary()))
        other = await connection.scalar(select(raw.c.ssn).where(raw.c.id == OTHER))
        await connection.execute(update(raw).where(raw.c.id == ID).values(ssn=other))
    async with cold.connect() as connection:
        result = await connection.execute(select(PATIENT.c.ssn).where(PATIENT.c.id == ID))
        # No key is fetched for a value that does not belong here.
        assert encryption_of(cold).stats.keys.store_calls == 0
        with pytest.raises(ContextMismatchError):
            result.all()


@pytest.mark.parametrize("async_backend", ["sqlite-aiosqlite"], indirect=True)
async def test_no_key_waits_behind_however_many_that_hang(
    engine: AsyncEngine, kms: Kms, kms_proxy: KmsProxy
) -> None:
    store = SqlKeyStore(keyrings.aws_kms(kms.create_key(), timeout=120, read_timeout=120))
    encryption = attach(engine, store)
    names = [f"tenant/{i}" for i in range(MAX_AT_WORK + 3)]
    await encryption.keys.acreate_table()
    for name in names:
        await encryption.keys.acreate(name)
    encryption._cache.clear()
    kms_proxy.reset()
    kms_proxy.fail("hang", times=MAX_AT_WORK + 1)

    def fetch(name: str) -> asyncio.Task[Any]:
        return asyncio.create_task(greenlet_spawn(engine_encryption(encryption).active_key, name))

    hanging = [fetch(name) for name in names[: MAX_AT_WORK + 1]]
    await _called(kms_proxy, MAX_AT_WORK + 1)
    async with asyncio.timeout(60):
        found = await asyncio.gather(*map(fetch, names[MAX_AT_WORK + 1 :]))
    assert [key.id for key in found] == names[MAX_AT_WORK + 1 :]
    assert not any(task.done() for task in hanging)
    kms_proxy.heal()
    await asyncio.gather(*hanging, return_exceptions=True)
