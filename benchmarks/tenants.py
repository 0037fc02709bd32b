"""Keys of many tenants: memory and time of a cold and a warm process.

    python -m benchmarks.tenants [--tenants 10000] [--json]

A local keyring on SQLite in a file: what KMS adds is its answer's 10 ms or so a key, eight keys
at a time. Shown are the time to make the keys, to load them all with ``prefetch()``, to find a
key once loaded, to load a page of 100 tenants' keys with one query and one after the other, and
the memory that a loaded key takes.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import secrets
import tempfile
import time
import tracemalloc
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from sqlalchemy import create_engine, insert

from encfields import Encryption, SqlKeyStore, attach, keyrings
from encfields.engine import engine_encryption
from encfields.keys.keyrings.local import LocalKeyring

PAGE = 100
LOOKS = 200_000


@dataclass
class Bench:
    """A database with keys, and how to come to it cold."""

    path: str
    keyring: LocalKeyring
    ids: list[str]

    def cold(self) -> Encryption:
        """What a new process has: nothing in memory."""
        engine = create_engine(f"sqlite:///{self.path}")
        entries = 2 * len(self.ids) + PAGE
        return attach(engine, SqlKeyStore(self.keyring), cache_entries=entries, cache_renewal=0)


def make_keys(bench: Bench) -> float:
    """Make the keys as ``keys.create()`` does, in one transaction; seconds."""
    engine = create_engine(f"sqlite:///{bench.path}")
    store = SqlKeyStore(bench.keyring, engine=engine)
    store.create_table()
    start = time.perf_counter()
    rows = [store._wrapper.new_row(key_id, "branch-key", 1) for key_id in bench.ids]
    with engine.begin() as connection:
        connection.execute(insert(store.table), rows)
    return time.perf_counter() - start


def load_all(bench: Bench) -> tuple[Encryption, float]:
    encryption = bench.cold()
    start = time.perf_counter()
    encryption.prefetch()
    return encryption, time.perf_counter() - start


def memory_per_key(bench: Bench) -> float:
    """Bytes that the process holds more for each key, its counters included."""
    encryption = bench.cold()
    encryption.prefetch(bench.ids[:1])
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    encryption.prefetch()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return (after - before) / len(bench.ids)


def find(encryption: Encryption, bench: Bench) -> float:
    """Seconds to find the key of a tenant drawn at random, the drawing left out."""
    drawn = [random.choice(bench.ids) for _ in range(LOOKS)]
    active = engine_encryption(encryption).active_key
    start = time.perf_counter()
    for key_id in drawn:
        active(key_id)
    return (time.perf_counter() - start) / LOOKS


def find_beacon(bench: Bench) -> float:
    """Seconds to find a beacon key once loaded, as a blind index does for each value."""
    encryption = bench.cold()
    encryption.keys.create("indexed")  # the others were made without
    beacon = encryption._cache.beacon
    beacon("indexed")
    start = time.perf_counter()
    for _ in range(LOOKS):
        beacon("indexed")
    return (time.perf_counter() - start) / LOOKS


def page(bench: Bench, *, at_once: bool) -> float:
    """Seconds to have a page's keys at hand in a cold process, threads and keyrings made."""
    encryption = bench.cold()
    encryption.prefetch(bench.ids[:PAGE])
    wanted = bench.ids[PAGE : 2 * PAGE]
    start = time.perf_counter()
    if at_once:
        encryption.prefetch(wanted)
    else:
        for key_id in wanted:
            engine_encryption(encryption).active_key(key_id)
    return time.perf_counter() - start


def measure(tenants: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as directory:
        ids = [f"tenant/{number}" for number in range(tenants)]
        keyring = keyrings.local(secrets.token_bytes(32))
        bench = Bench(os.path.join(directory, "keys.sqlite"), keyring, ids)
        made = make_keys(bench)
        encryption, loaded = load_all(bench)
        memory = memory_per_key(bench)
        return {
            "tenants": tenants,
            "make all (s)": made,
            "load all (s)": loaded,
            "load one of them (µs)": loaded / tenants * 1e6,
            "find a loaded key (µs)": find(encryption, bench) * 1e6,
            "find a loaded beacon key (µs)": find_beacon(bench) * 1e6,
            f"page of {PAGE}, prefetched (ms)": page(bench, at_once=True) * 1e3,
            f"page of {PAGE}, one by one (ms)": page(bench, at_once=False) * 1e3,
            "memory a key (bytes)": memory,
            "memory of all (MB)": memory * tenants / 1e6,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tenants", type=int, default=10_000)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    told = measure(arguments.tenants)
    if arguments.json:
        print(json.dumps(told, indent=2))
        return
    table = Table(title=f"keys of {arguments.tenants:,} tenants", title_justify="left")
    table.add_column("what")
    table.add_column("", justify="right")
    for name, value in told.items():
        table.add_row(name, f"{value:,}" if isinstance(value, int) else f"{value:,.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
