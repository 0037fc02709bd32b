"""What an application sees of a KMS outage, through the cache, from beginning to end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import boto3
import pytest

from encfields import keyrings
from encfields.errors import KeyUnavailableError
from encfields.keys.cache.key_cache import KeyCache
from encfields.keys.keyrings.wrapping import KeyWrapper
from encfields.keys.sql.store import SqlKeyStore
from tests.keys.passing_time import let_pass
from tests.servers.backends import Backend
from tests.servers.kms_proxy import Failure, KmsProxy

OUTAGES = [
    ("refuse", "unreachable"),
    ("hang", "unreachable"),
    ("reset", "unreachable"),
    ("cut", "unreachable"),
    ("drip", "unreachable"),
    ("throttle", "throttled"),
    ("error", "error"),
]
DECISIONS = [("deny", "denied"), ("disabled", "disabled")]


STALLING = {"hang", "drip"}
"""Here KMS is given up soon. Elsewhere, a busy machine's may take its time for an answer."""


@pytest.fixture
def arn(kms) -> str:
    return kms.create_key()


@pytest.fixture
def store(arn, kms_proxy: KmsProxy, sqlite: Backend) -> SqlKeyStore:
    made = SqlKeyStore(keyrings.aws_kms(arn, max_attempts=1), engine=sqlite.create_engine())
    made.create_table()
    made.create("default")
    return made


@pytest.fixture
def fail(store, arn, kms_proxy: KmsProxy) -> Callable[[Failure], None]:
    """Have KMS fail."""

    def fail(failure: Failure) -> None:
        if failure in STALLING:
            impatient = keyrings.aws_kms(arn, read_timeout=0.3, timeout=60, max_attempts=1)
            store._wrapper.current = KeyWrapper(impatient)
        kms_proxy.fail(failure)

    return fail


@pytest.mark.parametrize("failure, reason", OUTAGES + DECISIONS)
def test_what_is_cached_serves_reads_and_writes_until_its_time_to_live(
    store, kms_proxy, fail, failure, reason
):
    cache = KeyCache(store)
    key = cache.active("default")
    kms_proxy.reset()
    fail(failure)

    for _ in range(10):
        assert cache.active("default") is key
        assert cache.find("default", key.version) is key
    assert kms_proxy.calls == []


@pytest.mark.parametrize("failure, reason", OUTAGES)
def test_past_it_reads_have_grace_and_writes_fail_closed_until_kms_is_back(
    store, arn, kms_proxy, fail, failure, reason
):
    cache = KeyCache(store, ttl=0.5, grace=60)
    key = cache.active("default")
    fail(failure)
    time.sleep(0.55)

    assert cache.find("default", key.version) is key
    with pytest.raises(KeyUnavailableError) as caught:
        cache.active("default")
    assert caught.value.reason == reason
    assert cache.find("default", key.version) is key

    kms_proxy.heal()
    store._wrapper.use(keyrings.aws_kms(arn))
    assert cache.active("default").version == key.version


@pytest.mark.parametrize("failure, reason", OUTAGES)
def test_past_the_grace_reads_fail_too(store, fail, failure, reason):
    cache = KeyCache(store, ttl=0.2, grace=0.2)
    key = cache.active("default")
    fail(failure)
    time.sleep(0.45)

    with pytest.raises(KeyUnavailableError) as caught:
        cache.find("default", key.version)
    assert caught.value.reason == reason


@pytest.mark.parametrize("failure, reason", DECISIONS)
def test_a_decision_has_no_grace(store, fail, failure, reason):
    cache = KeyCache(store, ttl=0.2, grace=60)
    key = cache.active("default")
    fail(failure)
    time.sleep(0.25)

    for ask in (lambda: cache.find("default", key.version), lambda: cache.active("default")):
        with pytest.raises(KeyUnavailableError) as caught:
            ask()
        assert caught.value.reason == reason


def test_what_kms_decided_has_no_grace_in_a_later_outage_either(store, kms_proxy):
    cache = KeyCache(store, ttl=0.2, grace=60)
    key = cache.active("default")
    kms_proxy.fail("deny")
    time.sleep(0.25)
    with pytest.raises(KeyUnavailableError):
        cache.find("default", key.version)

    kms_proxy.fail("refuse")
    with pytest.raises(KeyUnavailableError) as caught:
        cache.find("default", key.version)
    assert caught.value.reason == "unreachable"


@pytest.mark.parametrize("failure, reason", OUTAGES + DECISIONS)
def test_a_cold_process_reports_the_reason_within_the_configured_time(store, fail, failure, reason):
    fail(failure)
    before = time.monotonic()
    with pytest.raises(KeyUnavailableError) as caught:
        KeyCache(store).active("default")

    assert caught.value.reason == reason
    # Half of what the whole call may take: it is the read's time-out that ended it.
    assert time.monotonic() - before < 30


def test_eight_threads_at_the_end_of_the_time_to_live_cost_one_kms_call(store, kms_proxy):
    cache = KeyCache(store, ttl=600)
    cache.active("default")
    let_pass(cache, 600)
    kms_proxy.reset()
    kms_proxy.delay = 0.1
    ready = threading.Barrier(8)

    def ask() -> str:
        ready.wait()
        return cache.active("default").version

    with ThreadPoolExecutor(8) as pool:
        versions = {future.result() for future in [pool.submit(ask) for _ in range(8)]}

    assert len(versions) == 1
    assert kms_proxy.counts == {"Decrypt": 1}


def test_no_request_waits_behind_another_keys_outage(kms, kms_proxy, sqlite: Backend):
    """Two stores' worth of wrapping keys in one table: one region hangs, the other works."""
    down, up = kms.create_key("eu-west-1"), kms.create_key("eu-central-1")

    def client(region):
        url = kms_proxy.url if region == "eu-west-1" else kms.url
        return boto3.client("kms", region_name=region, endpoint_url=url)

    engine = sqlite.create_engine()
    for key_id, arn in (("slow", down), ("quick", up)):
        made = SqlKeyStore(keyrings.aws_kms(arn, client_factory=client), engine=engine)
        made.create_table()
        made.create(key_id)
    both = keyrings.aws_kms_discovery(
        down.split(":")[4],
        regions=["eu-west-1", "eu-central-1"],
        client_factory=client,
        timeout=60,
    )
    cache = KeyCache(SqlKeyStore(both, engine=engine))
    kms_proxy.fail("hang")
    with ThreadPoolExecutor(1) as pool:
        stuck = pool.submit(cache.active, "slow")
        while not kms_proxy.calls:
            time.sleep(0.005)
        assert cache.active("quick").id == "quick"
        assert not stuck.done()
        kms_proxy.heal()
        assert stuck.result(60).id == "slow"


def test_calls_to_kms_are_counted_by_key_with_repeated_ones(kms, kms_proxy, sqlite: Backend):
    store = SqlKeyStore(keyrings.aws_kms(kms.create_key()), engine=sqlite.create_engine())
    store.create_table()
    for key_id in ("a", "b"):
        store.create(key_id)
    cache = KeyCache(store)
    kms_proxy.reset()
    cache.active("a")
    kms_proxy.fail("throttle", times=2)
    cache.active("b")

    assert {key_id: one.kms_calls for key_id, one in cache.stats.by_key.items()} == {"a": 1, "b": 3}
    assert kms_proxy.counts == {"Decrypt": 4}
