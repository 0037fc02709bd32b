"""Beacon keys in an SQL table: one with each key, a second beside it for a time."""

from __future__ import annotations

import asyncio
import copy
import datetime as dt
import pickle
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine, event, select, text, update

from encfields import SqlKeyStore, attach, keyrings
from encfields.errors import (
    ConfigurationError,
    KeyAccessError,
    KeyDestroyedError,
    KeyNotFoundError,
)
from encfields.keys.admin import KeyAdmin
from encfields.keys.cache.key_cache import KeyCache
from encfields.keys.sql.rows import BEACON
from encfields.keys.store import KeyStore
from encfields.keys.versions import BeaconKey
from encfields.testing import assert_absent
from tests.keys.passing_time import let_pass
from tests.servers.backends import Backend
from tests.turns import databases_by_turns, on_each_database
from tests.waiting import until

pytestmark = databases_by_turns


def numbers(found: Iterable[BeaconKey]) -> list[int]:
    return [one.version for one in found]


@pytest.fixture
def made(store: SqlKeyStore) -> SqlKeyStore:
    store.create("default")
    return store


# -- the table ---------------------------------------------------------------------------------


def test_the_beacon_key_that_a_key_is_made_with_is_version_one(made):
    (first,) = made.beacons("default")

    assert (first.id, first.version) == ("default", 1)
    assert first.material == made.beacon("default")
    assert first.created_at is not None
    assert abs(first.created_at - dt.datetime.now(dt.UTC)) < dt.timedelta(minutes=1)


def test_a_row_written_before_there_were_versions_is_version_one(made, backend):
    """Its layout: 1 in ``active``."""
    with backend.create_engine().connect() as connection:
        row = connection.execute(select(made.table).where(made.table.c.purpose == BEACON)).one()

    assert row.active == 1
    assert numbers(made.beacons("default")) == [1]


def test_a_rotated_beacon_key_stands_beside_the_first_and_is_the_newest(made):
    first = made.beacon("default")
    told = made.rotate_beacon("default")
    old, new = made.beacons("default")

    assert (told.id, told.version) == ("default", 2)
    assert (old.version, old.material) == (1, first)
    assert new.version == 2
    assert new.material != first
    assert made.beacon("default") == new.material
    assert made.list_beacons("default") == [
        type(told)("default", one.version, one.created_at) for one in (old, new)
    ]
    # The branch key is another matter.
    assert len(made.list()) == 1


def test_a_retired_version_is_wiped_and_its_number_is_never_used_again(made, backend):
    made.rotate_beacon("default")
    made.retire_beacon("default", 1)
    assert numbers(made.beacons("default")) == [2]
    made.rotate_beacon("default")
    assert numbers(made.beacons("default")) == [2, 3]
    made.retire_beacon("default", 2)
    assert numbers(made.beacons("default")) == [3]

    table = made.table
    with backend.create_engine().connect() as connection:
        rows = connection.execute(select(table).where(table.c.purpose == BEACON)).all()
    gone = [row for row in rows if row.destroyed_at is not None]
    assert len(gone) == 2
    assert {(row.wrapped, row.active) for row in gone} == {(None, None)}


def test_there_are_two_at_most(made):
    made.rotate_beacon("default")
    with pytest.raises(ConfigurationError, match=r"retire_beacon\('default', 1\)") as caught:
        made.rotate_beacon("default")

    assert caught.value.reason == "two-beacons"
    assert numbers(made.beacons("default")) == [1, 2]


def test_the_newest_and_what_is_not_there_cannot_be_retired(made):
    with pytest.raises(ConfigurationError) as newest:
        made.retire_beacon("default", 1)
    with pytest.raises(KeyNotFoundError) as missing:
        made.retire_beacon("default", 2)

    assert (newest.value.reason, missing.value.reason) == ("newest-beacon", "no-version")
    assert numbers(made.beacons("default")) == [1]


def test_keys_are_apart(made):
    made.create("other")
    before = made.beacon("other")
    made.rotate_beacon("default")

    assert numbers(made.beacons("other")) == [1]
    assert made.beacon("other") == before


@on_each_database
def test_of_concurrent_rotations_one_wins_and_there_is_one_second_version(backend, keyring):
    stores = [SqlKeyStore(keyring, engine=backend.create_engine()) for _ in range(5)]
    stores[0].create_table()
    stores[0].create("default")
    barrier = threading.Barrier(len(stores))

    def rotate(store):
        barrier.wait()
        try:
            return store.rotate_beacon("default").version
        except ConfigurationError as error:
            return error.reason

    with ThreadPoolExecutor(len(stores)) as pool:
        told = list(pool.map(rotate, stores))

    assert sorted(told, key=str) == [2, *["two-beacons"] * 4]
    assert numbers(stores[0].beacons("default")) == [1, 2]


def test_destroying_the_key_wipes_both_and_neither_comes_back(made, backend):
    made.rotate_beacon("default")
    made.destroy("default")

    for call in (
        made.beacon,
        made.beacons,
        made.list_beacons,
        made.rotate_beacon,
        lambda key_id: made.retire_beacon(key_id, 1),
    ):
        with pytest.raises(KeyDestroyedError):
            call("default")
    with backend.create_engine().connect() as connection:
        of_key = select(made.table.c.wrapped).where(made.table.c.key_id == "default")
        assert connection.execute(of_key).scalars().all() == [None] * 3


@on_each_database
def test_a_rotation_that_meets_a_destruction_makes_no_key(made):
    """Destroyed between the look at the key and the new row."""
    wrap_new = made._wrapper.current.wrap_new

    def destroy_meanwhile(*place):
        made.destroy("default")
        return wrap_new(*place)

    made._wrapper.current.wrap_new = destroy_meanwhile
    with pytest.raises(KeyDestroyedError):
        made.rotate_beacon("default")

    assert all(row.wrapped is None for row in made._table.all_rows())


def test_a_missing_key_has_no_beacon_keys(made):
    for call in (made.beacon, made.beacons, made.list_beacons, made.rotate_beacon):
        with pytest.raises(KeyNotFoundError, match=r"keys\.create"):
            call("none")


def test_two_wrapped_beacon_keys_cannot_be_put_in_each_others_place(made, backend):
    made.rotate_beacon("default")
    table = made.table
    rows = made._table.rows_of("default", BEACON)
    with backend.create_engine().begin() as connection:
        for row, other in zip(rows, reversed(rows), strict=True):
            here = update(table).where(table.c.version == row.version)
            connection.execute(here.values(wrapped=other.wrapped))

    with pytest.raises(KeyAccessError) as caught:
        made.beacons("default")
    assert caught.value.reason == "tampered"


def test_a_rewrap_moves_both(made):
    made.rotate_beacon("default")
    before = [one.material for one in made.beacons("default")]
    report = made.rewrap(keyrings.local(b"n" * 32))

    assert report.moved == 3
    assert [one.material for one in made.beacons("default")] == before


def test_a_beacon_key_shows_no_material_and_is_never_copied_out(made):
    (one,) = made.beacons("default")

    assert_absent(one.material, repr(one))
    with pytest.raises(TypeError, match="never pickled"):
        pickle.dumps(one)
    assert copy.deepcopy(one) is one
    with pytest.raises(ConfigurationError, match="32 bytes"):
        BeaconKey("default", 1, b"short")


# -- through encryption.keys -------------------------------------------------------------------


@pytest.fixture
def cache(sqlite_store: SqlKeyStore) -> KeyCache:
    sqlite_store.create("default")
    return KeyCache(sqlite_store, ttl=60, grace=30)


def test_this_process_knows_a_rotation_at_once(cache):
    keys = KeyAdmin(cache.store, cache)
    first = cache.beacon("default")
    keys.rotate_beacon("default")

    assert numbers(cache.beacons("default")) == [1, 2]
    assert cache.beacon("default") != first
    keys.retire_beacon("default", 1, at_once=True)
    assert numbers(cache.beacons("default")) == [2]
    assert [one.version for one in keys.list_beacons("default")] == [2]


def test_a_rotation_forgets_no_branch_key(cache):
    key = cache.active("default")
    calls = cache.stats.store_calls
    KeyAdmin(cache.store, cache).rotate_beacon("default")

    assert cache.active("default") is key
    assert cache.stats.store_calls == calls


def test_the_older_one_is_not_retired_while_others_may_know_only_it(cache, sqlite_store):
    keys = KeyAdmin(cache.store, cache)
    keys.rotate_beacon("default")
    with pytest.raises(ConfigurationError, match="at_once=True") as caught:
        keys.retire_beacon("default", 1)
    assert caught.value.reason == "too-early"

    # A minute and a half later: cache_ttl and cache_grace.
    table = sqlite_store.table
    earlier = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=91)
    with sqlite_store._table.connection.engine.begin() as connection:
        newest = update(table).where(table.c.purpose == BEACON, table.c.active == 2)
        connection.execute(newest.values(created_at=earlier))
    keys.retire_beacon("default", 1)
    assert [one.version for one in keys.list_beacons("default")] == [2]


def test_too_early_is_not_said_of_what_cannot_be_retired_anyway(cache):
    keys = KeyAdmin(cache.store, cache)
    with pytest.raises(ConfigurationError) as caught:
        keys.retire_beacon("default", 1)

    assert caught.value.reason == "newest-beacon"


class OneBeacon(KeyStore):
    """A key store of a user's own, that knows nothing of versions."""

    def __init__(self, store: SqlKeyStore) -> None:
        self.store = store

    @property
    def name(self):
        return self.store.name

    def active(self, key_id):
        return self.store.active(key_id)

    def version(self, key_id, version):
        return self.store.version(key_id, version)

    def beacon(self, key_id):
        return self.store.beacon(key_id)

    def create(self, key_id):
        return self.store.create(key_id)

    def rotate(self, key_id):
        return self.store.rotate(key_id)

    def list(self):
        return self.store.list()


def test_a_store_of_one_beacon_key_serves_it_as_version_one_and_refuses_the_rest(cache):
    plain = OneBeacon(cache.store)
    other = KeyCache(plain)
    keys = KeyAdmin(plain, other)

    assert [(one.version, one.material) for one in other.beacons("default")] == [
        (1, cache.beacon("default"))
    ]
    for call in (keys.rotate_beacon, keys.list_beacons, lambda one: keys.retire_beacon(one, 1)):
        with pytest.raises(ConfigurationError) as caught:
            call("default")
        assert caught.value.reason == "one-beacon"


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_keys_without_a_beacon_key_are_found_among_many(backend, keyring):
    engine = backend.create_engine()
    keys = attach(engine, SqlKeyStore(keyring)).keys
    keys.create_table()
    ids = [f"tenant/{number}" for number in range(120)]
    keys.each(ids).create()
    with engine.begin() as connection:
        gone = "purpose = 'beacon-key' AND key_id IN ('tenant/7', 'tenant/119')"
        connection.execute(text(f"DELETE FROM encfields_keys WHERE {gone}"))
    assert keys.without_beacon([*ids, "unknown"]) == ["tenant/119", "tenant/7", "unknown"]
    assert keys.without_beacon([]) == []


async def test_the_verbs_have_twins_for_coroutines(async_backend, keyring):
    encryption = attach(async_backend.create_engine(), SqlKeyStore(keyring))
    keys = encryption.keys
    await keys.acreate_table()
    await keys.acreate("default")

    assert (await keys.arotate_beacon("default")).version == 2
    assert [one.version for one in await keys.alist_beacons("default")] == [1, 2]
    await keys.aretire_beacon("default", 1, at_once=True)
    assert [one.version for one in await keys.alist_beacons("default")] == [2]
    encryption.detach()


# -- the cache ---------------------------------------------------------------------------------


class Queries:
    """Statements that read the key table."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, connection, cursor, statement, *rest) -> None:
        self.count += "FROM encfields_keys" in statement


@pytest.fixture
def queries():
    made = Queries()
    event.listen(Engine, "before_cursor_execute", made)
    yield made
    event.remove(Engine, "before_cursor_execute", made)


def test_a_cached_beacon_key_is_found_without_any_lock(cache):
    cache.beacon("default")
    with cache._fetcher.lock:  # it is not reentrant: taking it here would never end
        assert cache.beacon("default") == cache.beacons("default")[-1].material
        assert cache.beacons("default", for_writing=True) is cache.beacons("default")
    assert cache.stats.by_key["default"].hits == 4


def test_what_is_derived_lives_as_long_as_the_cached_key(cache):
    cache.beacons("default")[0].derived["column"] = b"subkey"
    assert cache.beacons("default")[0].derived == {"column": b"subkey"}
    cache.forget("default")
    assert cache.beacons("default")[0].derived == {}


def test_both_versions_are_one_entry_and_one_fetch(cache, queries):
    cache.store.rotate_beacon("default")
    queries.count = 0
    assert numbers(cache.beacons("default")) == [1, 2]
    assert cache.beacon("default") == cache.beacons("default")[1].material

    assert queries.count == 1
    assert (len(cache), cache.stats.store_calls) == (1, 1)


def test_beacon_keys_in_use_are_renewed_before_they_expire(sqlite_store):
    sqlite_store.create("default")
    cache = KeyCache(sqlite_store, ttl=600, renew_before=300)
    cache.beacons("default")
    sqlite_store.rotate_beacon("default")
    for turn in (1, 2):
        cache.beacon("default"), cache.beacons("default")
        let_pass(cache, 500)
        until(lambda: cache.stats.renewals == turn)  # noqa: B023 (asked in this turn only)
    found = cache.beacons("default")
    cache.close()

    assert cache.stats.misses == 1
    assert numbers(found) == [1, 2]


def test_many_are_renewed_with_one_query(sqlite_store, queries):
    ids = [f"tenant/{number}" for number in range(6)]
    for key_id in ids:
        sqlite_store.create(key_id)
    cache = KeyCache(sqlite_store, ttl=60, renew_before=30)
    cache.prefetch(ids, beacons=True, active_only=True)
    for key_id in ids:
        cache.beacon(key_id)
        cache._entries.held[(key_id, None)].renew_at = 0.001
    queries.count = 0
    cache.renew_due()
    cache.close()

    assert queries.count == 2  # branch keys are read along with them
    assert cache.stats.renewals == 6


def test_a_missing_key_costs_one_look_a_second(cache, queries, monkeypatch):
    # However long a busy machine takes for what follows, it is within one pause.
    monkeypatch.setattr("encfields.keys.cache.entries.MISSING_PAUSE", 600.0)
    for _ in range(20):
        for ask in (cache.beacon, cache.beacons):
            with pytest.raises(KeyNotFoundError):
                ask("none")

    assert cache.stats.by_key["none"].refused == 39
    assert queries.count == 1


async def prefetched(cache: KeyCache, *key_ids: str) -> int:
    return await cache.aprefetch(key_ids, beacons=True)


def test_prefetch_loads_a_pages_beacon_keys_with_the_same_query(sqlite_store, queries):
    ids = [f"tenant/{number}" for number in range(20)]
    for key_id in ids:
        sqlite_store.create(key_id)
    sqlite_store.rotate_beacon(ids[0])
    for prefetch in (
        lambda cache: cache.prefetch(ids, beacons=True),
        lambda cache: asyncio.run(prefetched(cache, *ids)),
    ):
        cache = KeyCache(sqlite_store)
        queries.count = 0
        assert prefetch(cache) == 20
        assert queries.count == 1
        assert cache.without(ids) == cache.without(ids, beacons=True) == []
        assert numbers(cache.beacons(ids[0])) == [1, 2]
        assert {numbers(cache.beacons(one))[0] for one in ids[1:]} == {1}
        assert cache.without(["none", ids[3]], beacons=True) == ["none"]
        assert queries.count == 1


def test_prefetch_while_something_is_rotated_keeps_nothing_old(cache, sqlite_store):
    read = sqlite_store.wrapped_with_beacons

    def read_then_rotate(key_ids):
        found = read(key_ids)
        KeyAdmin(sqlite_store, cache).rotate_beacon("default")
        return found

    sqlite_store.wrapped_with_beacons = read_then_rotate
    cache.prefetch(["default"], beacons=True)

    assert numbers(cache.beacons("default")) == [1, 2]


async def test_a_coroutine_prefetches_them_on_every_driver(async_backend, keyring):
    engine = async_backend.create_engine()
    encryption = attach(engine, SqlKeyStore(keyring))
    await encryption.keys.acreate_table()
    for key_id in ("a", "b"):
        await encryption.keys.acreate(key_id)
    cache = encryption._cache
    assert await cache.aprefetch(["a", "b"], beacons=True) == 2
    calls = cache.stats.store_calls

    assert cache.beacon("a") != cache.beacon("b")
    assert cache.stats.store_calls == calls == 4
    encryption.detach()


def test_in_bulk_keys_are_distinguished_by_case_and_destroyed_ones_left_out(made, backend: Backend):
    for key_id in ("a", "A", "gone"):
        made.create(key_id)
    made.destroy("gone")

    assert [one.id for one in made.wrapped_beacons(["A", "gone", "none"])] == ["A"]
    assert {one.id for one in made.wrapped_beacons(None)} == {"default", "a", "A"}
    (found,) = made.wrapped_beacons(["A"])
    assert found.unwrap()[0].material == made.beacon("A")
