"""Keys of many tenants in KMS: making, listing, loading and rotating all of them.

    python -m benchmarks.tenants_kms [--tenants 10000] [--database URL] [--json]

KMS is moto's emulator on this machine, which shares its processors: KMS itself answers in some
10 ms, of which this process works for one or two, so that what is shown is about what eight
requests at a time take from AWS. The database is an empty one; by default SQLite in a file. Each
figure is of a fresh process's key store, as it is after a start.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine

from encfields import Encryption, SqlKeyStore, attach, keyrings
from encfields.engine import engine_encryption
from encfields.keys.many.report import KeysReport
from tests.servers.moto import ENVIRONMENT, Kms, MotoServer

PAGE = 200

PATIENCE = 120.0
"""Seconds for an answer of the emulator, which other work on the machine may hold up."""

IN_USE, TTL, ROUNDS = 200, 30.0, 3
"""Keys that are used all the time, seconds for which they are, and how often that is."""


class Bench:
    """Tenants' keys in a database and an emulated KMS."""

    def __init__(self, database: str, tenants: int, arn: str) -> None:
        self.database = database
        self.arn = arn
        self.ids = [f"tenant/{number}" for number in range(tenants)]

    @contextmanager
    def cold(self, **options: Any) -> Iterator[Encryption]:
        """What a new process has: nothing in memory."""
        engine = create_engine(self.database)
        store = SqlKeyStore(keyrings.aws_kms(self.arn, timeout=PATIENCE), name="benchmark")
        encryption = attach(engine, store, cache_renewal=0, **options)
        try:
            yield encryption
        finally:
            encryption.detach()
            engine.dispose()


def seconds(what: Callable[[], object]) -> float:
    start = time.perf_counter()
    what()
    return time.perf_counter() - start


def megabytes() -> float:
    """What the process has in memory now (Linux)."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def require_complete(report: KeysReport) -> None:
    if not report.is_complete:
        raise SystemExit(f"{len(report.failed)} keys failed, the first: {report.failed[:1]}")


def make(bench: Bench) -> dict[str, Any]:
    with bench.cold() as encryption:
        encryption.keys.create_table()
        many = encryption.keys.each(bench.ids)
        took = seconds(lambda: require_complete(many.create()))
        again = seconds(lambda: require_complete(encryption.keys.each(bench.ids[:1_000]).create()))
    return {"make all (s)": took, "find that 1,000 are there already (s)": again}


def list_all(bench: Bench) -> dict[str, Any]:
    with bench.cold() as encryption:
        api = seconds(encryption.keys.list)
    command = [sys.executable, "-m", "encfields.cli", "keys", "list", "--database", bench.database]
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        one = seconds(lambda: subprocess.run([*command, bench.ids[0]], stdout=nowhere, check=True))
        all_ = seconds(lambda: subprocess.run(command, stdout=nowhere, check=True))
    return {
        "list all, Python (s)": api,
        "list one, command (s)": one,
        "list all, command (s)": all_,
    }


def start(bench: Bench) -> dict[str, Any]:
    with bench.cold() as encryption:
        encryption.prefetch(bench.ids[:8])  # the threads' clients are made
        page = seconds(lambda: encryption.prefetch(bench.ids[8 : 8 + PAGE]))
        before = encryption.stats.keys.kms_calls, megabytes()
        took = seconds(encryption.prefetch)
        calls = encryption.stats.keys.kms_calls - before[0]
        return {
            f"load a page of {PAGE} (s)": page,
            "load all at start (s)": took,
            "KMS calls for it": calls,
            "memory for it (MB)": megabytes() - before[1],
        }


def calls_an_hour(bench: Bench) -> dict[str, Any]:
    """KMS calls for each key that is in use, in each ``cache_ttl``, by renewal alone."""
    engine = create_engine(bench.database)
    store = SqlKeyStore(keyrings.aws_kms(bench.arn, timeout=PATIENCE), name="benchmark")
    encryption = attach(engine, store, cache_ttl=TTL, cache_renewal=TTL / 3)
    used = bench.ids[:IN_USE]
    encryption.prefetch(used)
    before = encryption.stats.keys.kms_calls
    end = time.monotonic() + ROUNDS * TTL
    while time.monotonic() < end:
        for key_id in used:
            engine_encryption(encryption).active_key(key_id)
        time.sleep(0.2)
    calls = encryption.stats.keys.kms_calls - before
    encryption.detach()
    engine.dispose()
    return {"KMS calls a key in use and cache_ttl": calls / IN_USE / ROUNDS}


def rotate(bench: Bench) -> dict[str, Any]:
    with bench.cold() as encryption:
        took = seconds(lambda: require_complete(encryption.keys.each().rotate()))
    return {"rotate all (s)": took}


STEPS = (make, list_all, start, calls_an_hour, rotate)


def measure(database: str, tenants: int) -> dict[str, Any]:
    os.environ.update(ENVIRONMENT)
    server = MotoServer()
    os.environ["AWS_ENDPOINT_URL"] = server.url
    told: dict[str, Any] = {"tenants": tenants}
    try:
        bench = Bench(database, tenants, Kms(server.url).create_key())
        for step in STEPS:
            found = step(bench)
            told |= found
            for name, value in found.items():
                print(f"{name}: {value:,.2f}", file=sys.stderr, flush=True)
    finally:
        server.stop()
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tenants", type=int, default=10_000)
    parser.add_argument("--database", metavar="URL", help="an empty one; default SQLite")
    parser.add_argument("--json", action="store_true", help="print one JSON document at the end")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        database = arguments.database or f"sqlite:///{Path(folder) / 'keys.sqlite'}"
        told = measure(database, arguments.tenants)
    if arguments.json:
        print(json.dumps(told, indent=2))


if __name__ == "__main__":
    main()
