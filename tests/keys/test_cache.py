"""The cache: one fetch per key, a time to live, a grace period for reads, bounded memory."""

from __future__ import annotations

import copy
import datetime as dt
import threading
import time
import uuid
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest

from encfields.branch_key import BranchKey
from encfields.errors import (
    ConfigurationError,
    KeyDestroyedError,
    KeyNotFoundError,
    KeyUnavailableError,
)
from encfields.keys.cache.entries import MAX_MISSING, MISSING_PAUSE
from encfields.keys.cache.key_cache import KeyCache
from encfields.keys.cache.stats import OTHERS, Fetch
from encfields.keys.store import KeyStore
from encfields.keys.versions import KeyVersion
from encfields.message.keys import Wrapping
from encfields.testing import assert_absent
from tests.keys.passing_time import let_pass
from tests.waiting import until


class RecordedStore(KeyStore):
    """A key store in memory: what the cache stands in front of, not what is tested.

    :ivar calls: every question it was asked.
    :ivar failure: raised instead of an answer.
    :ivar gates: key ids whose questions wait until the event is set.
    """

    def __init__(self) -> None:
        self.keys: dict[str, list[BranchKey]] = {}
        self.calls: list[tuple[str, ...]] = []
        self.failure: Exception | None = None
        self.gates: dict[str, threading.Event] = {}

    def _ask(self, *question: str) -> list[BranchKey]:
        self.calls.append(question)
        found = self.keys.get(question[1], [])
        gate = self.gates.get(question[1])
        answer = list(found)
        if gate is not None:
            assert gate.wait(60)
        if self.failure is not None:
            raise copy.copy(self.failure)
        if not answer:
            raise KeyNotFoundError("no such key", key_id=question[1])
        return answer

    def active(self, key_id):
        return self._ask("active", key_id)[-1]

    def version(self, key_id, version):
        return next(k for k in self._ask("version", key_id, version) if k.version == version)

    def beacon(self, key_id):
        return bytes(32) if self._ask("beacon", key_id) else b""

    def rotate(self, key_id):
        self.keys.setdefault(key_id, []).append(
            BranchKey(key_id, str(uuid.uuid4()), uuid.uuid4().bytes * 2)
        )
        return self.keys[key_id][-1]

    create = rotate
    name = "recorded"

    def list(self):
        return [
            KeyVersion(key.id, key.version, key is keys[-1], dt.datetime.now(dt.UTC))
            for keys in self.keys.values()
            for key in keys
        ]


@pytest.fixture
def store():
    made = RecordedStore()
    made.create("default")
    return made


def outage(reason="unreachable"):
    return KeyUnavailableError("out of reach", key_id="default", reason=reason)


def test_a_key_is_fetched_once_and_then_answered_from_memory(store):
    cache = KeyCache(store)
    (key,) = store.keys["default"]
    version = key.version

    for _ in range(100):
        assert cache.find("default", version).material == key.material

    assert store.calls == [("version", "default", version)]
    assert (cache.stats.hits, cache.stats.misses, cache.stats.store_calls) == (99, 1, 1)


def test_the_active_version_is_found_by_its_version_without_another_fetch(store):
    cache = KeyCache(store)

    key = cache.active("default")
    assert cache.find("default", key.version) is key
    assert store.calls == [("active", "default")]


def test_a_store_that_can_list_its_keys_has_them_prefetched(store):
    store.rotate("default")
    old, new = store.keys["default"]
    cache = KeyCache(store)

    assert cache.prefetch(["default", "missing"], beacons=True) == 2
    assert cache.active("default").material == new.material
    assert cache.find("default", old.version).material == old.material
    assert cache.beacon("default") == bytes(32)
    assert len(store.calls) == 3


def test_a_key_is_fetched_anew_after_its_time_to_live(store):
    cache = KeyCache(store, ttl=600)
    first = cache.active("default")
    store.rotate("default")
    assert cache.active("default") is first
    let_pass(cache, 600)

    assert cache.active("default").version == store.keys["default"][1].version
    assert cache.find("default", first.version).material == first.material
    assert len(store.calls) == 3


def test_the_beacon_key_has_a_place_of_its_own(store):
    cache = KeyCache(store)
    cache.active("default")

    assert cache.beacon("default") == cache.beacon("default") == bytes(32)
    assert store.calls == [("active", "default"), ("beacon", "default")]


def test_threads_that_need_the_same_expired_key_fetch_it_once(store):
    cache = KeyCache(store, ttl=600)
    cache.active("default")
    let_pass(cache, 600)
    store.gates["default"] = threading.Event()
    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(cache.active, "default") for _ in range(8)]
        while cache.stats.misses < 9:
            time.sleep(0.001)
        store.gates["default"].set()
        keys = {future.result() for future in waiting}

    assert len(keys) == 1
    assert len(store.calls) == 2


def test_nobody_waits_behind_the_fetch_of_another_key(store):
    store.create("other")
    store.gates["default"] = threading.Event()
    cache = KeyCache(store)
    with ThreadPoolExecutor(1) as pool:
        stuck = pool.submit(cache.active, "default")
        while not store.calls:
            time.sleep(0.001)

        assert cache.active("other").id == "other"
        assert not stuck.done()
        store.gates["default"].set()
        assert stuck.result(60).id == "default"


def test_a_failure_reaches_every_waiter_and_is_not_remembered(store):
    cache = KeyCache(store)
    store.failure = outage()
    store.gates["default"] = threading.Event()
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(cache.active, "default") for _ in range(4)]
        while cache.stats.misses < 4:
            time.sleep(0.001)
        store.gates["default"].set()
        errors = [future.exception(60) for future in waiting]

    told = [(type(e), getattr(e, "reason", None), getattr(e, "key_id", None)) for e in errors]
    assert told == 4 * [(KeyUnavailableError, "unreachable", "default")]
    # Each thread has an exception of its own, with a traceback of its own.
    assert len({id(error) for error in errors}) == 4
    assert len(store.calls) == 1
    store.failure = None
    assert cache.active("default").id == "default"


def test_a_missing_key_is_found_within_a_second_of_being_made(store, monkeypatch):
    monkeypatch.setattr("encfields.keys.cache.entries.MISSING_PAUSE", MISSING_PAUSE + 600)
    cache = KeyCache(store)
    with pytest.raises(KeyNotFoundError):
        cache.active("new")
    store.create("new")
    with pytest.raises(KeyNotFoundError):
        cache.active("new")
    let_pass(cache, MISSING_PAUSE + 600)

    assert MISSING_PAUSE <= 1
    assert cache.active("new").id == "new"


def test_a_missing_key_that_this_process_makes_is_found_at_once(store):
    cache = KeyCache(store)
    with pytest.raises(KeyNotFoundError):
        cache.active("new")
    store.create("new")
    cache.forget("new")

    assert cache.active("new").id == "new"


@pytest.mark.parametrize("error", [KeyNotFoundError, KeyDestroyedError])
def test_a_storm_of_a_missing_key_costs_one_call_a_second(store, error):
    cache = KeyCache(store)
    store.failure = error("gone", key_id="gone", reason="no-key")

    def ask():
        told = 0
        for _ in range(100):
            with pytest.raises(error, match="gone"):
                cache.active("gone")
            told += 1
        return told

    before = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        told = sum(future.result() for future in [pool.submit(ask) for _ in range(4)])
    seconds = time.monotonic() - before

    assert told == 400
    assert len(store.calls) <= 1 + seconds
    counters = cache.stats.by_key["gone"]
    assert counters.misses + counters.refused == 400


def test_the_missing_keys_that_are_remembered_are_bounded(store):
    cache = KeyCache(store)
    for number in range(MAX_MISSING + 10):
        with pytest.raises(KeyNotFoundError):
            cache.active(f"none/{number}")

    assert len(cache._missing) == MAX_MISSING


def test_an_unforeseen_error_reaches_the_caller_as_it_is(store):
    cache = KeyCache(store)
    store.failure = ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError):
        cache.active("default")
    store.failure = None
    assert cache.active("default").id == "default"


@pytest.mark.parametrize("reason", ["unreachable", "throttled", "error"])
def test_reads_outlive_an_outage_for_the_grace_period_and_writes_do_not(store, reason):
    cache = KeyCache(store, ttl=600, grace=300)
    key = cache.active("default")
    cache.beacon("default")
    let_pass(cache, 600)
    store.failure = outage(reason)

    assert cache.find("default", key.version) is key
    assert [one.version for one in cache.beacons("default")] == [1]
    for write in (
        cache.active,
        cache.beacon,
        lambda key_id: cache.beacons(key_id, for_writing=True),
    ):
        with pytest.raises(KeyUnavailableError):
            write("default")
    assert cache.stats.stale == 2
    let_pass(cache, 300)
    for read in (lambda: cache.find("default", key.version), lambda: cache.beacons("default")):
        with pytest.raises(KeyUnavailableError):
            read()


@pytest.mark.parametrize("reason", ["denied", "disabled"])
def test_there_is_no_grace_for_a_key_that_somebody_took_away(store, reason):
    cache = KeyCache(store, ttl=600, grace=600)
    key = cache.active("default")
    let_pass(cache, 600)
    store.failure = outage(reason)

    with pytest.raises(KeyUnavailableError):
        cache.find("default", key.version)


def test_reads_in_the_grace_period_do_not_each_wait_for_the_failing_store(store):
    cache = KeyCache(store, ttl=600, grace=600)
    key = cache.active("default")
    let_pass(cache, 600)
    store.failure = outage()

    before = time.monotonic()
    for _ in range(100):
        assert cache.find("default", key.version) is key
    seconds = time.monotonic() - before

    assert len(store.calls) <= 2 + seconds


def test_a_recovered_store_is_used_again_within_seconds(store):
    cache = KeyCache(store, ttl=600, grace=600)
    key = cache.active("default")
    let_pass(cache, 600)
    store.failure = outage()
    cache.find("default", key.version)
    store.failure = None
    let_pass(cache, 1.05)

    cache.find("default", key.version)
    until(lambda: cache.stats.store_calls == 3)
    stale = cache.stats.stale
    cache.find("default", key.version)
    assert cache.stats.stale == stale <= 2


def test_memory_is_bounded_and_what_is_used_stays(store):
    for number in range(100):
        store.create(f"tenant/{number}")
    cache = KeyCache(store, max_entries=40)
    for number in range(100):
        cache.active("default")
        cache.active(f"tenant/{number}")
        assert len(cache) <= 40

    assert store.calls.count(("active", "default")) == 1
    assert cache.stats.evicted > 0
    # The latest ones are there, the oldest were dropped and come back.
    calls = len(store.calls)
    cache.active("tenant/99")
    assert len(store.calls) == calls
    assert cache.active("tenant/0").id == "tenant/0"


def test_a_key_is_this_caches_alone_and_is_dropped_with_it(store):
    """Though the store returns one object for ever, and to every cache."""
    ours, other = KeyCache(store), KeyCache(store, data_key_cache=False)
    key = ours.active("default")
    assert other.active("default") is not key
    assert (key.keeps_data_keys, other.active("default").keeps_data_keys) == (True, False)
    assert key.number == store.keys["default"][0].number

    kept = weakref.ref(Wrapping.of(key).data_keys)
    del key
    ours.forget("default")
    assert kept() is None


def test_a_cleared_cache_fetches_again_and_keeps_nothing_from_fetches_under_way(store):
    cache = KeyCache(store)
    old = store.keys["default"][0]
    store.gates["default"] = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(cache.active, "default")
        while not store.calls:
            time.sleep(0.001)
        store.rotate("default")
        cache.clear()
        store.gates["default"].set()
        assert under_way.result(60).version == old.version

    assert cache.active("default").version == store.keys["default"][1].version


def test_forgetting_which_version_is_active_keeps_the_versions(store):
    cache = KeyCache(store)
    old = cache.active("default")
    new = store.rotate("default")
    cache.forget("default", active_only=True)

    assert cache.find("default", old.version) is old
    assert cache.active("default").version == new.version
    assert store.calls == 2 * [("active", "default")]


def test_forgetting_a_key_leaves_the_others(store):
    store.create("other")
    cache = KeyCache(store)
    for key_id in ("default", "other"):
        cache.active(key_id)
        cache.beacon(key_id)
    cache.forget("default")

    cache.active("other"), cache.beacon("other")
    assert len(store.calls) == 4
    cache.active("default"), cache.beacon("default")
    assert len(store.calls) == 6


def test_a_cached_key_is_found_without_a_lock_and_without_the_store(store):
    """What it takes is measured in benchmarks/tenants.py: 0.3 to 0.5 µs."""
    cache = KeyCache(store)
    version = cache.active("default").version
    cache.beacon("default")
    calls = list(store.calls)
    with cache._fetcher.lock:  # it is not reentrant: taking it here would never end
        assert cache.active("default") is cache.find("default", version)
        assert cache.beacon("default") is cache.beacons("default")[0].material
    assert store.calls == calls


@pytest.mark.parametrize(
    "options",
    [{"ttl": 0}, {"ttl": "5"}, {"grace": -1}, {"max_entries": 0}, {"renew_before": 3600}],
)
def test_impossible_limits_are_refused(store, options):
    with pytest.raises(ConfigurationError, match="cache_"):
        KeyCache(store, **options)


def test_repr_shows_no_key(store):
    cache = KeyCache(store)
    key = cache.active("default")

    assert_absent(key.material, repr(cache), repr(cache.stats), repr(key))


def test_what_happened_is_counted_by_key(store):
    store.create("other")
    cache = KeyCache(store)
    for _ in range(3):
        cache.active("default")
    cache.active("other")
    store.failure = outage()
    with pytest.raises(KeyUnavailableError):
        cache.beacon("other")

    default, other = cache.stats.by_key["default"], cache.stats.by_key["other"]
    assert (default.hits, default.misses, default.store_calls, default.failures) == (2, 1, 1, 0)
    assert (other.hits, other.misses, other.store_calls, other.failures) == (0, 2, 2, 1)
    assert 0 < other.slowest < other.seconds
    total = cache.stats.total()
    assert (total.hits, total.misses, total.failures) == (2, 3, 1)
    assert total.slowest == max(default.slowest, other.slowest)


def test_key_ids_that_are_counted_apart_are_bounded(store, monkeypatch):
    monkeypatch.setattr("encfields.keys.cache.stats.MAX_KEY_IDS", 3)
    cache = KeyCache(store)
    for number in range(5):
        store.create(f"tenant/{number}")
        cache.active(f"tenant/{number}")
        cache.active(f"tenant/{number}")

    assert set(cache.stats.by_key) == {"tenant/0", "tenant/1", "tenant/2", OTHERS}
    assert cache.stats.by_key[OTHERS].hits == 2
    assert (cache.stats.hits, cache.stats.misses) == (5, 5)


def test_observers_are_told_of_each_fetch_and_can_do_no_harm(store, caplog):
    cache = KeyCache(store)
    told: list[Fetch] = []

    def fails(fetch: Fetch) -> None:
        raise ZeroDivisionError

    cache.observers += [told.append, fails]
    cache.active("default")
    cache.active("default")
    store.failure = outage()
    with pytest.raises(KeyUnavailableError):
        cache.beacon("default")

    assert [(one.key_id, one.what, one.renewal, one.failure) for one in told] == [
        ("default", "active", False, None),
        ("default", "beacon", False, "unreachable"),
    ]
    assert "ZeroDivisionError" in caplog.text


def test_an_interrupt_after_the_fetch_leaves_no_waiter_waiting(store):
    """Control-C may come between any two steps; here it does in what observers are told."""
    cache = KeyCache(store)

    def interrupt(fetch: Fetch) -> None:
        raise KeyboardInterrupt

    store.gates["default"] = threading.Event()
    cache.observers.append(interrupt)
    outcomes: list[type] = []

    def ask() -> None:
        try:
            cache.active("default")
        except BaseException as error:
            outcomes.append(type(error))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    while cache.stats.misses < 3:
        time.sleep(0.001)
    store.gates["default"].set()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    cache.observers.clear()

    assert sorted(one.__name__ for one in outcomes) == [
        "KeyUnavailableError",
        "KeyUnavailableError",
        "KeyboardInterrupt",
    ]
    assert cache.active("default").id == "default"
