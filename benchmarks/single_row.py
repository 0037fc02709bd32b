"""One ORM row whose key the database generates, commit included, against the same in plaintext.

    python -m benchmarks.single_row [--rows 300] [--rounds 7] [--url URL]

On MariaDB, on MySQL where the tests find one, and on the others. Each round inserts every kind of
row, one transaction for each row; the figure is the median over the rounds.
"""

from __future__ import annotations

import argparse
import os
from functools import partial

from rich.console import Console
from rich.table import Table as RichTable
from sqlalchemy import Engine, create_engine

from benchmarks.orm import Base, PlainSerial, SealedSerial, empty, insert, text
from benchmarks.support.databases import databases
from benchmarks.support.interleaved import Measurement, medians
from encfields import SqlKeyStore, attach, keyrings


def insert_one_by_one(engine: Engine, model: type[Base], rows: int) -> None:
    for _ in range(rows):
        insert(engine, model, 1, text)


def run(url: str, rows: int, rounds: int) -> tuple[str, float, float]:
    """The database's name, and the seconds of a plain and an encrypted row."""
    engine = create_engine(url)
    Base.metadata.create_all(engine)
    store = SqlKeyStore(keyrings.local(os.urandom(32)), table_name="bench_keys")
    attach(engine, store, create=True)
    try:
        work = [
            Measurement(
                model.__name__,
                partial(insert_one_by_one, engine, model, rows),
                partial(empty, engine, model),
            )
            for model in (PlainSerial, SealedSerial)
        ]
        insert(engine, SealedSerial, 1, text)
        seconds = medians(work, rounds)
        name = "mariadb" if getattr(engine.dialect, "is_mariadb", False) else engine.dialect.name
        return name, seconds["PlainSerial"] / rows, seconds["SealedSerial"] / rows
    finally:
        Base.metadata.drop_all(engine)
        store.table.drop(engine)
        engine.dispose()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--url", action="append")
    options = parser.parse_args()
    table = RichTable(title="one ORM row with a generated key, commit included")
    for heading in ("", "plain, µs", "encrypted, µs", "ratio"):
        table.add_column(heading, justify="right")
    for url in databases(options.url, sqlite=True, mysql=True):
        name, plain, sealed = run(url, options.rows, options.rounds)
        figures = (f"{1e6 * plain:.0f}", f"{1e6 * sealed:.0f}", f"{sealed / plain:.2f}")
        table.add_row(name, *figures)
    Console().print(table)


if __name__ == "__main__":
    main()
