"""Renewal: a key in use is fetched anew in the background before it expires."""

from __future__ import annotations

import datetime as dt
import gc
import os
import subprocess
import sys
import threading
import weakref
from functools import partial

import pytest
from sqlalchemy import create_engine, update
from sqlalchemy.pool import StaticPool

from encfields import SqlKeyStore, attach, keyrings
from encfields.engine import engine_encryption
from encfields.errors import KeyDestroyedError, KeyUnavailableError
from encfields.keys.cache.key_cache import KeyCache
from encfields.keys.cache.renewal import renewer
from encfields.keys.sql.store import SqlKeyStore as Store
from tests.keys.passing_time import let_pass
from tests.servers.backends import Backend
from tests.waiting import until

TTL, LEAD, DUE = 600.0, 300.0, 500.0
"""Seconds: time to live, how much earlier a key is renewed, and when one surely is due."""

pytestmark = pytest.mark.usefixtures("older_objects_stay")


def use(cache: KeyCache, *key_ids: str) -> None:
    """Ask for keys as an application does: each a second time, so that it is in use."""
    for key_id in 2 * key_ids:
        cache.find(key_id, cache.active(key_id).version)


def use_until_renewed(cache: KeyCache) -> None:
    def is_renewed() -> bool:
        use(cache, "default")
        return cache.stats.renewals > 0

    until(is_renewed)


@pytest.fixture(autouse=True)
def alone():
    """Caches that other tests left do not keep this process's thread."""
    gc.collect()
    for cache in list(renewer._caches):
        renewer.forget(cache)
    until(lambda: not renewal_threads())


@pytest.fixture
def no_thread(monkeypatch):
    """The test looks for what is due itself, when it knows that it is."""
    monkeypatch.setattr(renewer, "watch", lambda cache: None)


def is_destroyed(read) -> bool:
    try:
        read("default")
    except KeyDestroyedError:
        return True
    return False


@pytest.fixture
def cache(sqlite_store: Store):
    sqlite_store.create("default")
    made = KeyCache(sqlite_store, ttl=TTL, renew_before=LEAD, check=TTL)
    yield made
    made.close()


def renewal_threads() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name == "encfields-renewal"]


def test_nobody_waits_for_a_key_in_use_though_its_time_to_live_passes(cache, no_thread):
    for _ in range(3):
        use(cache, "default")
        let_pass(cache, DUE)
        cache.renew_due()
        use(cache, "default")

    assert cache.stats.misses == 1
    # By the active slot: the version's is renewed with it.
    assert cache.stats.renewals == 3
    assert cache.stats.store_calls == 4


def test_a_key_that_nobody_uses_is_not_renewed(cache, no_thread):
    cache.active("default")
    for seconds in (DUE, TTL):
        let_pass(cache, seconds)
        cache.renew_due()

    assert cache.stats.renewals == 0


def test_a_new_version_of_another_process_is_taken_up_by_renewal(cache, sqlite_store):
    old = cache.active("default").version
    new = sqlite_store.rotate("default").version
    use(cache, "default")
    let_pass(cache, DUE)
    use_until_renewed(cache)

    assert cache.active("default").version == new != old
    assert cache.stats.misses == 1


def test_a_failing_renewal_is_tried_again_and_the_key_serves_on(kms, kms_proxy, sqlite: Backend):
    store = Store(keyrings.aws_kms(kms.create_key(), max_attempts=1), engine=sqlite.create_engine())
    store.create_table()
    store.create("default")
    cache = KeyCache(store, ttl=TTL, renew_before=LEAD, check=TTL)
    use(cache, "default")
    kms_proxy.fail("error")
    let_pass(cache, DUE)
    until(lambda: cache.stats.failures)
    kms_proxy.heal()
    # A tenth of the lead later it is tried again.
    let_pass(cache, LEAD / 10)
    use_until_renewed(cache)
    cache.close()

    assert cache.stats.misses == 1


def test_a_renewal_that_finds_the_key_destroyed_ends_its_use_at_once(sqlite_store: Store):
    """Without waiting for the time to live."""
    sqlite_store.create("default")
    cache = KeyCache(sqlite_store, ttl=TTL, renew_before=LEAD, check=TTL)
    version = cache.active("default").version
    use(cache, "default")
    table = sqlite_store.table
    with sqlite_store._table.connection.engine.begin() as connection:
        connection.execute(
            update(table).values(wrapped=None, active=None, destroyed_at=dt.datetime.now(dt.UTC))
        )
    let_pass(cache, DUE)
    for read in (cache.active, lambda key_id: cache.find(key_id, version)):
        until(partial(is_destroyed, read))
    cache.close()


def test_many_keys_are_renewed_on_one_thread_for_all_caches(sqlite_store: Store):
    ids = [f"tenant/{number}" for number in range(5)]
    for key_id in ids:
        sqlite_store.create(key_id)
    caches = [KeyCache(sqlite_store, ttl=TTL, renew_before=LEAD, check=TTL) for _ in range(2)]
    for cache in caches:
        use(cache, *ids)
        let_pass(cache, DUE)
    assert len(renewal_threads()) == 1
    until(lambda: all(cache.stats.renewals >= 5 for cache in caches))
    for cache in caches:
        cache.close()


def test_the_thread_ends_when_the_last_cache_is_closed_or_collected(sqlite_store: Store):
    sqlite_store.create("default")
    closed = KeyCache(sqlite_store, ttl=60, renew_before=6)
    dropped = KeyCache(sqlite_store, ttl=60, renew_before=6)
    closed.active("default"), dropped.active("default")
    assert renewer.is_running
    gone = weakref.ref(dropped)
    del dropped
    gc.collect()
    assert gone() is None
    closed.close()
    until(lambda: not renewal_threads())


def test_detaching_stops_it(sqlite: Backend):
    key = keyrings.local(b"k" * 32)
    encryption = attach(sqlite.create_engine(), SqlKeyStore(key), create=True)
    assert renewal_threads()
    encryption.detach()
    until(lambda: not renewal_threads())
    encryption.seal(b"x", {})
    assert not renewal_threads()


def test_it_can_be_turned_off(sqlite: Backend):
    store = SqlKeyStore(keyrings.local(b"k" * 32))
    encryption = attach(sqlite.create_engine(), store, create=True, cache_renewal=0)
    engine_encryption(encryption).active_key("default")
    assert not renewal_threads()
    encryption.detach()


def test_a_connection_that_is_the_applications_is_never_used_in_the_background():
    engine = create_engine("sqlite://", poolclass=StaticPool)
    encryption = attach(engine, SqlKeyStore(keyrings.local(b"k" * 32)), create=True)
    engine_encryption(encryption).active_key("default")
    assert not renewal_threads()
    encryption.detach()


def test_importing_starts_no_thread():
    script = "import threading; from encfields import *; print(threading.active_count())"
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert told.stdout.strip() == "1"


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_a_thread_of_its_own_when_it_needs_one(cache):
    use(cache, "default")
    assert renewal_threads()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            began_without = not renewer.is_running and cache.stats.hits == 0
            use(cache, "default")
            let_pass(cache, DUE)
            use_until_renewed(cache)
            renewed = cache.stats.misses == 1
            code = 0 if began_without and renewed else 2
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_a_denied_renewal_lets_the_key_serve_until_its_time_to_live(
    kms, kms_proxy, sqlite: Backend
):
    store = Store(keyrings.aws_kms(kms.create_key(), max_attempts=1), engine=sqlite.create_engine())
    store.create_table()
    store.create("default")
    cache = KeyCache(store, ttl=TTL, renew_before=LEAD, check=TTL)
    use(cache, "default")
    kms_proxy.fail("deny")
    let_pass(cache, DUE)
    until(lambda: cache.stats.failures)
    use(cache, "default")
    let_pass(cache, TTL - DUE)
    with pytest.raises(KeyUnavailableError) as caught:
        cache.active("default")
    assert caught.value.reason == "denied"
    cache.close()
