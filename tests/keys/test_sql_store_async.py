"""The same store under an ``AsyncEngine``: in a greenlet, beside one, and in other threads."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, NullPool
from sqlalchemy.util import greenlet_spawn

from encfields import keyrings
from encfields.errors import ConfigurationError, KeyNotFoundError, KeyUnavailableError
from encfields.keys.admin import KeyAdmin
from encfields.keys.cache.key_cache import KeyCache
from encfields.keys.sql.store import SqlKeyStore
from tests.servers.backends import Backend
from tests.servers.process import free_port


@pytest.fixture
async def engine(async_backend):
    return async_backend.create_engine()


@pytest.fixture
async def admin(engine, keyring):
    store = SqlKeyStore(keyring, engine=engine.sync_engine)
    made = KeyAdmin(store, KeyCache(store))
    await made.acreate_table()
    return made


async def test_keys_are_created_rotated_and_listed_by_coroutines(admin):
    first = await admin.acreate("default")
    second = await admin.arotate("default")

    listed = await admin.alist()
    assert [(one.version, one.active) for one in listed] == [
        (first.version, False),
        (second.version, True),
    ]


async def test_a_key_is_found_inside_a_greenlet(admin):
    """As when rows are written, and when an AsyncSession reads."""
    made = await admin.acreate("default")
    cache = KeyCache(admin._store)

    assert (await greenlet_spawn(cache.active, "default")).version == made.version
    assert await greenlet_spawn(cache.beacon, "default")
    assert (await greenlet_spawn(admin._store.active, "default")).version == made.version


async def test_a_cold_key_is_found_on_the_event_loops_thread_outside_a_greenlet(admin):
    """As when the rows of AsyncConnection.execute() are processed."""
    made = await admin.acreate("default")

    assert KeyCache(admin._store).find("default", made.version).version == made.version
    assert admin._store.active("default").version == made.version


async def test_a_key_is_found_in_another_thread(admin):
    made = await admin.acreate("default")

    key = await asyncio.to_thread(KeyCache(admin._store).active, "default")
    assert key.version == made.version


async def test_the_event_loop_goes_on_while_a_greenlet_waits_for_a_slow_kms(engine, kms, kms_proxy):
    store = SqlKeyStore(keyrings.aws_kms(kms.create_key()), engine=engine.sync_engine)
    admin = KeyAdmin(store, KeyCache(store))
    await admin.acreate_table()
    made = await admin.acreate("default")
    kms_proxy.delay = 0.5
    fetch = asyncio.ensure_future(greenlet_spawn(KeyCache(store).active, "default"))
    turns = 0
    while not fetch.done():
        await asyncio.sleep(0.001)
        turns += 1

    assert fetch.result().version == made.version
    # A fetch that held the loop would be over after its first turn.
    assert turns > 5


async def test_many_coroutines_that_need_the_same_cold_key_fetch_it_once(admin):
    made = await admin.acreate("default")
    cache = KeyCache(admin._store)

    keys = await asyncio.gather(*[greenlet_spawn(cache.active, "default") for _ in range(50)])

    assert {key.version for key in keys} == {made.version}
    assert cache.stats.store_calls == 1


async def test_a_greenlet_and_a_plain_reader_that_meet_do_not_block_each_other(admin):
    """The reader blocks the loop, on which the greenlet that began the fetch is waiting."""
    made = await admin.acreate("default")
    cache = KeyCache(admin._store)
    begun = asyncio.ensure_future(greenlet_spawn(cache.find, "default", made.version))
    await asyncio.sleep(0)

    assert cache.find("default", made.version) is await begun
    assert cache.stats.store_calls == 1


async def test_a_cancelled_waiter_takes_the_key_from_nobody(admin):
    await admin.acreate("default")
    cache = KeyCache(admin._store)
    first = asyncio.ensure_future(greenlet_spawn(cache.active, "default"))
    second = asyncio.ensure_future(greenlet_spawn(cache.active, "default"))
    await asyncio.sleep(0)
    first.cancel()

    assert (await second).id == "default"
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_a_pool_of_one_connection_in_a_transaction_does_not_stand_in_the_way(
    async_backend, keyring
):
    engine = async_backend.create_engine(
        poolclass=AsyncAdaptedQueuePool, pool_size=1, max_overflow=0, pool_timeout=2
    )
    store = SqlKeyStore(keyring, engine=engine.sync_engine)
    admin = KeyAdmin(store, KeyCache(store))
    async with engine.begin() as connection:
        await connection.execute(text("SELECT 1"))
        await admin.acreate_table()
        await admin.acreate("default")
        assert (await greenlet_spawn(store.active, "default")).id == "default"
        assert store.active("default").id == "default"


async def test_prefetched_keys_need_no_store(admin, engine):
    made = await admin.acreate("default")
    old = await admin.acreate("other")
    await admin.arotate("other")
    cache = KeyCache(admin._store)

    assert await cache.aprefetch(beacons=True) == 3
    calls = cache.stats.store_calls
    async with engine.begin() as connection:
        await connection.execute(text("DROP TABLE encfields_keys"))
    assert cache.find("default", made.version).id == "default"
    assert cache.find("other", old.version).id == "other"
    assert cache.active("other").version != old.version
    assert cache.beacon("other")
    assert cache.stats.store_calls == calls


async def test_missing_keys_and_tables_are_told_as_plainly(admin, engine):
    with pytest.raises(KeyNotFoundError):
        await greenlet_spawn(admin._store.active, "default")
    async with engine.begin() as connection:
        await connection.execute(text("DROP TABLE encfields_keys"))
    with pytest.raises(ConfigurationError, match="is missing"):
        await greenlet_spawn(admin._store.active, "default")


@pytest.mark.parametrize(
    "drivername", ["postgresql+asyncpg", "postgresql+psycopg", "mysql+asyncmy"]
)
async def test_a_database_out_of_reach_is_an_outage(keyring, drivername):
    engine = create_async_engine(f"{drivername}://user@127.0.0.1:{free_port()}/none")
    store = SqlKeyStore(keyring, engine=engine.sync_engine)

    with pytest.raises(KeyUnavailableError) as caught:
        await greenlet_spawn(store.active, "default")

    assert caught.value.reason == "unreachable"


async def test_of_concurrent_creations_one_wins(admin, async_backend, keyring):
    async def create():
        store = SqlKeyStore(keyring, engine=async_backend.create_engine().sync_engine)
        return await KeyAdmin(store, KeyCache(store)).acreate("default")

    outcomes = await asyncio.gather(*[create() for _ in range(4)], return_exceptions=True)

    won = [one for one in outcomes if not isinstance(one, BaseException)]
    assert len(won) == 1
    assert {type(one).__name__ for one in outcomes} == {"KeyVersion", "KeyExistsError"}
    assert len(await admin.alist()) == 1


@pytest.fixture
async def memory_admin(keyring):
    engine = create_async_engine("sqlite+aiosqlite://")
    store = SqlKeyStore(keyring, engine=engine.sync_engine)
    made = KeyAdmin(store, KeyCache(store))
    await made.acreate_table()
    yield made
    await engine.dispose()


async def test_in_memory_keys_are_fetched_in_a_greenlet_and_never_end_its_transaction(memory_admin):
    made = await memory_admin.acreate("default")
    store = memory_admin._store
    engine = store._table.connection.engine

    def work():
        with engine.connect() as connection:
            connection.execute(text("CREATE TABLE word (word TEXT)"))
            connection.execute(text("INSERT INTO word VALUES ('mine')"))
            key = store.active("default")
            connection.rollback()
            return key, connection.scalar(text("SELECT count(*) FROM word"))

    key, count = await greenlet_spawn(work)
    assert (key.version, count) == (made.version, 0)


async def test_an_in_memory_cold_key_outside_a_greenlet_is_refused_with_the_way_out(memory_admin):
    made = await memory_admin.acreate("default")
    cache = KeyCache(memory_admin._store)

    with pytest.raises(KeyUnavailableError, match="aprefetch"):
        cache.find("default", made.version)
    await cache.aprefetch()
    assert cache.find("default", made.version).id == "default"


async def test_an_in_memory_fetch_under_way_is_not_waited_for_outside_a_greenlet(memory_admin):
    """Waiting would block the loop that the fetch needs, for ever."""
    made = await memory_admin.acreate("default")
    cache = KeyCache(memory_admin._store)
    begun = asyncio.ensure_future(greenlet_spawn(cache.find, "default", made.version))
    await asyncio.sleep(0)

    with pytest.raises(KeyUnavailableError, match="aprefetch"):
        cache.find("default", made.version)
    assert (await begun).version == made.version


async def test_an_engine_over_a_pool_of_asyncpgs_has_keys_read_on_an_engine_of_their_own(
    postgresql: Backend, keyring
):
    """Such connections belong to one event loop, and keys are read on another."""
    url = make_url(postgresql.url_text)
    dsn = url.set(drivername="postgresql").render_as_string(hide_password=False)
    async with asyncpg.create_pool(dsn, min_size=1, max_size=2) as pool:
        engine = create_async_engine(
            "postgresql+asyncpg://", async_creator=pool.acquire, poolclass=NullPool
        ).sync_engine
        shared = SqlKeyStore(keyring, engine=engine)
        with pytest.raises(ConfigurationError, match="engine of its own"):
            await KeyAdmin(shared, KeyCache(shared)).alist()
        # The pool has its connections again.
        async with pool.acquire() as one, pool.acquire() as other:
            assert await one.fetchval("SELECT 1") + await other.fetchval("SELECT 1") == 2
    own = create_async_engine(url.set(drivername="postgresql+asyncpg")).sync_engine
    store = SqlKeyStore(keyring, engine=own)
    admin = KeyAdmin(store, KeyCache(store))
    await admin.acreate_table()
    assert await admin.alist() == []
