"""Bulk re-encryption of a live table, against what the database and the cipher take by themselves.

    python -m benchmarks.reencrypt [--rows 1000000] [--rounds 3] [--url URL] [--json]

Rows of one 250-byte value are generated on the spot. In each round, in turn: the floor (one SQL
statement that rewrites every value), bare open-and-seal of as many values, the run's own statements
by themselves, a run with one worker, a run with two worker processes. Each run is preceded by a
rotation, so that it rewrites every value, and includes its final sweep. Figures are medians over
the rounds; ratios are the safer ones.

The one statement is what nothing can be faster than; but it locks every row until it ends, and
begins anew when it fails. A run reads batches, and compares and swaps each in a transaction of its
own. What these statements take, when the driver executes them and the values are there, is no
merit or fault of the Python around them: the ratio to them and the cipher (c) tells what that adds.
It may be less than 1, since a run reads and encrypts a batch while the one before is written.

Workers and database share this machine's processors. So how busy they are is told as well (on
Linux), and by how much two workers could be faster than one at most, if they were never idle: the
time of one, by the processors, over the processor time of two. The two are also compared at the
default throttle, which leaves some of the processors' time to others.

``benchmarks.reencrypt_application`` measures what a run takes from an application, and
``benchmarks.reencrypt_growth`` whether its pace depends on the table's size.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import time
import uuid
from dataclasses import asdict, dataclass, fields
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable
from sqlalchemy import Connection, Engine, LargeBinary, create_engine, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from benchmarks.support.databases import databases
from benchmarks.support.own_statements import seconds_of_statements
from encfields import EncryptedType, Encryption, SqlKeyStore, attach, keyrings
from encfields.branch_key import BranchKey
from encfields.bulk.reencryption import Options, Reencryption
from encfields.bulk.rows.spec import TableSpec
from encfields.bulk.runs.tables import metadata as run_tables
from encfields.context import RowContext
from encfields.engine import engine_encryption
from encfields.message import open_, seal
from encfields.message.core import reseal_many

WRAPPING_KEY = bytes(range(32))
VALUE_BYTES = 250
LOAD_ROWS = 1000
PROCESSOR_TIMES = Path("/proc/stat")


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
        engine_encryption(self.encryption).active_key("default")
        self.load()

    def load(self) -> None:
        """Fill the table with sealed values, past SQLAlchemy, which would take most of the time."""
        context = RowContext("bench_document.body", ["id"])
        key = engine_encryption(self.encryption).active_key("default")
        rows = (
            (i, seal(os.urandom(VALUE_BYTES), context.serialize([str(i)]), key))
            for i in range(self.rows)
        )
        while chunk := list(islice(rows, LOAD_ROWS * 50)):
            with self.engine.begin() as connection:
                self._store(connection, chunk)

    def _store(self, connection: Connection, rows: list[tuple[int, bytes]]) -> None:
        if self.name == "postgresql":
            driver: Any = connection.connection.dbapi_connection
            with (
                driver.cursor() as cursor,
                cursor.copy("COPY bench_document (id, body) FROM STDIN (FORMAT BINARY)") as copy,
            ):
                copy.set_types(["int4", "bytea"])
                for row in rows:
                    copy.write_row(row)
            return
        for first in range(0, len(rows), LOAD_ROWS):
            values = ",".join(f"({i},x'{v.hex()}')" for i, v in rows[first : first + LOAD_ROWS])
            connection.exec_driver_sql(f"INSERT INTO bench_document (id, body) VALUES {values}")

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
        """Seconds of opening and sealing as many values, in one process: at once where the
        compiled core does so, as a run does."""
        count = min(self.rows, 50_000)
        row = RowContext("bench_document.body", ["id"])
        old, new = (BranchKey("default", str(uuid.UUID(int=i)), os.urandom(32)) for i in (1, 2))
        value = os.urandom(VALUE_BYTES)
        stored = [seal(value, row.serialize([str(i)]), old) for i in range(count)]
        began = time.perf_counter()
        contexts = [row.serialize([str(i)]) for i in range(count)]
        for first in range(0, count, LOAD_ROWS):
            batch = slice(first, first + LOAD_ROWS)
            resealed(stored[batch], contexts[batch], old, new)
        return (time.perf_counter() - began) * self.rows / count

    def prepare_run(self) -> None:
        """A new key version, so that the next run rewrites every row."""
        self.tidy()
        self.encryption.keys.rotate("default")

    def statements(self) -> float:
        """Seconds of the statements of a run with one worker, by themselves."""
        self.prepare_run()
        return seconds_of_statements(self.engine, self.encryption, SPEC)

    def run(self, workers: int, **options: Any) -> float:
        """Seconds of a run that rewrites every row, its final sweep included.

        :param options: at full speed unless they say otherwise.
        """
        setup = partial(attached, self.url)
        chosen = Options(workers=workers, setup=setup, **{"duty_cycle": 1.0, **options})
        report = Reencryption(self.engine, self.encryption, SPEC, options=chosen).run()
        if not report.finished or report.rows_written < self.rows:
            raise RuntimeError(f"not every row was rewritten: {report}")
        return report.seconds

    def close(self) -> None:
        self.drop()
        self.engine.dispose()


def resealed(
    messages: list[bytes], contexts: list[bytes], old: BranchKey, new: BranchKey
) -> list[bytes]:
    """The messages under `new`, each opened and sealed for its context."""

    def find_key(key_id: str, version: str) -> BranchKey:
        return old

    at_once = reseal_many(messages, contexts, contexts, new, find_key)
    return [
        done or seal(open_(message, context, find_key, (old.id,)), context, new)
        for done, message, context in zip(at_once, messages, contexts, strict=True)
    ]


def busy_seconds() -> float:
    """Processor seconds that this machine has spent on anything so far; 0 where it is unknown."""
    if not PROCESSOR_TIMES.exists():
        return 0.0
    user, nice, system, _, _, irq, softirq, steal = map(
        int, PROCESSOR_TIMES.read_text().split()[1:9]
    )
    ticks = user + nice + system + irq + softirq + steal
    return ticks / os.sysconf("SC_CLK_TCK")


@dataclass
class Round:
    """Seconds of one round's measurements, and processor seconds of the two runs at full speed."""

    floor: float
    cipher: float
    statements: float
    one: float
    two: float
    one_throttled: float
    two_throttled: float
    busy_one: float
    busy_two: float

    @classmethod
    def of(cls, bench: Bench) -> Round:
        def run(workers: int, **options: Any) -> tuple[float, float]:
            bench.prepare_run()
            before = busy_seconds()
            seconds = bench.run(workers, **options)
            return seconds, busy_seconds() - before

        floor, cipher, statements = bench.floor(), bench.cipher(), bench.statements()
        one, busy_one = run(1)
        two, busy_two = run(2)
        default = Options().duty_cycle
        slow = [run(workers, duty_cycle=default)[0] for workers in (1, 2)]
        return cls(floor, cipher, statements, one, two, *slow, busy_one, busy_two)

    def ratios(self) -> dict[str, float]:
        processors = os.cpu_count() or 1
        return {
            "one worker to the one statement (a)": self.one / self.floor,
            "one worker to one statement + cipher (b)": self.one / (self.floor + self.cipher),
            "one worker to its own statements + cipher (c)": self.one
            / (self.statements + self.cipher),
            "two workers as fast as one, times": self.one / self.two,
            "at most, by this machine's processors": processors * self.one / self.busy_two
            if self.busy_two
            else math.nan,
            "two as fast as one at the default throttle": self.one_throttled / self.two_throttled,
            "processors busy, one worker": self.busy_one / self.one,
            "processors busy, two workers": self.busy_two / self.two,
        }


def measure(url: str, rows: int, rounds: int) -> dict[str, Any]:
    """All figures of one database."""
    bench = Bench(url, rows)
    try:
        bench.floor()  # the first statement after loading also writes hint bits
        found = [Round.of(bench) for _ in range(rounds)]
    finally:
        bench.close()
    median = {
        field.name: statistics.median(getattr(one, field.name) for one in found)
        for field in fields(Round)
    }
    return {
        "database": bench.name,
        "rows": rows,
        "rounds": [asdict(one) for one in found],
        "seconds": median,
        "rows per second, one worker": rows / median["one"],
        "rows per second, two workers": rows / median["two"],
        # Each round's own: what disturbs the machine for a while disturbs both sides.
        "ratios": {
            name: statistics.median(one.ratios()[name] for one in found)
            for name in found[0].ratios()
        },
    }


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
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--url", action="append")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results = [measure(url, options.rows, options.rounds) for url in databases(options.url)]
    if options.json:
        print(json.dumps(results, indent=2))
    else:
        show(results)


if __name__ == "__main__":
    main()
