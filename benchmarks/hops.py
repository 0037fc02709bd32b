"""How many calls of this library, and across how many of its files, one statement takes.

    python -m benchmarks.hops [--list select|insert|look-up] [--json]

Each statement is executed three times through Core on SQLite in memory, and the third is traced:
what is done once for a compiled statement is done by then. A call is one of a function of this
package; a hop is a call into another file than the one before it. With ``--list`` every call is
shown in turn.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import uuid
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable
from sqlalchemy import Column, Engine, Integer, MetaData, Table, Uuid, create_engine, insert, select
from sqlalchemy.pool import StaticPool

import encfields
from encfields import BlindIndex, EncryptedType, SqlKeyStore, attach, keyrings

PACKAGE = str(Path(encfields.__file__).parent)

Call = tuple[str, str]
"""A file of the package and the function of it that is called."""

metadata = MetaData()
people = Table(
    "people", metadata, Column("id", Integer, primary_key=True), Column("ssn", EncryptedType())
)
patients = Table(
    "patients",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("ssn", EncryptedType(index=BlindIndex())),
)


def traced(work: Callable[[], object]) -> list[Call]:
    """The calls of the package's functions that `work` makes, in their order."""
    calls: list[Call] = []

    def note(frame: FrameType, event: str, argument: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(PACKAGE):
            calls.append((code.co_filename[len(PACKAGE) + 1 :], code.co_name))

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return calls


def attached() -> Engine:
    engine = create_engine("sqlite://", poolclass=StaticPool)
    metadata.create_all(engine)
    attach(engine, SqlKeyStore(keyrings.local(os.urandom(32))), create=True)
    with engine.begin() as connection:
        connection.execute(insert(people), {"id": 1, "ssn": "078-05-1120"})
        connection.execute(
            insert(patients), [{"id": uuid.uuid4(), "ssn": "219-09-9999"} for _ in range(2)]
        )
    return engine


def statements(engine: Engine) -> dict[str, Callable[[], object]]:
    connection = engine.connect()
    return {
        "select": lambda: connection.execute(select(people.c.ssn).where(people.c.id == 1)).all(),
        "insert": lambda: connection.execute(
            insert(patients), {"id": uuid.uuid4(), "ssn": "457-55-5462"}
        ),
        "look-up": lambda: connection.execute(
            select(patients.c.id, patients.c.ssn).where(patients.c.ssn == "219-09-9999")
        ).all(),
    }


TITLES = {
    "select": "SELECT of one row",
    "insert": "INSERT with the application's key and a blind index",
    "look-up": "look-up by blind index, two rows found",
}


def figures(calls: list[Call]) -> tuple[int, int, int]:
    """Calls, files and hops."""
    files = [file for file, _ in calls]
    hops = sum(file != after for file, after in pairwise(files))
    return len(calls), len(set(files)), hops


def measured() -> dict[str, list[Call]]:
    engine = attached()
    found: dict[str, list[Call]] = {}
    for name, work in statements(engine).items():
        work()
        work()
        found[name] = traced(work)
    engine.dispose()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--list", choices=TITLES)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = measured()
    if options.list:
        for file, function in found[options.list]:
            print(file, function)
    elif options.json:
        print(json.dumps({name: figures(calls) for name, calls in found.items()}))
    else:
        table = RichTable(title="one statement")
        for heading in ("", "calls", "files", "hops"):
            table.add_column(heading, justify="right")
        for name, calls in found.items():
            table.add_row(TITLES[name], *map(str, figures(calls)))
        Console().print(table)


if __name__ == "__main__":
    main()
