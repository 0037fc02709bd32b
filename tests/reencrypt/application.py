"""An application that goes on writing while a run is at work."""

from __future__ import annotations

import threading

from sqlalchemy import update
from sqlalchemy.orm import Session

from encfields import SqlKeyStore, attach, keyrings
from tests.reencrypt.support import WRAPPING_KEY, Clinic, Patient


class Application:
    """Threads that update patients as fast as they can, each those that are its own.

    :ivar written: the value last committed for each patient. :ivar errors: what went wrong.
    """

    def __init__(self, clinic: Clinic, *, threads: int, rows_at_once: int, rows: int = 500) -> None:
        self.written: dict[int, str] = {}
        self.errors: list[BaseException] = []
        self.commits = 0
        self._rows = rows
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
                with Session(self._engine) as session:
                    for i, value in values.items():
                        session.execute(update(Patient).where(Patient.id == i).values(ssn=value))
                    session.commit()
                self.written.update(values)
                self.commits += 1
                turn += 1
        except BaseException as error:
            self.errors.append(error)

    def __enter__(self) -> Application:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
