"""Asking the key table whether a key is still in force, as every process that seals does.

    python -m benchmarks.key_confirmation [--rounds 60] [--url URL]

On the connection that the key store keeps on MariaDB and MySQL; connecting each time, as it does on
PostgreSQL and for an engine whose application keeps no connection (``NullPool``); and the same
question on a pooled connection that need not be tested. Processor time of the client in
milliseconds, the median over the rounds, in which the three take turns.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from functools import partial

from rich.console import Console
from rich.table import Table as RichTable
from sqlalchemy import Engine, NullPool, create_engine, select

from benchmarks.support.databases import databases
from benchmarks.support.interleaved import Measurement, medians
from encfields import SqlKeyStore, keyrings

KEY = "default"


def pooled(engine: Engine, store: SqlKeyStore) -> None:
    with engine.connect() as connection:
        connection.execute(select(store.table.c.version).where(store.table.c.key_id == KEY)).all()


def ask(store: SqlKeyStore) -> None:
    store.newest_versions([KEY])


def run(url: str, rounds: int) -> tuple[str, Sequence[float]]:
    """The database's name, and the milliseconds: pooled, kept and connecting."""
    engine, connecting = create_engine(url), create_engine(url, poolclass=NullPool)
    keyring = keyrings.local(os.urandom(32))
    stores = [
        SqlKeyStore(keyring, table_name="bench_keys", engine=one) for one in (engine, connecting)
    ]
    stores[0].create_table()
    stores[0].create(KEY)
    try:
        work = {
            "pooled": partial(pooled, engine, stores[0]),
            "the store": partial(ask, stores[0]),
            "connecting": partial(ask, stores[1]),
        }
        for one in work.values():
            one()
        milliseconds = medians(
            [Measurement(name, one) for name, one in work.items()], rounds, processor_time=True
        )
        name = "mariadb" if getattr(engine.dialect, "is_mariadb", False) else engine.dialect.name
        return name, [1e3 * milliseconds[one] for one in work]
    finally:
        stores[0].table.drop(engine)
        engine.dispose()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--url", action="append")
    options = parser.parse_args()
    table = RichTable(title="is the key still in force? processor time, ms")
    for heading in ("", "pooled SELECT", "the store", "connecting", "connecting / the store"):
        table.add_column(heading, justify="right")
    for url in databases(options.url, mysql=True):
        name, (floor, kept, connecting) = run(url, options.rounds)
        figures = (f"{floor:.2f}", f"{kept:.2f}", f"{connecting:.2f}", f"{connecting / kept:.1f}")
        table.add_row(name, *figures)
    Console().print(table)


if __name__ == "__main__":
    main()
