"""Kill bulk runs at random moments while an application writes, and compare every plaintext.

    python -m tests.bulk.faults --kills 20 [--rows 4000] [--seed 1]
    python -m tests.bulk.faults --restart 10
    python -m tests.bulk.faults --disk-full 5

Workers and the coordinator of two worker processes are killed in turn, with SIGKILL; or the
database's own server is, by turns with SIGKILL and in its own way, and started again; or its disk
is full for a while. After each fault the application rests, and every value is compared with what
it last committed.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

from sqlalchemy import inspect, make_url, text

from tests.bulk.application import LONG_REST_SECONDS, Application
from tests.bulk.process import start
from tests.bulk.support import Base, Clinic
from tests.forked import Program
from tests.servers import mariadb, postgresql
from tests.servers.backends import Backend
from tests.servers.drivers import through_driver
from tests.servers.provision import servers

SECONDS = 240.0
"""How long a run may take to show progress, or to end."""


class KillTrial:
    """Runs that are killed again and again.

    :param clinic: the database. :param rows: patients in it.
    :param random_: chooses the moments and the victims.
    :cvar outlives: whether the application goes on after the database was away.
    :ivar kills: how many there have been, by victim.
    """

    outlives = False

    def __init__(self, clinic: Clinic, rows: int, random_: random.Random) -> None:
        self._clinic = clinic
        self._rows = rows
        self._random = random_
        self.kills = {"worker": 0, "coordinator": 0}
        self.runs = 0
        self._expected = {row[0]: row[1] for row in clinic.values().values()}
        self._process: Program | None = None
        self.version = clinic.rotate()

    def kill(self, victim: str) -> None:
        """Let a run write some rows beside the application's, kill, and compare."""
        with self._application() as application:
            self._started()
            before = rows_written(self._clinic)
            self._wait(lambda: rows_written(self._clinic) > before)
            time.sleep(self._random.uniform(0, 0.3))
            if victim == "worker":
                self._wait(self._has_killed_a_worker)
            else:
                self.close()
            self.kills[victim] += 1
        self._compare(application)

    def _has_killed_a_worker(self) -> bool:
        workers = children_of(self._started().pid)
        if not workers:
            return False  # they are being started, or have ended by themselves
        os.kill(self._random.choice(workers), signal.SIGKILL)
        return True

    def finish(self) -> None:
        """Let the last run end, and compare."""
        with self._application() as application:
            state, _ = self._started().result(SECONDS)
            self._process = None
        assert state == "finished"
        self._compare(application)
        found = {version for _, version in self._clinic.versions()}
        assert found == {self.version}, "values were left behind"

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process = None

    def _application(self) -> Application:
        return Application(
            self._clinic,
            threads=2,
            rows_at_once=4,
            rows=self._rows,
            outlives=self.outlives,
            rest_seconds=LONG_REST_SECONDS,
        )

    def _compare(self, application: Application) -> None:
        assert not application.errors, application.errors
        self._expected.update(application.written)
        found = {row[0]: row[1] for row in self._clinic.values().values()}
        assert found == self._expected, "an update was lost or a value changed"

    def _started(self) -> Program:
        """The run's process; a new one, and a new rotation, when the last has ended."""
        if self._process is not None and self._process.has_ended:
            self._process.result(SECONDS)
            self._process = None
            self.version = self._clinic.rotate()
        if self._process is None:
            self.runs += 1
            url = self._clinic.backend.url_text
            self._process = start(url, workers=2, rows_per_second=self._rows / 2)
        return self._process

    def _wait(self, condition: Any) -> None:
        deadline = time.monotonic() + SECONDS
        while not condition():
            assert time.monotonic() < deadline, "the run does not get on"
            if self._process is None or self._process.has_ended:
                self._started()
            time.sleep(0.05)


def children_of(process_id: int) -> list[int]:
    """Worker processes of a coordinator: those that multiprocessing has spawned."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
            command = (path.parent / "cmdline").read_bytes()
        except OSError:
            continue  # It ended meanwhile.
        if int(fields[1]) == process_id and b"spawn_main" in command:
            found.append(int(path.parent.name))
    return found


def rows_written(clinic: Clinic) -> int:
    """Rows that runs of any process have written so far."""
    with clinic.engine.connect() as connection:
        if not inspect(connection).has_table("encfields_ranges"):
            return 0
        statement = text("SELECT COALESCE(SUM(rows_written), 0) FROM encfields_ranges")
        return int(connection.execute(statement).scalar_one())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    faults = parser.add_mutually_exclusive_group()
    faults.add_argument("--kills", type=int, default=20)
    faults.add_argument("--restart", type=int, metavar="TIMES")
    faults.add_argument("--disk-full", type=int, metavar="TIMES")
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = parser.parse_args()
    print(f"seed {options.seed}")
    if options.restart or options.disk_full:
        strike_private_servers(options)
        return
    with servers() as urls:
        for kind in (postgresql, mariadb):
            database = kind.ServerDatabase(make_url(urls[kind.VARIABLE]), "encfields_faults")
            backend = Backend(kind.NAME.lower(), through_driver(database.url))
            try:
                kill_many(backend, options)
            finally:
                backend.dispose()
                database.drop()


def kill_many(backend: Backend, options: argparse.Namespace) -> None:
    clinic = Clinic(backend, Base)
    clinic.fill(options.rows)
    trial = KillTrial(clinic, options.rows, random.Random(options.seed))
    try:
        for number in range(options.kills):
            victim = "coordinator" if number % 2 else "worker"
            trial.kill(victim)
            print(f"{backend.name}: kill {number + 1}, a {victim}: all values are as committed")
        trial.finish()
    finally:
        trial.close()
    print(f"{backend.name}: {options.kills} kills in {trial.runs} runs, nothing lost")


def strike_private_servers(options: argparse.Namespace) -> None:
    """Restarts and full disks, on servers that are nobody else's."""
    from tests.bulk import disk_trial, server_trial  # which are made of what is above

    for name in server_trial.KINDS:
        random_ = random.Random(options.seed)
        if options.restart:
            server_trial.restart_many(name, options.restart, options.rows, random_)
        if options.disk_full:
            disk_trial.fill_many(name, options.disk_full, options.rows)


if __name__ == "__main__":
    main()
