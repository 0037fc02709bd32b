"""Blind indexes: finding one row among a million, and what writing them costs.

    python -m benchmarks.index [--rows 1000000] [--written 20000] [--rounds 7] [--json] [--url URL]

Look-up: the same row by an encrypted column with a blind index, decrypted, and by a plaintext
column with an ordinary index. Both tables are filled by the server in bulk but for the rows that
are looked up, which the application writes; an index entry of a row that is never looked up is a
random hash, and its ciphertext random bytes of a message's length.

Writing: Core and ORM inserts of rows with one encrypted column that has none, one and three
blind indexes, against the same column without encryption, with as many ordinary indexes.

Each round runs every measurement once, in an order of its own. Figures are medians over the
rounds, ratios are of two medians. The engine has no data key cache, so that every reading is as the
first one.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import uuid
from functools import partial
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable
from sqlalchemy import Engine, Index, String, create_engine, delete, event, insert, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from benchmarks.support.databases import databases
from benchmarks.support.interleaved import Measurement, medians
from encfields import BlindIndex, EncryptedType, SqlKeyStore, attach, keyrings
from encfields.index.transforms import digits, first, last

LOOKED_UP = 500
"""Rows that are really encrypted and looked up, spread over the table."""

MESSAGE_BYTES = 306
"""Stored length of an 11-byte value."""


class Base(DeclarativeBase):
    """The benchmark's tables."""


class PlainPatient(Base):
    __tablename__ = "bench_index_plain"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50))
    ssn: Mapped[str] = mapped_column(String(50), index=True)


class SealedPatient(Base):
    __tablename__ = "bench_index_sealed"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50))
    ssn: Mapped[str] = mapped_column(EncryptedType(String(50), index=BlindIndex()))


def written(name: str, type_: Any, plain_indexes: int = 0) -> type[Any]:
    """A table whose rows the application writes."""
    columns: dict[str, Any] = {
        "__tablename__": f"bench_written_{name}",
        "id": mapped_column(primary_key=True, default=uuid.uuid4),
        "ssn": mapped_column(type_),
        "__annotations__": {"id": Mapped[uuid.UUID], "ssn": Mapped[str]},
    }
    for i in range(1, plain_indexes):
        columns[f"part{i}"] = mapped_column(String(50))
        columns["__annotations__"][f"part{i}"] = Mapped[str]
    model: type[Any] = type(f"Written{name}", (Base,), columns)
    if plain_indexes:
        Index(f"ix_bench_{name}_ssn", model.ssn)
    for i in range(1, plain_indexes):
        Index(f"ix_bench_{name}_{i}", getattr(model, f"part{i}"))
    return model


THREE = [BlindIndex(), BlindIndex(digits.then(last(4)), bits=16), BlindIndex(first(3), bits=8)]
WRITTEN = {
    "plain, no index": written("plain0", String(50)),
    "plain, one index": written("plain1", String(50), 1),
    "plain, three indexes": written("plain3", String(50), 3),
    "encrypted, no index": written("sealed0", EncryptedType(String(50))),
    "encrypted, one blind index": written("sealed1", EncryptedType(String(50), index=BlindIndex())),
    "encrypted, three blind indexes": written("sealed3", EncryptedType(String(50), index=THREE)),
}


def ssn(i: int) -> str:
    return f"{i:08d}-{i % 97:02d}"


def row(model: Any, i: int) -> dict[str, Any]:
    values = {"ssn": ssn(i)}
    parts = (name for name in ("part1", "part2") if hasattr(model, name))
    return values | {name: ssn(i)[: 4 - n] for n, name in enumerate(parts)}


# -- looking up --------------------------------------------------------------------------------


def fill(engine: Engine, rows: int) -> list[int]:
    """Both tables with `rows` rows each; returns the numbers of those to look up."""
    chosen = sorted(random.sample(range(1, rows + 1), min(LOOKED_UP, rows)))
    with engine.begin() as connection:
        for statement in _fill_statements(engine.dialect.name, rows):
            connection.execute(text(statement))
    with Session(engine) as session:
        for i in chosen:
            session.execute(delete(SealedPatient).where(SealedPatient.id == i))
        session.execute(
            insert(SealedPatient), [{"id": i, "name": f"name {i}", "ssn": ssn(i)} for i in chosen]
        )
        session.commit()
    analyze = {"postgresql": "VACUUM ANALYZE {}", "sqlite": "ANALYZE {}"}
    command = analyze.get(engine.dialect.name, "ANALYZE TABLE {}")
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for model in (PlainPatient, SealedPatient):
            connection.exec_driver_sql(command.format(model.__tablename__)).close()
    return chosen


def _fill_statements(dialect: str, rows: int) -> list[str]:
    if dialect == "postgresql":
        numbers = f"generate_series(1, {rows}) AS i"
        number, two = "lpad(i::text, 8, '0')", "lpad((i % 97)::text, 2, '0')"
        hashed = "decode(md5(i::text), 'hex')"
        noise = f"convert_to(rpad(md5(i::text), {MESSAGE_BYTES}, md5((-i)::text)), 'UTF8')"
        ssn_, name = f"{number} || '-' || {two}", "'name ' || i"
    elif dialect == "sqlite":
        numbers = (
            f"(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) "
            "SELECT i FROM n)"
        )
        hashed, noise = "randomblob(16)", f"randomblob({MESSAGE_BYTES})"
        ssn_, name = "printf('%08d-%02d', i, i % 97)", "'name ' || i"
    else:
        numbers = f"(SELECT seq AS i FROM seq_1_to_{rows}) AS n"
        hashed = "UNHEX(MD5(i))"
        noise = f"RPAD(MD5(i), {MESSAGE_BYTES}, MD5(-i))"
        ssn_ = "CONCAT(LPAD(i, 8, '0'), '-', LPAD(i % 97, 2, '0'))"
        name = "CONCAT('name ', i)"
    return [
        f"INSERT INTO bench_index_plain (id, name, ssn) SELECT i, {name}, {ssn_} FROM {numbers}",
        "INSERT INTO bench_index_sealed (id, name, ssn, ssn_bidx) "
        f"SELECT i, {name}, {noise}, {hashed} FROM {numbers}",
    ]


def look_up_core(engine: Engine, model: Any, numbers: list[int]) -> None:
    statement = select(model.id, model.name, model.ssn)
    with engine.connect() as connection:
        for i in numbers:
            wanted = ssn(i)
            found = connection.execute(statement.where(model.ssn == wanted)).one()
            if found.ssn != wanted or found.id != i:
                raise RuntimeError("the wrong row")


def look_up_orm(engine: Engine, model: Any, numbers: list[int]) -> None:
    with Session(engine) as session:
        for i in numbers:
            found = session.scalars(select(model).where(model.ssn == ssn(i))).one()
            if found.id != i:
                raise RuntimeError("the wrong row")


# -- writing -----------------------------------------------------------------------------------


def write_core(engine: Engine, model: Any, rows: int) -> None:
    with engine.begin() as connection:
        connection.execute(insert(model.__table__), [row(model, i) for i in range(rows)])


def write_orm(engine: Engine, model: Any, rows: int) -> None:
    with Session(engine) as session:
        session.add_all([model(**row(model, i)) for i in range(rows)])
        session.commit()


def empty(engine: Engine, model: Any) -> None:
    with engine.begin() as connection:
        connection.execute(delete(model.__table__))
    if engine.dialect.name == "postgresql":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql(f"VACUUM {model.__tablename__}")


# -- measuring ---------------------------------------------------------------------------------


def lookups(engine: Engine, rows: int, rounds: int) -> dict[str, float]:
    """Microseconds of one look-up."""
    numbers = fill(engine, rows)
    random.shuffle(numbers)
    work = [
        Measurement(f"{how}, {kind}", partial(run, engine, model, numbers))
        for how, run in (("Core", look_up_core), ("ORM", look_up_orm))
        for kind, model in (("plain", PlainPatient), ("encrypted", SealedPatient))
    ]
    medians(work, 1)  # the first round fills the databases' caches
    figures = medians(work, rounds)
    return {name: 1e6 * figures[name] / len(numbers) for name in sorted(figures)}


def writes(engine: Engine, rows: int, rounds: int) -> dict[str, float]:
    """Microseconds of one row."""
    work = [
        Measurement(
            f"{how}, {name}", partial(run, engine, model, rows), partial(empty, engine, model)
        )
        for how, run in (("Core", write_core), ("ORM", write_orm))
        for name, model in WRITTEN.items()
    ]
    figures = medians(work, rounds)
    return {
        f"{how}, {name}": 1e6 * figures[f"{how}, {name}"] / rows
        for how in ("Core", "ORM")
        for name in WRITTEN
    }


def run(url: str, rows: int, written_rows: int, rounds: int) -> dict[str, Any]:
    engine = create_engine(url)
    Base.metadata.drop_all(engine)
    Base.metadata.create_all(engine)
    store = SqlKeyStore(keyrings.local(os.urandom(32)), table_name="bench_index_keys")
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", lambda c, r: c.execute("PRAGMA synchronous=OFF"))
    encryption = attach(engine, store, create=True, data_key_cache=False)
    try:
        return {
            "database": engine.dialect.name,
            "microseconds per look-up": lookups(engine, rows, rounds),
            "microseconds per row written": writes(engine, written_rows, rounds),
        }
    finally:
        Base.metadata.drop_all(engine)
        store.table.drop(engine)
        encryption.detach()
        engine.dispose()


def show(results: list[dict[str, Any]], rows: int, written_rows: int) -> None:
    titles = {
        "microseconds per look-up": f"one row among {rows:,}, by an index: µs, and against plain",
        "microseconds per row written": f"{written_rows:,} rows written: µs a row, and against "
        "plain with as many indexes",
    }
    for kind, title in titles.items():
        table = RichTable(title=title)
        table.add_column("")
        for result in results:
            table.add_column(result["database"], justify="right")
        for name in results[0][kind]:
            table.add_row(name, *(_cell(result[kind], name) for result in results))
        Console().print(table)


def _cell(figures: dict[str, float], name: str) -> str:
    rival = name.replace("encrypted", "plain").replace("blind ", "")
    ratio = figures[name] / figures[rival]
    return f"{figures[name]:.1f}" + ("" if rival == name else f"  {ratio:.2f}x")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--written", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--url", action="append")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results = [
        run(url, options.rows, options.written, options.rounds)
        for url in databases(options.url, sqlite=True)
    ]
    if options.json:
        print(json.dumps(results, indent=2))
    else:
        show(results, options.rows, options.written)


if __name__ == "__main__":
    main()
