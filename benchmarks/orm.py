"""ORM insert and read of 10,000 rows with one encrypted column, against the same in plaintext.

    python -m benchmarks.orm [--rows 10000] [--rounds 7] [--json] [--url URL]

The two tables differ in one column's type. Each round runs every measurement once, in an order
of its own; the figure is the median over the rounds, and the ratio is of two medians. The engine
has no data key cache, so that every reading is as the first one.
"""

from __future__ import annotations

import argparse
import json
import os
import uuid
from collections.abc import Callable
from functools import partial
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable
from sqlalchemy import Engine, LargeBinary, String, create_engine, delete, event, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from benchmarks.support.databases import databases
from benchmarks.support.interleaved import Measurement, medians
from encfields import EncryptedType, SqlKeyStore, attach, keyrings


class Base(DeclarativeBase):
    """The benchmark's tables."""


class PlainUuid(Base):
    __tablename__ = "bench_plain_uuid"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    name: Mapped[str] = mapped_column(String(50))
    ssn: Mapped[str] = mapped_column(String(50))


class SealedUuid(Base):
    __tablename__ = "bench_sealed_uuid"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    name: Mapped[str] = mapped_column(String(50))
    ssn: Mapped[str] = mapped_column(EncryptedType(String(50)))


class PlainSerial(Base):
    __tablename__ = "bench_plain_serial"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50))
    ssn: Mapped[str] = mapped_column(String(50))


class SealedSerial(Base):
    __tablename__ = "bench_sealed_serial"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50))
    ssn: Mapped[str] = mapped_column(EncryptedType(String(50)))


class BytesSerial(Base):
    """What the same bytes cost without any encryption: not a rival, an explanation."""

    __tablename__ = "bench_bytes_serial"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50))
    ssn: Mapped[bytes] = mapped_column(LargeBinary)


def insert(engine: Engine, model: Any, rows: int, value: Any) -> None:
    with Session(engine) as session:
        session.add_all([model(name=f"name {i}", ssn=value(i)) for i in range(rows)])
        session.commit()


def read(engine: Engine, model: Any, rows: int) -> None:
    with Session(engine) as session:
        found = session.scalars(select(model)).all()
        if len(found) != rows:
            raise RuntimeError(f"{len(found)} rows instead of {rows}")


def empty(engine: Engine, model: Any) -> None:
    with engine.begin() as connection:
        connection.execute(delete(model))
    if engine.dialect.name == "postgresql":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql(f"VACUUM {model.__tablename__}")


def text(i: int) -> str:
    return f"{i:03d}-45-6789"


def padded(i: int) -> bytes:
    return os.urandom(325)


def measure(engine: Engine, rows: int, rounds: int) -> dict[str, float]:
    """Median seconds of each measurement."""
    models: list[tuple[Any, Callable[[int], Any]]] = [
        (model, text) for model in (PlainUuid, SealedUuid, PlainSerial, SealedSerial)
    ]
    models.append((BytesSerial, padded))
    work = []
    for model, value in models:
        name = model.__tablename__
        write = partial(insert, engine, model, rows, value)
        work.append(Measurement(f"insert {name}", write, partial(empty, engine, model)))
        work.append(Measurement(f"read {name}", partial(read, engine, model, rows)))
        write()
    return medians(work, rounds)


def ratios(seconds: dict[str, float]) -> dict[str, float]:
    """Encrypted against plaintext."""

    def of(kind: str, table: str) -> float:
        sealed = seconds[f"{kind} bench_sealed_{table}"]
        return sealed / seconds[f"{kind} bench_plain_{table}"]

    return {
        "read, UUID key": of("read", "uuid"),
        "read, integer key": of("read", "serial"),
        "insert, UUID key": of("insert", "uuid"),
        "insert, generated key": of("insert", "serial"),
        "insert, bytes of the same length": seconds["insert bench_bytes_serial"]
        / seconds["insert bench_plain_serial"],
        "read, bytes of the same length": seconds["read bench_bytes_serial"]
        / seconds["read bench_plain_serial"],
    }


def run(url: str, rows: int, rounds: int) -> dict[str, Any]:
    engine = create_engine(url)
    Base.metadata.drop_all(engine)
    Base.metadata.create_all(engine)
    store = SqlKeyStore(keyrings.local(os.urandom(32)), table_name="bench_keys")
    encryption = attach(engine, store, create=True, data_key_cache=False)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", lambda c, r: c.execute("PRAGMA synchronous=OFF"))
    try:
        seconds = measure(engine, rows, rounds)
    finally:
        Base.metadata.drop_all(engine)
        store.table.drop(engine)
        encryption.detach()
        engine.dispose()
    return {
        "database": engine.dialect.name,
        "microseconds per row": {k: 1e6 * v / rows for k, v in seconds.items()},
        "ratios": ratios(seconds),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--url", action="append")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results = [
        run(url, options.rows, options.rounds) for url in databases(options.url, sqlite=True)
    ]
    if options.json:
        print(json.dumps(results, indent=2))
        return
    table = RichTable(title=f"{options.rows} ORM rows, encrypted against plaintext (ratio)")
    table.add_column("")
    for result in results:
        table.add_column(result["database"], justify="right")
    for name in results[0]["ratios"]:
        table.add_row(name, *(f"{result['ratios'][name]:.2f}" for result in results))
    for name in results[0]["microseconds per row"]:
        table.add_row(
            f"µs per row: {name}",
            *(f"{result['microseconds per row'][name]:.1f}" for result in results),
            style="dim",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
