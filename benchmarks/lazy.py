"""Reading rows whose values stay closed: a lazy column against plaintext and an encrypted one.

    python -m benchmarks.lazy [--rows 5000] [--rounds 9] [--url URL] [--json]

Rows with one such column are read through the ORM: the values left closed, all of them revealed,
opened as the row is loaded, and plaintext. Figures are medians over the rounds, in each of which
all take turns. The engine has no data key cache, so that every reading is as the first one.
"""

from __future__ import annotations

import argparse
import json
import os
from functools import partial
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable
from sqlalchemy import Engine, String, create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from benchmarks.support.databases import databases
from benchmarks.support.interleaved import Measurement, medians
from encfields import EncryptedType, Sealed, SqlKeyStore, attach, keyrings

TARGET = 1.8
PLAIN = "plaintext"


class Base(DeclarativeBase):
    pass


class PlainPatient(Base):
    __tablename__ = "bench_lazy_plain"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(String(50))
    ssn: Mapped[str] = mapped_column(String(50))


class SealedPatient(Base):
    __tablename__ = "bench_lazy_sealed"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(String(50))
    ssn: Mapped[str] = mapped_column(EncryptedType(String(50)))


class LazyPatient(Base):
    __tablename__ = "bench_lazy_lazy"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(String(50))
    ssn: Mapped[Sealed[str]] = mapped_column(EncryptedType(String(50), lazy=True))


MODELS: tuple[Any, ...] = (PlainPatient, SealedPatient, LazyPatient)


def fill(engine: Engine, rows: int) -> None:
    with Session(engine) as session:
        for model in MODELS:
            session.add_all(
                model(id=number, name=f"name {number}", ssn=f"{number:03d}-45-6789")
                for number in range(rows)
            )
        session.commit()


def read(engine: Engine, model: Any, rows: int, *, reveal: bool = False) -> None:
    with Session(engine) as session:
        found = session.scalars(select(model)).all()
        if len(found) != rows:
            raise RuntimeError(f"{len(found)} rows instead of {rows}")
        for row in found if reveal else ():
            row.ssn.reveal()


def run(url: str, rows: int, rounds: int) -> dict[str, Any]:
    """Microseconds a row by way of reading, of one database."""
    engine = create_engine(url)
    Base.metadata.create_all(engine)
    store = SqlKeyStore(keyrings.local(os.urandom(32)), table_name="bench_lazy_keys")
    attach(engine, store, create=True, data_key_cache=False)
    try:
        fill(engine, rows)
        work = [
            Measurement(PLAIN, partial(read, engine, PlainPatient, rows)),
            Measurement("lazy, left closed", partial(read, engine, LazyPatient, rows)),
            Measurement("lazy, revealed", partial(read, engine, LazyPatient, rows, reveal=True)),
            Measurement("encrypted", partial(read, engine, SealedPatient, rows)),
        ]
        medians(work, 1)
        seconds = medians(work, rounds)
    finally:
        Base.metadata.drop_all(engine)
        store.table.drop(engine)
        engine.dispose()
    return {
        "database": engine.dialect.name,
        "microseconds a row": {name: 1e6 * seconds[name] / rows for name in seconds},
        "ratios": {name: seconds[name] / seconds[PLAIN] for name in seconds if name != PLAIN},
    }


def show(results: list[dict[str, Any]], rows: int) -> None:
    table = RichTable(title=f"{rows:,} ORM rows read, one column: µs a row, and of plaintext")
    table.add_column("")
    for result in results:
        table.add_column(result["database"], justify="right")
    for name in results[0]["microseconds a row"]:
        table.add_row(name, *(_cell(result, name) for result in results))
    console = Console()
    console.print(table)
    console.print(f"To reach: rows that stay closed at most {TARGET}x of plaintext.")


def _cell(result: dict[str, Any], name: str) -> str:
    ratio = result["ratios"].get(name)
    return f"{result['microseconds a row'][name]:.1f}" + (f"  {ratio:.2f}x" if ratio else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--url", action="append")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    urls = databases(options.url, sqlite=True)
    results = [run(url, options.rows, options.rounds) for url in urls]
    if options.json:
        print(json.dumps(results, indent=2))
    else:
        show(results, options.rows)


if __name__ == "__main__":
    main()
