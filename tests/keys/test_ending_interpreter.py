"""An interpreter that is ending starts no threads. Where it can, it fetches keys all the same."""

from __future__ import annotations

import asyncio
import threading

import pytest

from encfields.errors import KeyUnavailableError
from encfields.keys.cache.key_cache import KeyCache
from encfields.keys.cache.renewal import Renewer
from encfields.keys.fetching.threads import FetchThreads, daemon_threads
from tests.keys.passing_time import let_pass

TTL = 600.0


@pytest.fixture
def no_more_pools(monkeypatch):
    """The main thread has ended, and others work on."""
    monkeypatch.setattr("concurrent.futures.thread._shutdown", True)


@pytest.fixture
def no_more_threads(monkeypatch, no_more_pools):
    """In a handler of ``atexit``, from Python 3.12 on."""

    def start(thread):
        raise RuntimeError("can't create new thread at interpreter shutdown")

    daemon_threads.cache_clear()
    monkeypatch.setattr(threading.Thread, "start", start)


@pytest.fixture
def cache(sqlite_store, monkeypatch):
    sqlite_store.create("default")
    monkeypatch.setattr("encfields.keys.cache.key_cache.renewer", Renewer())
    made = KeyCache(sqlite_store, ttl=TTL, check=TTL, renew_before=None)
    yield made
    made.close()


def test_a_key_is_fetched_though_no_thread_can_renew_it(cache, no_more_threads):
    assert cache.active("default").id == "default"
    assert len(cache.beacons("default")) == 1


def test_a_key_past_its_time_is_fetched_by_its_reader(cache, no_more_threads):
    key = cache.active("default")
    let_pass(cache, TTL + 1)

    assert cache.find("default", key.version).version == key.version
    assert cache.stats.store_calls == 2


async def test_an_event_loop_that_outlives_the_main_thread_fetches_keys(no_more_pools):
    assert await asyncio.wrap_future(FetchThreads().submit(lambda: 7)) == 7


async def test_where_no_thread_can_fetch_it_a_key_is_unavailable(no_more_threads):
    with pytest.raises(KeyUnavailableError, match="the interpreter is ending"):
        FetchThreads().submit(lambda: 7)
