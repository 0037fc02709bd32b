"""A key that one process destroys: another one, with the key in its memory, loses it in time."""

from __future__ import annotations

import secrets
from multiprocessing.connection import Connection

import pytest
from sqlalchemy import create_engine

from encfields import SqlKeyStore, attach, keyrings
from encfields.errors import EncFieldsError
from encfields.keys.sql.rows import BEACON, BRANCH
from tests.forked import processes
from tests.servers.backends import Backend
from tests.waiting import PATIENCE, until

TTL = 1.0


def use_it(url: str, wrapping_key: bytes, renewal: float, pipe: Connection) -> None:
    """Another process: warm, told of nothing."""
    engine = create_engine(url)
    store = SqlKeyStore(keyrings.local(wrapping_key))
    encryption = attach(engine, store, cache_ttl=TTL, cache_grace=60, cache_renewal=renewal)
    cache = encryption._cache
    cache.prefetch(["tenant/1"], beacons=True)
    version = cache.active("tenant/1").version
    asks = {
        "active": lambda: cache.active("tenant/1"),
        "find": lambda: cache.find("tenant/1", version),
        "beacon": lambda: cache.beacon("tenant/1"),
        "beacons": lambda: cache.beacons("tenant/1"),
    }
    for ask in asks.values():
        ask()
    pipe.send("warm")
    pipe.recv()

    def is_gone() -> bool:
        return {outcome(ask) for ask in asks.values()} == {"KeyDestroyedError"}

    until(is_gone, "that the key is gone")
    pipe.send("gone")
    encryption.detach()
    engine.dispose()


def outcome(ask) -> str:
    try:
        ask()
    except EncFieldsError as error:
        return type(error).__name__
    return "served"


@pytest.mark.parametrize("renewal", [0.0, 0.5], ids=["expires", "renewed"])
def test_its_branch_and_beacon_keys_are_gone_within_the_time_to_live(backend: Backend, renewal):
    wrapping_key = secrets.token_bytes(32)
    store = SqlKeyStore(keyrings.local(wrapping_key), engine=backend.create_engine())
    store.create_table()
    store.create("tenant/1")
    context = processes()
    here, there = context.Pipe()
    process = context.Process(
        target=use_it, args=(backend.url_text, wrapping_key, renewal, there), daemon=True
    )
    process.start()
    there.close()
    assert here.recv() == "warm"
    store.destroy("tenant/1")
    here.send("destroyed")
    assert here.recv() == "gone"
    process.join(PATIENCE)

    tombstones = [
        *store._table.rows_of("tenant/1", BRANCH),
        *store._table.rows_of("tenant/1", BEACON),
    ]
    assert [(row.wrapped, row.destroyed_at is None) for row in tombstones] == 2 * [(None, False)]
