"""Keys of a page of rows over many tenants: one query, and unwraps side by side."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import boto3
import pytest
from sqlalchemy import Engine, Table, event, insert, select

from encfields import Encryption, SqlKeyStore, attach, keyrings
from encfields.engine import engine_encryption
from encfields.errors import KeyAccessError, KeyUnavailableError
from encfields.keys.cache.key_cache import KeyCache
from encfields.keys.fetching.threads import MAX_PARALLEL_UNWRAPS
from tests.servers.backends import Backend
from tests.turns import databases_by_turns, on_each_database

pytestmark = databases_by_turns


COUNT = 20
"""More than twice as many as are unwrapped side by side."""
TENANTS = [f"tenant/{number}" for number in range(COUNT)]


class Queries:
    """Counts the statements that read the key table of an engine's store."""

    def __init__(self) -> None:
        self.count = 0
        event.listen(Engine, "before_cursor_execute", self._note)

    def _note(self, connection, cursor, statement, *rest) -> None:
        self.count += "FROM encfields_keys" in statement

    def stop(self) -> None:
        event.remove(Engine, "before_cursor_execute", self._note)


@pytest.fixture
def queries():
    made = Queries()
    yield made
    made.stop()


@dataclass
class Kept:
    """The keys of the first test: what wraps them, and the database's file."""

    arn: str = ""
    content: bytes = b""


@pytest.fixture(scope="module")
def kept() -> Kept:
    return Kept()


@pytest.fixture
def kms_engine(kms, kms_proxy, sqlite: Backend, kept: Kept):
    """An engine whose store holds these tenants' keys in KMS, as a fresh process sees it."""
    file = Path(str(sqlite.url.database))
    if not kept.arn:
        arn = kms.create_key()
        maker = sqlite.create_engine()
        store = SqlKeyStore(keyrings.aws_kms(arn, max_attempts=1), engine=maker)
        store.create_table()
        for key_id in TENANTS:
            store.create(key_id)
        maker.dispose()
        kept.arn, kept.content = arn, file.read_bytes()
    file.write_bytes(kept.content)
    kms_proxy.reset()
    engine = sqlite.create_engine()
    keyring = keyrings.aws_kms(kept.arn, max_attempts=1)
    encryption = attach(engine, SqlKeyStore(keyring), cache_check=3600)
    yield encryption
    encryption.detach()


def test_a_page_over_many_tenants_costs_one_query_and_one_kms_call_a_key(
    kms_engine: Encryption, kms_proxy, queries
):
    assert kms_engine.prefetch(TENANTS) == COUNT

    assert queries.count == 2  # the keys; and, once a process, the name of the key store
    assert kms_proxy.counts == {"Decrypt": COUNT}
    for key_id in TENANTS:
        key = engine_encryption(kms_engine).active_key(key_id)
        assert engine_encryption(kms_engine).find_key(key_id, key.version) is key
    assert queries.count == 2
    assert kms_proxy.counts == {"Decrypt": COUNT}


def test_their_beacon_keys_come_with_the_same_query(kms_engine: Encryption, kms_proxy, queries):
    assert kms_engine.prefetch(TENANTS[:5], beacons=True) == 5

    assert queries.count == 2  # both kinds of keys; and, once a process, the name
    assert kms_proxy.counts == {"Decrypt": 10}
    assert engine_encryption(kms_engine).cache.without(TENANTS[:5], beacons=True) == []


def test_what_is_at_hand_is_not_unwrapped_again(kms_engine: Encryption, kms_proxy):
    kms_engine.prefetch(TENANTS[:15])
    kms_engine.prefetch(TENANTS)

    assert kms_proxy.counts == {"Decrypt": COUNT}


def test_unwraps_run_side_by_side_but_not_more_than_bounded(kms_engine: Encryption, kms_proxy):
    kms_engine.prefetch(TENANTS[:8])  # the threads' clients are made
    kms_proxy.delay = 0.1
    kms_engine.prefetch(TENANTS[8:])

    assert 1 < kms_proxy.most_at_once <= MAX_PARALLEL_UNWRAPS


def test_threads_that_prefetch_the_same_page_unwrap_each_key_once(
    kms_engine: Encryption, kms_proxy
):
    kms_proxy.delay = 0.02
    with ThreadPoolExecutor(6) as pool:
        told = [pool.submit(kms_engine.prefetch, TENANTS) for _ in range(6)]
        assert [future.result() for future in told] == 6 * [COUNT]

    assert kms_proxy.counts == {"Decrypt": COUNT}


def test_a_failure_is_raised_after_the_others_are_at_hand(kms_engine: Encryption, kms_proxy):
    kms_proxy.fail("throttle", times=1)
    with pytest.raises(KeyUnavailableError) as caught:
        kms_engine.prefetch(TENANTS)
    assert caught.value.reason == "throttled"

    kms_proxy.reset()
    assert kms_engine.prefetch(TENANTS) == COUNT
    assert kms_proxy.counts == {"Decrypt": 1}


def test_many_keys_of_which_one_is_damaged(backend: Backend, engine: Engine, wrapping_key):
    store = SqlKeyStore(keyrings.local(wrapping_key), engine=engine)
    store.create_table()
    for key_id in TENANTS:
        store.create(key_id)
    table = store.table
    with engine.begin() as connection:
        connection.execute(
            table.update().where(table.c.key_id == TENANTS[3]).values(wrapped=b"damaged")
        )
    cache = KeyCache(store)
    with pytest.raises(KeyAccessError) as caught:
        cache.prefetch(TENANTS)
    assert caught.value.key_id == TENANTS[3]
    assert cache.stats.store_calls == COUNT
    assert len(cache) == 2 * (COUNT - 1)  # each active version, by id and by version


def test_a_key_that_was_rotated_while_the_page_was_read_is_not_kept_as_active(
    engine: Engine, wrapping_key
):
    store = SqlKeyStore(keyrings.local(wrapping_key), engine=engine)
    store.create_table()
    store.create("a")
    cache = KeyCache(store)
    read = store.wrapped_many

    def read_then_rotate(key_ids):
        found = read(key_ids)
        store.rotate("a")
        cache.forget("a", active_only=True)
        return found

    store.wrapped_many = read_then_rotate  # type: ignore[method-assign]
    cache.prefetch(["a"])

    assert cache.active("a").version == store.active("a").version


def test_more_ids_than_a_query_holds(engine: Engine, wrapping_key, monkeypatch, queries):
    monkeypatch.setattr("encfields.keys.sql.table.MAX_IDS_IN_QUERY", 8)
    store = SqlKeyStore(keyrings.local(wrapping_key), engine=engine)
    store.create_table()
    for key_id in TENANTS:
        store.create(key_id)
    queries.count = 0
    assert KeyCache(store).prefetch(TENANTS) == COUNT
    assert queries.count == 3


@on_each_database
def test_keys_are_told_apart_by_case_and_blanks_in_bulk_too(engine: Engine, wrapping_key):
    store = SqlKeyStore(keyrings.local(wrapping_key), engine=engine)
    store.create_table()
    for key_id in ("a", "A"):
        store.create(key_id)
    assert [one.key_version.id for one in store.wrapped_many(["A"])] == ["A"]
    assert {one.key_version.id for one in store.wrapped_many(None)} == {"a", "A"}


def test_writing_many_tenants_rows_fetches_their_keys_at_once(
    backend: Backend, engine: Engine, invoices: Table, wrapping_key, queries
):
    first = attach(engine, SqlKeyStore(keyrings.local(wrapping_key)), create=True)
    for key_id in TENANTS:
        first.keys.create(key_id)
    cold = backend.create_engine()
    attach(cold, SqlKeyStore(keyrings.local(wrapping_key)), cache_check=3600)
    queries.count = 0
    rows = [{"id": n, "tenant_id": n, "iban": f"DE{n}"} for n in range(COUNT)]
    with cold.begin() as connection:
        connection.execute(insert(invoices), rows)

    assert queries.count == 2  # the keys; and, once a process, the name of the key store
    with cold.connect() as connection:
        found = connection.execute(select(invoices).order_by(invoices.c.id)).all()
    assert [row.iban for row in found] == [f"DE{n}" for n in range(COUNT)]
    assert queries.count == 2


def test_no_page_waits_behind_another_pages_outage(kms, kms_proxy, sqlite: Backend):
    """Every helping thread is busy with keys of a region that hangs."""
    down, up = kms.create_key("eu-west-1"), kms.create_key("eu-central-1")

    def client(region):
        url = kms_proxy.url if region == "eu-west-1" else kms.url
        return boto3.client("kms", region_name=region, endpoint_url=url)

    engine = sqlite.create_engine()
    slow = [f"slow/{number}" for number in range(2 * MAX_PARALLEL_UNWRAPS)]
    quick = [f"quick/{number}" for number in range(5)]
    for arn, ids in ((down, slow), (up, quick)):
        made = SqlKeyStore(keyrings.aws_kms(arn, client_factory=client), engine=engine)
        made.create_table()
        for key_id in ids:
            made.create(key_id)
    both = keyrings.aws_kms_discovery(
        down.split(":")[4],
        regions=["eu-west-1", "eu-central-1"],
        client_factory=client,
        timeout=60,
    )
    cache = KeyCache(SqlKeyStore(both, engine=engine))
    kms_proxy.reset()
    kms_proxy.fail("hang")
    with ThreadPoolExecutor(1) as pool:
        stuck = pool.submit(cache.prefetch, slow)
        while len(kms_proxy.calls) < MAX_PARALLEL_UNWRAPS:
            time.sleep(0.005)
        assert cache.prefetch(quick) == 5
        assert not stuck.done()
        kms_proxy.heal()
        assert stuck.result(60) == len(slow)


def test_an_interrupted_prefetch_leaves_nobody_waiting(kms_engine: Encryption, kms_proxy):
    """Control-C on the thread that leads: others wait for the keys that it has not fetched yet."""
    cache = kms_engine._cache
    told: list[int] = []

    def interrupt_once(fetch) -> None:
        if threading.current_thread() is leader and not told:
            told.append(1)
            raise KeyboardInterrupt

    def lead() -> None:
        with suppress(KeyboardInterrupt):
            cache.prefetch(TENANTS)

    leader = threading.Thread(target=lead)
    cache.observers.append(interrupt_once)
    leader.start()
    leader.join()
    cache.observers.clear()

    assert told == [1]
    assert cache.prefetch(TENANTS) == COUNT
    assert kms_proxy.counts["Decrypt"] <= COUNT + 1
