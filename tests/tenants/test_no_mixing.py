"""No value is ever sealed under another tenant's key, whatever runs at the same time."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine, Table, insert, select, update

from encfields import SqlKeyStore, attach, keyrings
from encfields.errors import ContextMismatchError
from encfields.message.header import read_header
from tests.database import raw_select
from tests.servers.backends import Backend
from tests.turns import databases_by_turns, on_each_database

pytestmark = databases_by_turns


TENANTS = 25
ROUNDS = 4
THREADS = {"sqlite": 2, "postgresql": 8, "mariadb": 8}
"""SQLite has one writer, and lets the others starve."""


def test_a_row_moved_to_another_tenant_does_not_open(engine, invoices: Table, wrapping_key):
    attach(engine, SqlKeyStore(keyrings.local(wrapping_key)), create=True)
    with engine.begin() as connection:
        connection.execute(insert(invoices), {"id": 1, "tenant_id": 1, "iban": "x"})
        connection.exec_driver_sql("UPDATE invoice SET tenant_id = 2")
    with engine.connect() as connection, pytest.raises(ContextMismatchError):
        connection.execute(select(invoices)).all()


def test_under_threads_that_seal_rotate_and_evict_every_value_names_its_own_tenant(
    backend: Backend, engine: Engine, invoices: Table, wrapping_key
):
    store = SqlKeyStore(keyrings.local(wrapping_key))
    if backend.name == "sqlite":
        # A reader that needs a key while a writer commits would have both wait for the other.
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode = WAL")
    # Fewer keys than tenants fit into the cache, so that keys come and go all the time.
    encryption = attach(engine, store, cache_entries=20, cache_ttl=0.4, cache_renewal=0.1)
    encryption.keys.create_table()
    for tenant in range(TENANTS):
        encryption.keys.create(f"tenant/{tenant}")
    threads = THREADS[backend.family]
    ready = threading.Barrier(threads)

    def work(thread: int) -> None:
        chosen = random.Random(thread)
        ready.wait()
        for number in range(ROUNDS):
            first = (thread * ROUNDS + number) * 10
            rows = [
                {"id": first + n, "tenant_id": (t := chosen.randrange(TENANTS)), "iban": f"of {t}"}
                for n in range(10)
            ]
            with engine.begin() as connection:
                connection.execute(insert(invoices), rows)
            if number % 4 == thread % 4:
                encryption.keys.rotate(f"tenant/{chosen.randrange(TENANTS)}")
            with engine.connect() as connection:
                mine = invoices.c.id.between(first, first + 9)
                for row in connection.execute(select(invoices).where(mine)):
                    assert row.iban == f"of {row.tenant_id}"

    with ThreadPoolExecutor(threads) as pool:
        for future in [pool.submit(work, thread) for thread in range(threads)]:
            future.result()

    with engine.connect() as connection:
        stored = connection.execute(raw_select(invoices)).all()
    assert len(stored) == threads * ROUNDS * 10
    for row in stored:
        (key,) = read_header(bytes(row.iban)).keys
        assert key.key_id == f"tenant/{row.tenant_id}"
    encryption.detach()


@on_each_database
def test_concurrent_first_use_creates_a_tenants_key_once(
    backend: Backend, engine: Engine, invoices: Table, wrapping_key
):
    """Eight threads, each as a process of its own with an engine of its own."""
    engines = [backend.create_engine() for _ in range(8)]
    first = attach(engine, SqlKeyStore(keyrings.local(wrapping_key)), create=True)
    for one in engines:
        attach(one, SqlKeyStore(keyrings.local(wrapping_key)), create=True)
    ready = threading.Barrier(8)

    def work(number: int) -> None:
        ready.wait()
        with engines[number].begin() as connection:
            rows = [{"id": 10 * number + n, "tenant_id": n, "iban": f"{n}"} for n in range(3)]
            connection.execute(insert(invoices), rows)

    with ThreadPoolExecutor(8) as pool:
        for future in [pool.submit(work, number) for number in range(8)]:
            future.result()

    made = [one.id for one in first.keys.list() if one.id.startswith("tenant/")]
    assert sorted(made) == ["tenant/0", "tenant/1", "tenant/2"]
    with engine.connect() as connection:
        found = connection.execute(select(invoices)).all()
    assert len(found) == 24
    assert all(row.iban == f"{row.tenant_id}" for row in found)


def test_a_tenants_key_is_not_created_where_that_is_not_allowed(
    engine: Engine, invoices: Table, wrapping_key
):
    encryption = attach(engine, SqlKeyStore(keyrings.local(wrapping_key)))
    encryption.keys.create_table()
    with pytest.raises(Exception, match="no such key"), engine.begin() as connection:
        connection.execute(
            update(invoices).where(invoices.c.id == 1, invoices.c.tenant_id == 7), {"iban": "x"}
        )
    assert encryption.keys.list() == []
