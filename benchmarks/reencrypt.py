"""Bulk re-encryption of a live table, against what the database and the cipher take by themselves.

    python -m benchmarks.reencrypt [--rows 1000000] [--rounds 3] [--url URL] [--json]

Rows of one 250-byte value are generated on the spot. In each round, in turn: the floor (one SQL
statement that rewrites every value), bare open-and-seal of as many values, a run with one worker,
a run with two worker processes. Then an application updates the same table as fast as it can, in
a process of its own, alone and beside one worker at full speed and at the duty cycle named. Each
run is preceded by a rotation, so that it rewrites every value. Figures are medians over the
rounds; ratios are the safer ones.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import statistics
import threading
import time
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable
from sqlalchemy import Engine, LargeBinary, create_engine, insert, text, update
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from encfields import EncryptedType, Encryption, SqlKeyStore, attach, keyrings
from encfields.context import RowContext
from encfields.keys.branch_key import BranchKey
from encfields.message import open_, seal
from encfields.reencrypt.engine import Options, Reencryption
from encfields.reencrypt.run_tables import metadata as run_tables
from encfields.reencrypt.spec import TableSpec

WRAPPING_KEY = bytes(range(32))
VALUE_BYTES = 250
LOAD_ROWS = 5000
APPLICATION_SECONDS = 8.0


class Base(DeclarativeBase):
    """The benchmark's table."""


class Document(Base):
    __tablename__ = "bench_document"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    body: Mapped[bytes] = mapped_column(EncryptedType(LargeBinary))


SPEC = TableSpec.from_table(Document.__table__)  # type: ignore[arg-type]

FLOORS = {
    # MariaDB skips rows that an UPDATE leaves alike, so there the bytes are reversed, twice.
    "postgresql": ["UPDATE bench_document SET body = body || ''"],
    "mysql": ["UPDATE bench_document SET body = REVERSE(body)"] * 2,
}


def attached(url: str) -> tuple[Engine, Encryption]:
    """The engine and keys of each worker process."""
    engine = create_engine(url)
    store = SqlKeyStore(keyrings.local(WRAPPING_KEY), table_name="bench_keys")
    return engine, attach(engine, store)


class Bench:
    """One database with its table."""

    def __init__(self, url: str, rows: int) -> None:
        self.url = url
        self.rows = rows
        self.engine = create_engine(url)
        store = SqlKeyStore(keyrings.local(WRAPPING_KEY), table_name="bench_keys")
        self.drop()
        self.encryption = attach(self.engine, store, create=True)
        Base.metadata.create_all(self.engine)
        self.name = self.engine.dialect.name
        for first in range(0, rows, LOAD_ROWS):
            values = [
                {"id": i, "body": os.urandom(VALUE_BYTES)}
                for i in range(first, min(first + LOAD_ROWS, rows))
            ]
            with self.engine.begin() as connection:
                connection.execute(insert(Document), values)

    def drop(self) -> None:
        Base.metadata.drop_all(self.engine)
        run_tables.drop_all(self.engine)
        with self.engine.begin() as connection:
            connection.execute(text("DROP TABLE IF EXISTS bench_keys"))

    def tidy(self) -> None:
        """Leave no dead rows of one measurement to the next."""
        if self.name != "postgresql":
            return
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE bench_document"))
            connection.execute(text("CHECKPOINT"))

    def floor(self) -> float:
        """Seconds of the one statement."""
        seconds = 0.0
        for statement in FLOORS[self.name]:
            self.tidy()
            began = time.perf_counter()
            with self.engine.begin() as connection:
                connection.execute(text(statement))
            seconds += time.perf_counter() - began
        return seconds / len(FLOORS[self.name])

    def cipher(self) -> float:
        """Seconds of opening and sealing as many values, in one process."""
        count = min(self.rows, 50_000)
        context = RowContext("bench_document.body", ["id"])
        old, new = (BranchKey("default", str(_uuid(i)), os.urandom(32)) for i in (1, 2))
        value = os.urandom(VALUE_BYTES)
        stored = [seal(value, context.serialize([str(i)]), old) for i in range(count)]
        began = time.perf_counter()
        for i, message in enumerate(stored):
            serialized = context.serialize([str(i)])
            seal(open_(message, serialized, lambda key_id, version: old), serialized, new)
        return (time.perf_counter() - began) * self.rows / count

    def run(self, workers: int, **options: Any) -> float:
        """Seconds of a run that rewrites every row, its final sweep included."""
        self.tidy()
        self.encryption.keys.rotate("default")
        setup = partial(attached, self.url)
        chosen = Options(workers=workers, setup=setup, duty_cycle=1.0, **options)
        report = Reencryption(self.engine, self.encryption, SPEC, options=chosen).run()
        if not report.finished or report.rows_written < self.rows:
            raise RuntimeError(f"not every row was rewritten: {report}")
        return report.seconds

    def application(self, duty: float | None) -> ApplicationResult:
        """What an application gets done for some seconds, alone or beside one worker.

        :param duty: the run's duty cycle; ``None`` for no run.
        """
        self.tidy()
        context = multiprocessing.get_context("spawn")
        ready, stop, results = context.Event(), context.Event(), context.SimpleQueue()
        arguments = (self.url, self.rows, ready, stop, results)
        process = context.Process(target=write_as_an_application, args=arguments)
        process.start()
        ready.wait()
        if duty is None:
            time.sleep(APPLICATION_SECONDS)
        else:
            self._run_for(APPLICATION_SECONDS, duty)
        stop.set()
        result: ApplicationResult = results.get()
        process.join()
        return result

    def _run_for(self, seconds: float, duty: float) -> None:
        stop = threading.Event()
        timer = threading.Timer(seconds, stop.set)
        timer.start()
        chosen = Options(duty_cycle=duty)
        run = Reencryption(self.engine, self.encryption, SPEC, options=chosen)
        while not stop.is_set():
            self.encryption.keys.rotate("default")
            run.run(stop=stop)
        timer.join()


@dataclass
class ApplicationResult:
    """What an application got done."""

    commits: int = 0
    seconds: float = 0.0
    errors: list[str] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return self.commits / self.seconds


def write_as_an_application(url: str, rows: int, ready: Any, stop: Any, results: Any) -> None:
    """Update four random rows a transaction, in descending order, as fast as it goes."""
    engine, _ = attached(url)
    chosen, result, statement = random.Random(1), ApplicationResult(), update(Document)
    began = 0.0
    while not stop.is_set():
        ids = sorted(chosen.sample(range(rows), 4), reverse=True)
        try:
            with engine.begin() as connection:
                for i in ids:
                    value = {"body": os.urandom(VALUE_BYTES)}
                    connection.execute(statement.where(Document.id == i).values(value))
            result.commits += 1
        except Exception as error:  # counted, not explained
            result.errors.append(f"{type(error).__name__}: {getattr(error, 'orig', '')}")
        if not ready.is_set() and result.commits >= 50:  # its keys and statements are warm
            result.commits, began = 0, time.perf_counter()
            ready.set()
    result.seconds = time.perf_counter() - began
    engine.dispose()
    results.put(result)


def _uuid(number: int) -> Any:
    import uuid

    return uuid.UUID(int=number)


def measure(url: str, rows: int, rounds: int, duty: float) -> dict[str, Any]:
    """All figures of one database."""
    bench = Bench(url, rows)
    seconds: dict[str, list[float]] = {"floor": [], "cipher": [], "one": [], "two": []}
    try:
        bench.floor()  # the first statement after loading also writes hint bits
        for _ in range(rounds):
            seconds["floor"].append(bench.floor())
            seconds["cipher"].append(bench.cipher())
            seconds["one"].append(bench.run(1))
            seconds["two"].append(bench.run(2))
        alone = bench.application(None)
        beside = bench.application(1.0)
        paced = bench.application(duty)
    finally:
        bench.drop()
        bench.engine.dispose()
    median = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        "database": bench.name,
        "rows": rows,
        "seconds": median,
        "rows per second, one worker": rows / median["one"],
        "rows per second, two workers": rows / median["two"],
        "ratios": {
            "one worker to the one statement (a)": median["one"] / median["floor"],
            "one worker to statement + cipher (b)": median["one"]
            / (median["floor"] + median["cipher"]),
            "two workers as fast as one, times": median["one"] / median["two"],
            "application's throughput beside a run": beside.rate / alone.rate,
            f"the same at duty_cycle={duty:g}": paced.rate / alone.rate,
        },
        "application": {
            "commits per second alone": alone.rate,
            "errors (deadlocks) beside runs": len(beside.errors) + len(paced.errors),
            "what": sorted({*alone.errors, *beside.errors, *paced.errors}),
        },
    }


def default_urls() -> list[str]:
    """The tests' servers, with the drivers that are measured."""
    urls = []
    for name, driver in (("POSTGRESQL", "postgresql+psycopg"), ("MARIADB", "mysql+pymysql")):
        url = os.environ.get(f"ENCFIELDS_TEST_{name}_URL")
        if url:
            urls.append(driver + "://" + url.partition("://")[2])
    return urls


def show(results: list[dict[str, Any]]) -> None:
    table = RichTable(title=f"Re-encryption of {results[0]['rows']:,} rows of 250 bytes")
    table.add_column("")
    for result in results:
        table.add_column(result["database"], justify="right")
    for name in results[0]["ratios"]:
        table.add_row(name, *(f"{result['ratios'][name]:.2f}" for result in results))
    for name in ("rows per second, one worker", "rows per second, two workers"):
        table.add_row(name, *(f"{result[name]:,.0f}" for result in results))
    for name in results[0]["seconds"]:
        row = (f"{result['seconds'][name]:.2f}" for result in results)
        table.add_row(f"seconds: {name}", *row, style="dim")
    for name in ("commits per second alone", "errors (deadlocks) beside runs"):
        row = (f"{result['application'][name]:,.0f}" for result in results)
        table.add_row(f"application: {name}", *row, style="dim")
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--duty-cycle", type=float, default=Options().duty_cycle)
    parser.add_argument("--url", action="append")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    urls = options.url or default_urls()
    if not urls:
        parser.error("name a database with --url")
    results = [measure(url, options.rows, options.rounds, options.duty_cycle) for url in urls]
    if options.json:
        print(json.dumps(results, indent=2))
    else:
        show(results)


if __name__ == "__main__":
    main()
