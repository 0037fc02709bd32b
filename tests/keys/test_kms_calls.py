"""How often KMS is asked, counted at KMS."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from encfields import keyrings
from encfields.errors import KeyUnavailableError
from encfields.keys.admin import KeyAdmin
from encfields.keys.cache.key_cache import KeyCache
from encfields.keys.sql.store import SqlKeyStore
from tests.turns import databases_by_turns

pytestmark = databases_by_turns


@pytest.fixture
def version(backend, kms, kms_proxy):
    """A key made by another process, wrapped by two KMS keys; a proxy that counts from now."""
    keyring = keyrings.aws_kms(kms.create_key(), kms.create_key("eu-central-1"))
    store = SqlKeyStore(keyring, engine=backend.create_engine())
    store.create_table()
    made = store.create("default").version
    assert kms_proxy.counts == {"GenerateDataKey": 2, "Encrypt": 2}
    kms_proxy.reset()
    return made


def cold_cache(backend, kms_proxy, version, **options):
    """A cache as in a process that has just started: it knows the keyring and the database."""
    discovery = keyrings.aws_kms_discovery("123456789012", regions="eu-west-1", max_attempts=1)
    store = SqlKeyStore(discovery, engine=backend.create_engine())
    return KeyCache(store, **options)


def test_ten_thousand_values_read_by_a_cold_process_cost_one_kms_call(backend, kms_proxy, version):
    cache = cold_cache(backend, kms_proxy, version)

    for _ in range(10_000):
        cache.find("default", version)

    assert kms_proxy.counts == {"Decrypt": 1}


def test_cold_threads_that_meet_cost_one_kms_call(backend, kms_proxy, version):
    cache = cold_cache(backend, kms_proxy, version)
    kms_proxy.delay = 0.1
    barrier = threading.Barrier(16)

    def read(_):
        barrier.wait()
        return cache.find("default", version).material

    with ThreadPoolExecutor(16) as pool:
        materials = set(pool.map(read, range(16)))

    assert len(materials) == 1
    assert kms_proxy.counts == {"Decrypt": 1}


def test_eight_threads_across_several_expiries_cost_one_kms_call_each_time(
    backend, kms_proxy, version
):
    cache = cold_cache(backend, kms_proxy, version, ttl=0.4)
    start = time.monotonic()

    def read(_):
        while time.monotonic() < start + 1.0 or cache.stats.store_calls < 2:
            assert cache.find("default", version).id == "default"

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(read, range(8)))
    expiries = int((time.monotonic() - start) / 0.4)

    assert 2 <= kms_proxy.counts["Decrypt"] <= 1 + expiries
    assert kms_proxy.counts["Decrypt"] == cache.stats.store_calls


def test_writing_and_then_reading_back_costs_one_kms_call(backend, kms_proxy, version):
    cache = cold_cache(backend, kms_proxy, version)

    key = cache.active("default")
    assert cache.find("default", key.version) is key
    assert kms_proxy.counts == {"Decrypt": 1}


def test_a_kms_outage_is_ridden_out_by_reads_and_ends_by_itself(backend, kms_proxy, version):
    cache = cold_cache(backend, kms_proxy, version, ttl=0.2)
    key = cache.active("default")
    kms_proxy.fail("refuse")
    time.sleep(0.25)

    assert cache.find("default", version) is key
    with pytest.raises(KeyUnavailableError) as caught:
        cache.active("default")
    assert caught.value.reason == "unreachable"

    kms_proxy.heal()
    assert cache.active("default").version == version


def test_rotation_is_seen_by_its_own_process_at_once_and_by_others_after_their_ttl(
    backend, kms, kms_proxy
):
    keyring = keyrings.aws_kms(kms.create_key())
    stores = [SqlKeyStore(keyring, engine=backend.create_engine()) for _ in range(2)]
    here, there = KeyCache(stores[0]), KeyCache(stores[1])
    admin = KeyAdmin(stores[0], here)
    admin.create_table()
    old = admin.create("default").version
    assert here.active("default").version == there.active("default").version == old

    new = admin.rotate("default").version

    assert here.active("default").version == new
    assert there.active("default").version == old
    # A value sealed here with the new version is readable there at once.
    assert there.find("default", new).version == new
    for entry in there._entries.held.values():
        # As its time to live would have it.
        entry.usable = entry.expires = time.monotonic()
    assert there.active("default").version == new
    assert here.find("default", old).version == old
