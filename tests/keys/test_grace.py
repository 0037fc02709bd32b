"""In its grace period a key is read at once, whatever KMS does; the log says so once."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import String, create_engine, select
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.pool import StaticPool

from encfields import BlindIndex, EncryptedType, attach, keyrings
from encfields.errors import KeyUnavailableError
from encfields.keys.cache.key_cache import KeyCache
from encfields.keys.sql.store import SqlKeyStore
from tests.servers.backends import Backend
from tests.waiting import until

KMS_TIMEOUT = 100.0
"""Seconds for which each KMS key is waited for: far longer than a reader may wait."""

AT_ONCE = KMS_TIMEOUT / 2
"""Seconds. Who waits for KMS takes twice as long; a busy machine does not make one of the other."""

SLOW = ["hang", "drip", "crawl"]


@pytest.fixture
def arns(kms) -> list[str]:
    return [kms.create_key("eu-west-1"), kms.create_key("eu-central-1")]


@pytest.fixture
def store(arns, kms_proxy, sqlite: Backend) -> SqlKeyStore:
    keyring = keyrings.aws_kms(*arns, timeout=KMS_TIMEOUT, read_timeout=120, max_attempts=1)
    made = SqlKeyStore(keyring, engine=sqlite.create_engine())
    made.create_table()
    made.create("default")
    return made


@pytest.fixture(autouse=True)
def _the_librarys_patience(monkeypatch):
    """For it is what these tests are about."""
    monkeypatch.setattr("encfields.keys.cache.grace.PATIENCE", 0.5)


def longest(read: Callable[[], object], seconds: float) -> float:
    """How long the slowest of many reads took."""
    waits, end = [0.0], time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.monotonic()
        read()
        waits.append(time.monotonic() - began)
        time.sleep(0.02)
    return max(waits)


@pytest.mark.parametrize("failure", SLOW)
def test_no_reader_waits_for_a_kms_that_hangs(store, kms_proxy, failure):
    cache = KeyCache(store, ttl=0.3, grace=60)
    key = cache.active("default")
    kms_proxy.reset()
    kms_proxy.fail(failure)
    time.sleep(0.35)

    with ThreadPoolExecutor(4) as pool:
        read = [pool.submit(longest, lambda: cache.find("default", key.version), 2) for _ in "abcd"]
        assert max(one.result() for one in read) < AT_ONCE
    until(lambda: kms_proxy.calls)
    # One attempt at a time, whoever reads.
    assert len(kms_proxy.calls) == 1


def test_a_key_that_expires_in_a_known_outage_is_read_without_any_wait(
    store, kms_proxy, monkeypatch
):
    for number in range(5):
        store.create(f"tenant/{number}")
    cache = KeyCache(store, ttl=1.0, grace=60)
    keys = [cache.active(f"tenant/{number}") for number in range(5)]
    kms_proxy.fail("hang")
    time.sleep(1.05)
    cache.find(keys[0].id, keys[0].version)
    # Whoever now waited for a fetch would be seen to, on the busiest machine.
    monkeypatch.setattr("encfields.keys.cache.grace.PATIENCE", 2 * AT_ONCE)

    began = time.monotonic()
    for key in keys:
        assert cache.find(key.id, key.version) is key
    assert time.monotonic() - began < AT_ONCE


def test_a_beacon_key_is_looked_up_with_in_grace_and_stores_nothing(store, kms_proxy):
    cache = KeyCache(store, ttl=0.3, grace=60)
    cache.beacon("default")
    kms_proxy.fail("hang")
    time.sleep(0.35)

    assert longest(lambda: cache.beacons("default"), 2) < AT_ONCE
    kms_proxy.fail("error")
    with pytest.raises(KeyUnavailableError):
        cache.beacon("default")


def test_when_kms_is_back_the_key_is_fetched_beside_its_readers(store, kms_proxy):
    cache = KeyCache(store, ttl=0.3, grace=60)
    key = cache.active("default")
    kms_proxy.fail("hang")
    time.sleep(0.35)
    cache.find("default", key.version)
    cache.times.ttl = 60
    kms_proxy.heal()

    def is_fresh() -> bool:
        before = cache.stats.stale
        cache.find("default", key.version)
        return cache.stats.stale == before

    until(is_fresh)
    assert len(cache) == 2


def test_a_store_with_one_connection_asks_on_the_readers_thread_and_seldom(kms, kms_proxy):
    """A thread of ours must not touch a connection that is the application's."""
    keyring = keyrings.aws_kms(kms.create_key(), timeout=0.5, read_timeout=60, max_attempts=1)
    store = SqlKeyStore(keyring, engine=create_engine("sqlite://", poolclass=StaticPool))
    store.create_table()
    store.create("default")
    cache = KeyCache(store, ttl=0.2, grace=60)
    key = cache.active("default")
    kms_proxy.reset()
    kms_proxy.fail("hang")
    time.sleep(0.25)

    longest(lambda: cache.find("default", key.version), 4)
    assert len(kms_proxy.calls) == 1


class Base(DeclarativeBase):
    pass


class Note(Base):
    __tablename__ = "note"
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str] = mapped_column(EncryptedType(String(50), index=BlindIndex()))


def test_an_event_loop_and_its_readers_go_on(arns, kms_proxy, tmp_path):
    async def scenario() -> tuple[float, float]:
        engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/notes.db")
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        keyring = keyrings.aws_kms(*arns, timeout=KMS_TIMEOUT, read_timeout=120, max_attempts=1)
        attach(engine, SqlKeyStore(keyring), create=True, cache_ttl=0.5, cache_grace=60)
        async with AsyncSession(engine) as session:
            session.add(Note(text="x"))
            await session.commit()
        kms_proxy.fail("hang")
        await asyncio.sleep(0.55)
        reads, ticks, end = [], [], time.monotonic() + 2

        async def read() -> None:
            while time.monotonic() < end:
                began = time.monotonic()
                async with AsyncSession(engine) as session:
                    assert (await session.scalars(select(Note.text))).one() == "x"
                reads.append(time.monotonic() - began)
                await asyncio.sleep(0.02)

        async def tick() -> None:
            while time.monotonic() < end:
                began = time.monotonic()
                await asyncio.sleep(0.01)
                ticks.append(time.monotonic() - began)

        await asyncio.gather(read(), read(), tick())
        kms_proxy.heal()
        await engine.dispose()
        return max(reads), max(ticks)

    slowest_read, slowest_tick = asyncio.run(scenario())
    assert slowest_read < AT_ONCE
    assert slowest_tick < AT_ONCE


def test_rows_are_read_at_once_in_grace_on_every_database(arns, kms_proxy, backend: Backend):
    engine = backend.create_engine()
    Base.metadata.create_all(engine)
    keyring = keyrings.aws_kms(*arns, timeout=KMS_TIMEOUT, read_timeout=120, max_attempts=1)
    attach(engine, SqlKeyStore(keyring), create=True, cache_ttl=0.5, cache_grace=60)
    with Session(engine) as session:
        session.add(Note(text="x"))
        session.commit()
    kms_proxy.fail("hang")
    time.sleep(0.55)

    def read() -> None:
        with Session(engine) as session:
            assert session.scalars(select(Note.text)).one() == "x"
            assert session.scalars(select(Note.text).where(Note.text == "x")).one() == "x"

    assert longest(read, 1) < AT_ONCE
    kms_proxy.heal()


# -- the log -----------------------------------------------------------------------------------


def told(caplog, *words: str) -> list[str]:
    texts = [one.getMessage() for one in caplog.records if one.name == "encfields.keys"]
    return [text for text in texts if all(word in text for word in words)]


@pytest.mark.parametrize("failure", ["hang", "refuse", "throttle", "error"])
def test_an_outage_is_logged_once_for_each_kms_key_and_so_is_its_end(
    kms, kms_proxy, sqlite: Backend, caplog, failure
):
    caplog.set_level(logging.INFO, "encfields.keys")
    arns = [kms.create_key("eu-west-1"), kms.create_key("eu-central-1")]
    patience = 0.5 if failure == "hang" else 60
    keyring = keyrings.aws_kms(*arns, timeout=patience, read_timeout=60, max_attempts=1)
    store = SqlKeyStore(keyring, engine=sqlite.create_engine())
    store.create_table()
    store.create("default")
    cache = KeyCache(store)
    kms_proxy.fail(failure)
    # A KMS that fails in two ways by turns tells each of them once.
    for turn in [failure, "deny", failure, "deny", failure]:
        kms_proxy.fail(turn)
        with pytest.raises(KeyUnavailableError) as caught:
            cache.active("default")
    kms_proxy.heal()
    for _ in range(2):
        cache.active("default")
        cache.clear()

    for arn in arns:
        assert len(told(caplog, arn, "fails")) == 2
        assert len(told(caplog, arn, "fails", "AccessDenied")) == 1
        assert arn in str(caught.value)
    # The second one was not needed any more.
    assert len(told(caplog, arns[0], "answers again")) == 1


def test_a_kms_key_that_another_stands_in_for_is_logged(kms, kms_proxy, sqlite: Backend, caplog):
    arns = [kms.create_key("eu-west-1"), kms.create_key("eu-central-1")]
    store = SqlKeyStore(keyrings.aws_kms(*arns, max_attempts=1), engine=sqlite.create_engine())
    store.create_table()
    store.create("default")
    kms_proxy.fail("error", times=1)

    assert KeyCache(store).active("default").id == "default"
    assert len(told(caplog, arns[0], "fails")) == 1
    assert told(caplog, arns[1]) == []


def test_a_stale_key_is_logged_once_with_its_id_and_so_is_that_it_is_fetched_again(
    store, kms_proxy, caplog
):
    cache = KeyCache(store, ttl=0.3, grace=60)
    key = cache.active("default")
    kms_proxy.fail("error")
    time.sleep(0.35)
    longest(lambda: cache.find("default", key.version), 2.5)

    assert len(told(caplog, "'default'", key.version, "past its time to live")) == 1
    cache.times.ttl = 60
    kms_proxy.heal()

    def is_recovered() -> bool:
        cache.find("default", key.version)
        return bool(told(caplog, "fetched again"))

    until(is_recovered)
    assert len(told(caplog, "'default'", key.version, "fetched again")) == 1
    assert key.material.hex() not in caplog.text
