"""What an attached engine adds to a statement that touches no encrypted column.

    python -m benchmarks.statement [--rounds 40] [--json]

Three engines on SQLite in memory: one that was never attached, one attached, and one whose
``before_cursor_execute`` event has a listener that does nothing, which is SQLAlchemy's own
price for having any listener.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import time
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable
from sqlalchemy import (
    Column,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    event,
    insert,
    select,
)
from sqlalchemy.pool import StaticPool

from encfields import EncryptedType, SqlKeyStore, attach, keyrings

LOOPS = 2000

metadata = MetaData()
plain = Table("plain", metadata, Column("id", Integer, primary_key=True), Column("name", String))
sealed = Table(
    "sealed",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String),
    Column("ssn", EncryptedType()),
)


def engine() -> Engine:
    made = create_engine("sqlite://", poolclass=StaticPool)
    metadata.create_all(made)
    with made.begin() as connection:
        connection.execute(insert(plain), {"id": 1, "name": "a"})
    return made


def ignore(*arguments: Any) -> None:
    """A listener that does nothing."""


def engines() -> dict[str, Engine]:
    made = {name: engine() for name in ("not attached", "empty listener", "attached")}
    event.listen(made["empty listener"], "before_cursor_execute", ignore)
    attach(made["attached"], SqlKeyStore(keyrings.local(os.urandom(32))), create=True)
    return made


def statements() -> dict[str, Any]:
    return {
        "select a plain row": select(plain).where(plain.c.id == 1),
        "update a plain row": plain.update().where(plain.c.id == 1).values(name="b"),
        "select plain columns beside an encrypted one": select(sealed.c.name).where(
            sealed.c.id == 1
        ),
    }


def timed(target: Engine, statement: Any) -> float:
    """Microseconds per execution."""
    with target.begin() as connection:
        start = time.perf_counter()
        for _ in range(LOOPS):
            connection.execute(statement).close()
        return 1e6 * (time.perf_counter() - start) / LOOPS


def measure(rounds: int) -> dict[str, dict[str, float]]:
    targets = engines()
    samples: dict[str, dict[str, list[float]]] = {
        name: {target: [] for target in targets} for name in statements()
    }
    for _ in range(rounds):
        for name, statement in statements().items():
            for target in random.sample(list(targets), len(targets)):
                samples[name][target].append(timed(targets[target], statement))
    return {
        name: {target: statistics.median(values) for target, values in by_target.items()}
        for name, by_target in samples.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results = measure(options.rounds)
    if options.json:
        print(json.dumps(results, indent=2))
        return
    table = RichTable(title="µs per statement without encrypted values")
    for heading in ("", "not attached", "empty listener", "attached", "attached adds", "ratio"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, figures in results.items():
        bare, ours = figures["not attached"], figures["attached"]
        table.add_row(
            name,
            *(f"{value:.1f}" for value in figures.values()),
            f"{ours - bare:.1f}",
            f"{ours / bare:.2f}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
