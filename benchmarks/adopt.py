"""A live plaintext column adopted, against a bulk run over as many rows, and what an application
that writes the same table keeps of its throughput meanwhile.

    python -m benchmarks.adopt [--rows 1000000] [--seconds 8] [--url URL] [--json]

Rows of one 250-byte value are generated on the spot. In turn: an application of one process alone,
beside the adoption at the default throttle, and beside it at full speed; the adoption of the rest
by one worker at full speed, with its final passes; the comparison of all values; a bulk run that
re-encrypts what was adopted. Everything, the database included, shares this machine's cores.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import secrets
import threading
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
    insert,
    text,
    update,
)

from benchmarks.support.databases import databases
from encfields import EncryptedType, Encryption, Plaintext, SqlKeyStore, attach, keyrings
from encfields.adopt import Adoption, adopt, begin_adoption, compare_adopted
from encfields.bulk import Options, Reencryption, TableSpec
from encfields.engine import engine_encryption

WRAPPING_KEY = bytes(range(32))
VALUE_CHARACTERS = 250
LOAD_ROWS = 1000
NAME = "bench_adopted"
FULL_SPEED = Options(duty_cycle=1.0)


def version(phase: str | None) -> Table:
    """The table of one version of the application."""
    if phase is None:
        column: Column[Any] = Column("body", String(VALUE_CHARACTERS))
    else:
        adopts = Plaintext("body", phase=phase)  # type: ignore[arg-type]
        sealed = EncryptedType(String(VALUE_CHARACTERS), name=f"{NAME}.body", adopts=adopts)
        column = Column("body_enc", sealed, key="body")
    key: Column[Any] = Column("id", Integer, primary_key=True, autoincrement=False)
    return Table(NAME, MetaData(), key, column)


OLD, BOTH = version(None), version("write-both")


def attached(url: str) -> tuple[Engine, Encryption]:
    """An engine and its keys."""
    engine = create_engine(url)
    store = SqlKeyStore(keyrings.local(WRAPPING_KEY), table_name="bench_keys")
    encryption = attach(engine, store, create=True)
    engine_encryption(encryption).active_key("default")
    return engine, encryption


def write(url: str, rows: int, ready: Any, stop: Any, results: Any) -> None:
    """The application's process: one row a transaction, as fast as it can."""
    engine, _ = attached(url)
    chosen, statement, commits, began = random.Random(1), update(BOTH), 0, 0.0
    while not stop.is_set():
        value = secrets.token_hex(VALUE_CHARACTERS // 2)
        with engine.begin() as connection:
            row = statement.where(BOTH.c.id == chosen.randrange(rows))
            connection.execute(row.values(body=value))
        commits += 1
        if not ready.is_set() and commits >= 200:  # its keys and statements are warm
            commits, began = 0, time.perf_counter()
            ready.set()
    results.put(commits / (time.perf_counter() - began))


class Bench:
    """One database with its table."""

    def __init__(self, url: str, rows: int, seconds: float) -> None:
        self.url, self.rows, self.seconds = url, rows, seconds
        self.engine, self.encryption = attached(url)
        OLD.create(self.engine)
        with self.engine.begin() as connection:
            for first in range(0, rows, LOAD_ROWS):
                ids = range(first, min(first + LOAD_ROWS, rows))
                values = [{"id": i, "body": secrets.token_hex(VALUE_CHARACTERS // 2)} for i in ids]
                connection.execute(insert(OLD), values)
        self.adoption = Adoption.of(BOTH.c.body)
        begin_adoption(self.engine, self.adoption)

    def measure(self) -> dict[str, Any]:
        """All figures."""
        alone = self._application(None)
        beside = self._application(Options())
        at_full_speed = self._application(FULL_SPEED)
        adopted = self._rate(self._adopt, self._pending())
        compared = self._rate(lambda: compare_adopted(self.engine, self.encryption, self.adoption))
        spec = TableSpec.from_table(BOTH)
        self.encryption.keys.rotate("default")
        run = Reencryption(self.engine, self.encryption, spec, options=FULL_SPEED)
        reencrypted = self._rate(run.run)
        return {
            "database": self.engine.dialect.name,
            "rows": self.rows,
            "adopted, rows per second": adopted,
            "compared, rows per second": compared,
            "re-encrypted by a bulk run, rows per second": reencrypted,
            "adoption against the bulk run": adopted / reencrypted,
            "application alone, commits per second": alone,
            "kept beside the adoption": beside / alone,
            "kept beside it at full speed": at_full_speed / alone,
        }

    def _adopt(self) -> None:
        adopt(self.engine, self.encryption, self.adoption, options=FULL_SPEED)
        assert not self._pending()

    def _pending(self) -> int:
        with self.engine.connect() as connection:
            pending = f"SELECT COUNT(*) FROM {NAME} WHERE body_enc IS NULL"
            return int(connection.execute(text(pending)).scalar_one())

    def _rate(self, work: Any, rows: int | None = None) -> float:
        began = time.perf_counter()
        work()
        return (self.rows if rows is None else rows) / (time.perf_counter() - began)

    def _application(self, options: Options | None) -> float:
        """Commits per second of the application, alone (``None``) or beside the adoption."""
        context = multiprocessing.get_context("spawn")
        ready, stop, results = context.Event(), context.Event(), context.SimpleQueue()
        process = context.Process(target=write, args=(self.url, self.rows, ready, stop, results))
        process.start()
        ready.wait()
        if options is None:
            time.sleep(self.seconds)
        else:
            self._adopt_for(options)
        stop.set()
        rate: float = results.get()
        process.join()
        return rate

    def _adopt_for(self, options: Options) -> None:
        """Adopt for so long, or for as long as there is something."""
        stop = threading.Event()
        timer = threading.Timer(self.seconds, stop.set)
        timer.start()
        adopt(self.engine, self.encryption, self.adoption, options=options, stop=stop)
        timer.cancel()

    def close(self) -> None:
        """Leave nothing."""
        with self.engine.begin() as connection:
            connection.execute(text(f"DROP TABLE {NAME}"))
        self.engine.dispose()


def show(results: list[dict[str, Any]]) -> None:
    """The figures as a table."""
    table = RichTable(title=f"{results[0]['rows']:,} rows adopted")
    table.add_column("")
    for result in results:
        table.add_column(result["database"], justify="right")
    for name, value in results[0].items():
        if isinstance(value, float):
            table.add_row(name, *(f"{result[name]:,.2f}" for result in results))
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--url", action="append")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results = []
    for url in databases(options.url, sqlite=True):
        bench = Bench(url, options.rows, options.seconds)
        try:
            results.append(bench.measure())
        finally:
            bench.close()
    if options.json:
        print(json.dumps(results, indent=2))
    else:
        show(results)


if __name__ == "__main__":
    main()
