"""Rotating a key over a live table: a bulk run, and a writer that goes on meanwhile."""

from __future__ import annotations

import datetime as dt
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Engine, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from encfields import Encryption
from encfields.bulk import Options, ProgressState, Reencryption, TableSpec
from encfields.errors import EncFieldsError

from .explain import NotNow, Trouble, explain
from .models import Visit
from .seed import DIAGNOSES

PACE = Options(batch_rows=100, rows_per_second=1_200)
"""Slow enough to watch."""


@dataclass
class Standing:
    """Where a rotation is.

    :ivar state: ``"idle"``, ``"running"``, ``"finished"`` or ``"failed"``.
    :ivar share: of the rows, from 0 to 1.
    :ivar written: rows that the writer added meanwhile. :ivar read: rows that it read and found
        to be right.
    """

    state: str = "idle"
    share: float = 0.0
    done: int = 0
    total: int = 0
    written: int = 0
    read: int = 0
    trouble: Trouble | None = None


class Rotation:
    """One at a time."""

    def __init__(self, engine: Engine, encryption: Encryption) -> None:
        self._engine = engine
        self._encryption = encryption
        self._one_at_a_time = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.standing = Standing()

    def start(self) -> None:
        """Make a new key version, and begin to move every value to it.

        :raises NotNow: one is under way. :raises EncFieldsError: there is no new version: the
            keys are out of reach, for instance.
        """
        with self._one_at_a_time:
            if self.standing.state == "running":
                raise NotNow("A rotation is under way.")
            self._encryption.keys.rotate("default")
            self.standing = Standing("running")
        self._stop.clear()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End what is under way, for the application's end."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(30)

    def _work(self) -> None:
        over = threading.Event()
        writer = threading.Thread(target=self._guarded, args=(lambda: self._write(over),))
        writer.start()
        self._guarded(self._move)
        over.set()
        writer.join()
        if self.standing.state == "running":
            self.standing.state = "finished"

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except (EncFieldsError, SQLAlchemyError) as error:
            self.standing.state, self.standing.trouble = "failed", explain(error)

    def _move(self) -> None:
        table = TableSpec.from_table(Visit.__table__)  # type: ignore[arg-type]
        run = Reencryption(self._engine, self._encryption, table, options=PACE)
        report = run.run(progress=self._tell, stop=self._stop)
        if report.finished:
            self.standing.share = 1.0
            self.standing.done = self.standing.total = max(self.standing.total, report.rows_seen)
        else:
            self.standing.state = "failed"

    def _tell(self, state: ProgressState) -> None:
        done, total = state.rows_done, max(1, state.rows_total)
        first_pass = state.sweep == 0
        self.standing.total = total
        self.standing.done = min(done, total) if first_pass else total
        self.standing.share = self.standing.done / total

    def _write(self, over: threading.Event) -> None:
        """Add a row and read one, ten times a second."""
        chance = random.Random()
        while not over.wait(0.1):
            with Session(self._engine) as session:
                number = session.scalar(select(func.max(Visit.id))) or 0
                diagnosis = chance.choice(DIAGNOSES)
                session.add(Visit(day=dt.date.today(), diagnosis=diagnosis))
                session.commit()
                self.standing.written += 1
                visit = session.get(Visit, chance.randint(1, number))
                self.standing.read += visit is not None and visit.diagnosis in DIAGNOSES
