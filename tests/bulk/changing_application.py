"""One version of an application whose declaration is being changed, and the run, as programs.

Every write gives a row a new ``note`` and, in the same statement, the same number as its ``body``:
so any SELECT tells whether what it reads is out of date.
"""

from __future__ import annotations

import itertools
import os
import random
import uuid
from collections import Counter
from collections.abc import Callable
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Integer,
    MetaData,
    String,
    Table,
    Uuid,
    bindparam,
    delete,
    insert,
    select,
    update,
)
from sqlalchemy.orm import Session, registry

from encfields import BlindIndex, EncryptedType, Formerly, attach
from encfields.bulk import Options, conversion
from encfields.testing import local_store
from tests.contention import attempt, engine_of

ROWS = 30
WRAPPING_KEY = bytes(32)
VERSIONS = ("old", "write-former", "write-new", "new")


def ledger(version: str) -> Table:
    """The table: numbers bound to the primary key become texts bound to ``uid``, in another
    name."""
    old: dict[str, Any] = {"inner": BigInteger(), "name": "ledger.number"}
    new: dict[str, Any] = {"inner": String(40), "name": "ledger.text", "bind_to": "uid"}
    if version not in ("old", "new"):
        formerly: Any = Formerly(**old, bind_to="id", phase=version)  # type: ignore[arg-type]
        new["formerly"] = formerly
    sealed = EncryptedType(index=BlindIndex(), **(old if version == "old" else new))
    return Table(
        "ledger",
        MetaData(),
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("uid", Uuid, nullable=False, unique=True),
        Column("note", BigInteger, nullable=False),
        Column("body", sealed),
    )


def row(version: str, key: int, note: int) -> dict[str, Any]:
    """A row as a version writes it."""
    return {"id": key, "uid": uuid.UUID(int=key), "note": note, "body": body(version, note)}


def body(version: str, note: int) -> Any:
    return note if version == "old" else str(note)


class Version:
    """One version at work.

    :ivar counts: what it did and saw.
    """

    def __init__(self, url: str, version: str) -> None:
        self.version = version
        self.engine = engine_of(url)
        attach(self.engine, local_store(WRAPPING_KEY))
        self.table = ledger(version)
        self.model: Any = registry().map_imperatively(type("Ledger", (), {}), self.table).class_
        self.counts: Counter[str] = Counter()
        self._random = random.Random(version)
        self._notes = itertools.count(os.getpid() * 1_000_000)
        self._writes: list[Callable[[Session, int, int], None]]
        self._writes = [self._by_orm, self._anew, self._many, self._moved]

    def work(self, rounds: int) -> None:
        """Write and read, one after the other."""
        for _ in range(rounds):
            key = self._random.randint(1, ROWS)
            self._attempt(self._random.choice(self._writes), key, next(self._notes))
            self._attempt(self._read, key, 0)

    def _attempt(self, what: Callable[[Session, int, int], None], key: int, note: int) -> None:
        attempt(self.engine, self.counts, lambda session: what(session, key, note))

    def _by_orm(self, session: Session, key: int, note: int) -> None:
        one = session.get(self.model, key)
        if one is not None:
            one.note, one.body = note, body(self.version, note)
            session.flush()
            self.counts["writes"] += 1

    def _anew(self, session: Session, key: int, note: int) -> None:
        session.execute(delete(self.table).where(self.table.c.id == key))
        session.execute(insert(self.table).values(row(self.version, key, note)))
        self.counts["writes"] += 1

    def _many(self, session: Session, key: int, note: int) -> None:
        c = self.table.c
        rows = [row(self.version, one, note) for one in sorted({key, key % ROWS + 1})]
        session.connection().execute(
            update(self.table)
            .where(c.id == bindparam("k"), c.uid == bindparam("u"))
            .values(note=bindparam("n"), body=bindparam("b")),
            [{"k": r["id"], "u": r["uid"], "n": r["note"], "b": r["body"]} for r in rows],
        )
        self.counts["writes"] += 1

    def _moved(self, session: Session, key: int, note: int) -> None:
        """Change the key away and back: the value is sealed anew as it is."""
        one = session.get(self.model, key)
        if one is not None:
            for there in (-key, key):
                one.id = there
                session.flush()
            self.counts["writes"] += 1

    def _read(self, session: Session, key: int, note: int) -> None:
        c = self.table.c
        for one in session.execute(select(c.note, c.body)):
            self.counts["reads"] += 1
            self.counts["stale"] += one.body != body(self.version, one.note)
        noted = session.scalar(select(c.note).where(c.id == key))
        if noted is not None:
            found = select(c.id).where(c.body == body(self.version, noted), c.note == noted)
            still = select(c.id).where(c.id == key, c.note == noted)
            both = session.execute(select(found.exists(), still.exists())).one()
            self.counts["missed"] += bool(both[1]) and not both[0]


def work(url: str, version: str, rounds: int) -> dict[str, int]:
    """What a version did and saw."""
    at_work = Version(url, version)
    at_work.work(rounds)
    at_work.engine.dispose()
    return dict(at_work.counts)


def convert(url: str, rows_per_second: float | None = None) -> bool:
    """The run, until it is done.

    :returns: whether it has finished.
    """
    engine = engine_of(url)
    encryption = attach(engine, local_store(WRAPPING_KEY))
    options = Options(batch_rows=5, lease_seconds=1, rows_per_second=rows_per_second)
    run = conversion(engine, encryption, ledger("write-new").c.body, options=options)
    finished = run.run().finished
    engine.dispose()
    return finished
