"""The compiled core against the Python path: one value, and ORM rows in SQLite.

    python -m benchmarks.native [--rows 5000] [--rounds 9] [--json]

Both run in one process and take turns. What is measured is the time that this thread computes, so
that other programs disturb it little, without the garbage collector; the figure is the tenth
percentile over the rounds, and the ratio is of two of them. Every reading is as the first one,
without the data key cache.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine, create_engine, event

from benchmarks.orm import (
    Base,
    PlainSerial,
    PlainUuid,
    SealedSerial,
    SealedUuid,
    empty,
    insert,
    read,
    text,
)
from benchmarks.value import SECRET, column_type
from encfields import SqlKeyStore, attach, keyrings
from encfields.branch_key import BranchKey
from encfields.context import RowContext
from encfields.message import core, one_pass, open_, seal

try:
    import encfields_native
except ModuleNotFoundError:
    print("the compiled core is not built here: make native")
    sys.exit()

CORES: dict[str, ModuleType] = {"Python": one_pass, "native": encfields_native}
TARGET_US, TARGET_RATIO = 3.5, 4
TARGETS = {"read, integer key": 2.2, "read, UUID key": 1.8, "insert, UUID key": 1.3}

Work = dict[str, tuple[Callable[[], object], int]]
"""By name: what is timed, and how many values it works on."""


@contextmanager
def using(chosen: ModuleType) -> Iterator[None]:
    """Have values sealed and opened by one core, and cells read by it that were not before."""
    names = core.__all__
    before = [getattr(core, name) for name in names]
    for name in names:
        setattr(core, name, getattr(chosen, name))
    try:
        yield
    finally:
        for name, value in zip(names, before, strict=True):
            setattr(core, name, value)


def measured(work: Work, rounds: int) -> dict[str, float]:
    """Microseconds for a value, each in turn with the others."""
    found: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(rounds):
        for name in random.sample(list(work), len(work)):
            call, values = work[name]
            gc.collect()
            gc.disable()
            try:
                began = time.thread_time_ns()
                call()
                found[name].append((time.thread_time_ns() - began) / values / 1000)
            finally:
                gc.enable()
    return {name: sorted(times)[len(times) // 10] for name, times in found.items()}


def repeated(chosen: ModuleType | None, call: Callable[[], object]) -> Callable[[], None]:
    def run() -> None:
        with using(chosen or one_pass):
            for _ in range(1000):
                call()

    return run


def of_values(rounds: int) -> dict[str, float]:
    """Sealing and opening of 11 bytes: both cores, and the column types of other libraries."""
    from advanced_alchemy.types import EncryptedString
    from sqlalchemy import String
    from sqlalchemy_utils.types.encrypted.encrypted_type import AesGcmEngine, StringEncryptedType

    key = BranchKey("default", str(uuid.uuid4()), os.urandom(32))
    context, value = RowContext("patient.ssn", ["id"]).serialize(["42"]), b"123-45-6789"
    message = seal(value, context, key)

    def find_key(key_id: str, version: str) -> BranchKey:
        return key

    work: Work = {}
    for name, chosen in CORES.items():
        work[f"seal, {name}"] = repeated(chosen, lambda: seal(value, context, key)), 1000
        opening = repeated(chosen, lambda: open_(message, context, find_key, (key.id,)))
        work[f"open, {name}"] = opening, 1000
    rivals = {
        "sqlalchemy-utils, AES-GCM": StringEncryptedType(String, SECRET, AesGcmEngine),
        "advanced-alchemy, Fernet": EncryptedString(key=SECRET),
    }
    for name, type_ in rivals.items():
        rival = column_type(name, type_, value)
        work[f"seal, {name}"] = repeated(None, rival.seal), 1000
        work[f"open, {name}"] = repeated(None, rival.open), 1000
    values = [value] * 1000
    contexts = [context] * 1000
    messages = encfields_native.seal_many(values, contexts, key)
    work["seal, native, batch"] = partial(encfields_native.seal_many, values, contexts, key), 1000
    opening = partial(encfields_native.open_many, messages, contexts, key.id, find_key)  # type: ignore[arg-type]
    work["open, native, batch"] = opening, 1000
    return measured(work, 10 * rounds)


def of_rows(rows: int, rounds: int, folder: Path) -> dict[str, float]:
    """ORM reads and inserts: plaintext, and encrypted by either core."""
    work: Work = {}
    engines: list[Engine] = []
    for name, chosen in CORES.items():
        engine = create_engine(f"sqlite:///{folder / name}.db")
        event.listen(engine, "connect", lambda c, r: c.execute("PRAGMA synchronous=OFF"))
        engines.append(engine)
        Base.metadata.create_all(engine)
        store = SqlKeyStore(keyrings.local(os.urandom(32)))
        attach(engine, store, create=True, data_key_cache=False)
        models: list[Any] = [SealedUuid, SealedSerial]
        models += [PlainUuid, PlainSerial] if name == "Python" else []
        for model in models:
            with using(chosen):  # its cells' reader is made here, and kept with the engine
                insert(engine, model, rows, text)
                read(engine, model, rows)
            sealed = model in (SealedUuid, SealedSerial)
            label = f"{model.__tablename__}, {name if sealed else 'plaintext'}"
            work[f"read {label}"] = partial(read_by, engine, model, rows, chosen), rows
            work[f"insert {label}"] = partial(inserted, engine, model, rows, chosen), rows
    try:
        return measured(work, rounds)
    finally:
        for engine in engines:
            engine.dispose()


def read_by(engine: Engine, model: Any, rows: int, chosen: ModuleType) -> None:
    with using(chosen):
        read(engine, model, rows)


def inserted(engine: Engine, model: Any, rows: int, chosen: ModuleType) -> None:
    empty(engine, model)
    with using(chosen):
        insert(engine, model, rows, text)


def ratios(found: dict[str, float]) -> dict[str, float]:
    """Encrypted by the compiled core against plaintext, and Python against the compiled core."""
    told = {
        f"{verb}: Python / native": found[f"{verb}, Python"] / found[f"{verb}, native"]
        for verb in ("seal", "open")
    }
    kinds = {"integer": "serial", "UUID": "uuid"}
    for verb in ("read", "insert"):
        for kind, table in kinds.items():
            plain = found[f"{verb} bench_plain_{table}, plaintext"]
            for name in CORES:
                sealed = found[f"{verb} bench_sealed_{table}, {name}"]
                told[f"{verb}, {kind} key, {name}"] = sealed / plain
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = of_values(options.rounds)
    with tempfile.TemporaryDirectory() as folder:
        found |= of_rows(options.rows, options.rounds, Path(folder))
    told = ratios(found)
    if options.json:
        print(json.dumps({"microseconds": found, "ratios": told}, indent=2))
        return
    table = Table(title="the compiled core: µs a value or row, and ratios of the same run")
    table.add_column("")
    table.add_column("", justify="right")
    for name, number in (found | told).items():
        table.add_row(name, f"{number:.2f}")
    console = Console()
    console.print(table)
    console.print(
        f"To reach: seal and open at most {TARGET_US} µs and {TARGET_RATIO} times as fast as "
        f"Python; of plaintext at most {TARGETS}."
    )


if __name__ == "__main__":
    main()
