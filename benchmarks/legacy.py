"""Reading a column's values that were encrypted by hand, against reading our own.

    python -m benchmarks.legacy [--rows 100] [--rounds 30] [--json]

One column in SQLite, read through SQLAlchemy, holds in turn values of ours and messages that the
stock client wrote. Each round reads every kind once, in an order of its own; the figure is the
median over the rounds, per value. KMS is moto's server on this machine: what counts there is the
number of calls, one for each value, which at AWS take a few milliseconds and cost money each.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
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
    select,
)
from sqlalchemy.pool import StaticPool

from encfields import EncryptedType, Encryption, LegacyReader, SqlKeyStore, attach, keyrings
from encfields.keys.aws.kms_calls import kms_attempts
from tests.legacy.by_hand import COMMITTED, SIGNED, VERSION_1, encrypt, kms_keyring
from tests.message import stock
from tests.servers.moto import ENVIRONMENT, Kms, MotoServer

OURS, OURS_WITH_READER = "encfields", "encfields, with legacy="
VALUE = b"123-45-6789"


@dataclass
class Contestant:
    """One table of values, the calls of one read, and µs per value in each round."""

    name: str
    read: Callable[[], int]
    loops: int = 1
    kms_calls: int = 0
    us: list[float] = field(default_factory=list)


def table() -> Table:
    return Table(
        "patient",
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("ssn", EncryptedType(String(50))),
    )


def engine_with(reader: LegacyReader | None) -> tuple[Engine, Encryption]:
    engine = create_engine("sqlite://", poolclass=StaticPool)
    legacy = {"patient.ssn": reader} if reader else None
    store = SqlKeyStore(keyrings.local(bytes(32)))
    return engine, attach(engine, store, create=True, legacy=legacy)


def ours(name: str, rows: int, reader: LegacyReader | None) -> Contestant:
    engine, _ = engine_with(reader)
    patients = table()
    patients.create(engine)
    with engine.begin() as connection:
        values = [{"id": n, "ssn": VALUE.decode()} for n in range(rows)]
        connection.execute(insert(patients), values)
    return Contestant(name, lambda: read_all(engine, patients, rows), loops=20)


def by_hand(
    name: str, rows: int, make_keyring: Callable[[], Any], suite: Any, reader_keyring: Any = None
) -> Contestant:
    """A table that the stock client filled; each message names its row in its context."""
    reader = LegacyReader(
        reader_keyring or make_keyring,
        context=lambda row: {"patient": row["id"]},
        allow_uncommitted=suite is VERSION_1,
    )
    engine, _ = engine_with(reader)
    patients = table()
    patients.create(engine)
    writer = make_keyring()
    raw = "INSERT INTO patient (id, ssn) VALUES (?, ?)"
    with engine.begin() as connection:
        for number in range(rows):
            message = encrypt(VALUE, writer, {"patient": str(number)}, suite)
            connection.exec_driver_sql(raw, (number, message))
    return Contestant(name, lambda: read_all(engine, patients, rows))


def read_all(engine: Engine, patients: Table, rows: int) -> int:
    with engine.connect() as connection:
        found = connection.execute(select(patients.c.ssn)).scalars().all()
    assert found == [VALUE.decode()] * rows
    return len(found)


def contestants(rows: int, kms: Kms) -> list[Contestant]:
    key = os.urandom(32)
    arn = kms.create_key()

    def raw() -> Any:
        return stock.raw_aes_keyring(key)

    def by_kms() -> Any:
        return kms_keyring(kms.url, arn)

    unused = LegacyReader(raw, context={})
    return [
        ours(OURS, rows, None),
        ours(OURS_WITH_READER, rows, unused),
        by_hand("by hand, raw AES, committed", rows, raw, COMMITTED),
        by_hand("by hand, raw AES, signed", rows, raw, SIGNED),
        by_hand("by hand, raw AES, format version 1", rows, raw, VERSION_1),
        by_hand("by hand, KMS keyring, signed", rows, by_kms, SIGNED, keyrings.aws_kms(arn)),
    ]


def measure(field_: list[Contestant], rounds: int) -> None:
    for one in field_:
        one.read()  # warm: caches and lazy imports
        before = kms_attempts()
        one.read()
        one.kms_calls = kms_attempts() - before
    for _ in range(rounds):
        for one in random.sample(field_, len(field_)):
            started = time.perf_counter_ns()
            count = sum(one.read() for _ in range(one.loops))
            one.us.append((time.perf_counter_ns() - started) / count / 1000)


def figures(field_: list[Contestant]) -> list[dict[str, Any]]:
    base = statistics.median(field_[0].us)
    return [
        {
            "name": one.name,
            "read_us": round(statistics.median(one.us), 1),
            "of_ours": round(statistics.median(one.us) / base, 2),
            "kms_calls": one.kms_calls,
        }
        for one in field_
    ]


def show(rows: list[dict[str, Any]], count: int) -> None:
    shown = RichTable(title=f"reading {count} values: median µs per value")
    for heading in ("", "read µs", "x ours", "KMS calls per read"):
        shown.add_column(heading, justify="right" if heading else "left")
    for row in rows:
        shown.add_row(
            row["name"], f"{row['read_us']:,}", f"{row['of_ours']:,}", f"{row['kms_calls']:,}"
        )
    Console().print(shown)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    os.environ.update(ENVIRONMENT)
    server = MotoServer()
    try:
        os.environ["AWS_ENDPOINT_URL"] = server.url
        field_ = contestants(options.rows, Kms(server.url))
        measure(field_, options.rounds)
    finally:
        server.stop()
    rows = figures(field_)
    if options.json:
        print(
            json.dumps({"rows": options.rows, "rounds": options.rounds, "results": rows}, indent=1)
        )
    else:
        show(rows, options.rows)


if __name__ == "__main__":
    main()
