"""One version of the application at work, and the backfill, as programs.

Every write gives a row a new ``note`` and, in the same statement, the e-mail ``id:note``: so any
SELECT tells whether what it reads is out of date.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

from sqlalchemy import bindparam, delete, insert, select, text, update
from sqlalchemy.orm import Session

from encfields import attach
from encfields.adopt import Adoption, adopt
from encfields.bulk.options import Options
from encfields.testing import local_store
from tests.adoption.models import customer
from tests.contention import attempt, engine_of

ROWS = 40
WRAPPING_KEY = bytes(32)


class Version:
    """One version at work.

    :param phase: ``"old"``, a phase, or ``"done"``. :ivar counts: what it did and saw.
    """

    def __init__(self, url: str, phase: str) -> None:
        self.phase = phase
        self.engine = engine_of(url)
        if phase != "old":
            attach(self.engine, local_store(WRAPPING_KEY))
        self.model = customer(phase)
        self.counts: Counter[str] = Counter()
        self._random = random.Random(phase)
        self._turn = 0
        self._writes: list[Callable[[Any, int, str], None]] = [self._by_orm, self._anew]
        if phase == "old":
            self._writes += [self._by_expression, self._moved]
        else:
            self._writes += [self._many]

    def work(self, rounds: int) -> None:
        """Write and read, one after the other."""
        for _ in range(rounds):
            self._turn += 1
            key, note = self._random.randint(1, ROWS), f"{self.phase}-{os.getpid()}-{self._turn}"
            self._attempt(self._random.choice(self._writes), key, note)
            self._attempt(self._read, key, note)

    def _attempt(self, what: Callable[[Any, int, str], None], key: int, note: str) -> None:
        attempt(self.engine, self.counts, lambda session: what(session, key, note))

    # -- writes --------------------------------------------------------------------------------

    def _by_orm(self, session: Session, key: int, note: str) -> None:
        row = session.get(self.model, key)
        if row is not None:
            row.note, row.email = note, f"{key}:{note}"
            session.flush()
            self.counts["writes"] += 1

    def _anew(self, session: Session, key: int, note: str) -> None:
        session.execute(delete(self.model).where(self.model.id == key))
        session.execute(insert(self.model).values(id=key, note=note, email=f"{key}:{note}"))
        self.counts["writes"] += 1

    def _many(self, session: Session, key: int, note: str) -> None:
        table = self.model.__table__
        keys = sorted({key, key % ROWS + 1})
        session.connection().execute(
            update(table)
            .where(table.c.id == bindparam("k"))
            .values(note=note, email_enc=bindparam("e")),
            [{"k": one, "e": f"{one}:{note}"} for one in keys],
        )
        self.counts["writes"] += 1

    def _by_expression(self, session: Session, key: int, note: str) -> None:
        joined = "CONCAT(id, ':', :note)"
        if self.engine.dialect.name != "mysql":
            joined = "CAST(id AS VARCHAR(20)) || ':' || CAST(:note AS VARCHAR(80))"
        sql = f"UPDATE customer SET note = :note, email = {joined} WHERE id = :key"
        session.execute(text(sql), {"note": note, "key": key})
        self.counts["writes"] += 1

    def _moved(self, session: Session, key: int, note: str) -> None:
        for there, back in ((-key, key), (key, -key)):
            session.execute(
                text("UPDATE customer SET id = :there WHERE id = :back"),
                {"there": there, "back": back},
            )
        self.counts["writes"] += 1

    # -- reads ---------------------------------------------------------------------------------

    def _read(self, session: Session, key: int, note: str) -> None:
        model = self.model
        for one, noted, email in session.execute(select(model.id, model.note, model.email)):
            self.counts["reads"] += 1
            self.counts["stale"] += email != f"{one}:{noted}"
        row = session.execute(select(model.note).where(model.id == key)).first()
        if row is not None:
            found = select(model.id).where(model.email == f"{key}:{row[0]}", model.note == row[0])
            still = select(model.id).where(model.id == key, model.note == row[0])
            both = session.execute(select(found.exists(), still.exists())).one()
            self.counts["missed"] += bool(both[1]) and not both[0]


def work(url: str, phase: str, rounds: int) -> dict[str, int]:
    """What a version did and saw."""
    version = Version(url, phase)
    version.work(rounds)
    version.engine.dispose()
    return dict(version.counts)


def backfill(url: str, rows_per_second: float | None = None) -> bool:
    """The backfill, until it is done.

    :returns: whether it has finished.
    """
    engine = engine_of(url)
    encryption = attach(engine, local_store(WRAPPING_KEY))
    adoption = Adoption.of(customer("write-both").__table__.c.email_enc)
    options = Options(batch_rows=5, lease_seconds=1, rows_per_second=rows_per_second)
    finished = adopt(engine, encryption, adoption, options=options).finished
    engine.dispose()
    return finished
