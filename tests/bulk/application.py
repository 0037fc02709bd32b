"""An application that goes on writing while a run is at work."""

from __future__ import annotations

import threading
import time
from typing import Any

from sqlalchemy import update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from encfields import SqlKeyStore, attach, keyrings
from tests.bulk.support import WRAPPING_KEY, Clinic, Patient

DEADLOCKS = ("40P01", 1213)

REST_SECONDS = 0.02
"""Between two transactions of a thread, that the run at whose side it works gets on."""

LONG_REST_SECONDS = 0.1
"""The same beside processes that take seconds to start, in which it need not write all the time."""

OUTLIVES_SECONDS = 120.0
"""How long the application tries again before it counts as an error."""


class Application:
    """Threads that update patients all the time, each those that are its own.

    :param model: what it updates the ``ssn`` of.
    :param outlives: whether it tries again, with the same values, what fails for want of the
        database; it ends after its last try has succeeded, so that what is stored is known even
        where a COMMIT was not answered. A deadlock is an error all the same.
    :ivar rest_seconds: how long each thread rests between two transactions, from its next one on.
    :ivar written: the value last committed for each patient. :ivar errors: what went wrong.
    :ivar failures: tries that the database did not take.
    """

    def __init__(
        self,
        clinic: Clinic,
        *,
        threads: int,
        rows_at_once: int,
        rows: int = 500,
        model: Any = Patient,
        outlives: bool = False,
        rest_seconds: float = REST_SECONDS,
    ) -> None:
        self.written: dict[int, str] = {}
        self.errors: list[BaseException] = []
        self.failures: list[DBAPIError] = []
        self.commits = 0
        self._model = model
        self._outlives = outlives
        self._rows = rows
        self.rest_seconds = rest_seconds
        self._stop = threading.Event()
        options = {"connect_args": {"timeout": 60}} if clinic.backend.name == "sqlite" else {}
        self._engine = clinic.backend.create_engine(pool_size=threads, **options)
        self.encryption = attach(self._engine, SqlKeyStore(keyrings.local(WRAPPING_KEY)))
        self._threads = [
            threading.Thread(target=self._write, args=(number, threads, rows_at_once))
            for number in range(threads)
        ]

    def _write(self, number: int, threads: int, rows_at_once: int) -> None:
        mine = [i for i in range(1, self._rows + 1) if i % threads == number]
        turn = 0
        try:
            while not self._stop.is_set():
                # Descending, against the run's order: two that wait for locks would deadlock.
                at = (turn * 7) % len(mine)
                ids = sorted({mine[(at + 3 * k) % len(mine)] for k in range(rows_at_once)})[::-1]
                values = dict.fromkeys(ids, f"writer {number} turn {turn}")
                self._commit(values)
                self.written.update(values)
                self.commits += 1
                turn += 1
                time.sleep(self.rest_seconds)
        except BaseException as error:
            self.errors.append(error)

    def _commit(self, values: dict[int, str]) -> None:
        deadline = time.monotonic() + OUTLIVES_SECONDS
        while True:
            try:
                with Session(self._engine) as session:
                    for i, value in values.items():
                        statement = update(self._model).where(self._model.id == i)
                        session.execute(statement.values(ssn=value))
                    session.commit()
                return
            except DBAPIError as error:
                if not self._outlives or code_of(error) in DEADLOCKS:
                    raise
                self.failures.append(error)
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.05)

    def __enter__(self) -> Application:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def code_of(error: DBAPIError) -> Any:
    """The database's own code of an error: a number in MariaDB, an SQLSTATE in PostgreSQL."""
    original: Any = error.orig
    if original.args and isinstance(original.args[0], int):
        return original.args[0]
    return getattr(original, "sqlstate", None)
