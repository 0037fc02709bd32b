"""Forked processes: a cache, a keyring and KMS clients of their own."""

from __future__ import annotations

import os
import signal
import threading
import traceback

import boto3
import pytest

from encfields import keyrings
from encfields.keys.cache.key_cache import KeyCache
from encfields.keys.sql.store import SqlKeyStore

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")


class Child:
    """A forked child that runs `check`."""

    def __init__(self, check) -> None:
        reading, writing = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            # A child that hangs ends by itself, and its test fails for want of an answer.
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(30)
            try:
                told = str(check())
            except BaseException:
                told = traceback.format_exc()
            os.write(writing, told.encode()[:60_000])
            os._exit(0)
        os.close(writing)
        self._pipe = os.fdopen(reading, "rb")

    def told(self) -> str:
        """What `check` returned, or the traceback of what it raised."""
        with self._pipe:
            told = self._pipe.read().decode()
        os.waitpid(self._pid, 0)
        return told


def in_child(check) -> str:
    return Child(check).told()


@pytest.fixture
def made():
    """Every KMS client that was made: process id, thread id."""
    return []


@pytest.fixture
def store(sqlite, kms, kms_proxy, made):
    def client(region):
        made.append((os.getpid(), threading.get_ident()))
        return boto3.client("kms", region_name=region, endpoint_url=kms_proxy.url)

    keyring = keyrings.aws_kms(kms.create_key(), client_factory=client)
    store = SqlKeyStore(keyring, engine=sqlite.create_engine())
    store.create_table()
    store.create("default")
    return store


def test_a_forked_child_starts_with_an_empty_cache_and_a_kms_client_of_its_own(
    store, kms_proxy, made
):
    cache = KeyCache(store)
    version = cache.active("default").version
    kms_proxy.reset()

    def check():
        assert len(cache) == 0
        assert cache.stats.store_calls == 0
        assert cache.find("default", version).version == version
        assert cache.stats.store_calls == 1
        return {pid for pid, _ in made} == {os.getppid(), os.getpid()}

    assert in_child(check) == "True"
    assert kms_proxy.counts == {"Decrypt": 1}
    # The parent's cache is as it was.
    assert cache.find("default", version).id == "default"
    assert kms_proxy.counts == {"Decrypt": 1}


def test_parent_and_children_do_not_mix_up_their_requests(store, kms_proxy):
    """They would if they shared a keep-alive connection; the proxy keeps connections alive."""
    material = store.active("default").material

    def check():
        return all(store.active("default").material == material for _ in range(20))

    # Not with other threads at work in the parent: SQLite itself does not survive that.
    children = [Child(check) for _ in range(3)]
    assert check()
    assert [child.told() for child in children] == ["True"] * 3


def test_a_fork_during_a_fetch_leaves_the_child_able_to_fetch(store, kms_proxy):
    """The fetch's lock and future belong to a thread that the child does not have."""
    cache = KeyCache(store)
    kms_proxy.delay = 0.5
    fetching = threading.Thread(target=cache.active, args=("default",))
    fetching.start()
    while kms_proxy.counts["Decrypt"] == 0:
        pass

    assert in_child(lambda: cache.active("default").id) == "default"
    fetching.join()


def test_a_lock_held_at_the_fork_does_not_lock_the_child(store):
    cache = KeyCache(store)
    with cache._fetcher.lock:
        told = in_child(lambda: cache.active("default").id)

    assert told == "default"


def test_threads_have_keyrings_of_their_own_and_keep_them(store, made):
    """AWS: a keyring that calls KMS must not be shared between threads."""
    made.clear()

    def read():
        for _ in range(3):
            assert store.active("default").id == "default"

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(made) == 3
    assert len(set(made)) == 3
