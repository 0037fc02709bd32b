"""Database servers of our own that are ended under a run and an application, and started again."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from types import ModuleType
from typing import Any

import pytest

from tests.bulk.application import Application
from tests.bulk.faults import KillTrial, rows_written
from tests.bulk.support import Clinic
from tests.servers import mariadb, postgresql
from tests.servers.backends import Backend
from tests.servers.drivers import through_driver
from tests.servers.small_disk import SmallDisk
from tests.waiting import until

KINDS: dict[str, ModuleType] = {"postgresql": postgresql, "mariadb": mariadb}


def can_start(name: str) -> Any:
    """A test's mark: without the server's binaries, it cannot be run."""
    return pytest.mark.skipif(
        not KINDS[name].installed(),
        reason=f"this run's {name} was named by URL: there are no binaries to start a private one "
        "from, and a server that others use is not ended",
    )


on_both = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=can_start(name)) for name in KINDS]
)


@contextmanager
def private_server(
    name: str, disk: SmallDisk | None = None, *, everything: bool = False
) -> Iterator[tuple[Any, Backend]]:
    """A server of our own that keeps what was committed when it is killed, and a database in it.

    :param disk: where MariaDB keeps all that it has, and PostgreSQL the database.
    :param everything: let PostgreSQL keep its log there too: it ends when that has no space.
    """
    kind = KINDS[name]
    everything = everything or name == "mariadb"
    parent = disk.directory if disk and everything else None
    server = kind.PrivateServer(kind.installed(), durable=True, parent=parent)
    try:
        place = "" if disk is None or everything else _tablespace(server, disk)
        with closing(kind.connect(server.url)) as connection:
            connection.cursor().execute(f"CREATE DATABASE encfields_faults{place}")
        backend = Backend(name, through_driver(server.url.set(database="encfields_faults")))
        try:
            yield server, backend
        finally:
            backend.dispose()
    finally:
        server.stop()


def _tablespace(server: Any, disk: SmallDisk) -> str:
    directory = disk.directory_for(server.user)
    with closing(postgresql.connect(server.url)) as connection:
        connection.execute(f"CREATE TABLESPACE small LOCATION '{directory}'")
    return " TABLESPACE small"


class RestartTrial(KillTrial):
    """Runs whose database server is ended again and again.

    :ivar restarts: how many there have been.
    """

    outlives = True
    restarts = 0

    def restart(self, server: Any, end: Callable[[], None]) -> None:
        """Let a run write rows beside the application's, end the server, start it, compare."""
        with self._application() as application:
            self._gets_on(application)
            time.sleep(self._random.uniform(0, 0.3))
            end()
            until(lambda: application.failures, "that the application misses the server")
            server.start()
            self.restarts += 1
            self._clinic.engine.dispose()  # this look at the database, not what is looked at
            self._gets_on(application)
        self._compare(application)

    def _gets_on(self, application: Application) -> None:
        """Wait until the run has written rows, and the application too."""
        self._started()
        written, commits = rows_written(self._clinic), application.commits
        self._wait(
            lambda: rows_written(self._clinic) > written and application.commits > commits + 1
        )


def restart_many(name: str, times: int, rows: int, random_: random.Random) -> RestartTrial:
    """End a private server by turns with SIGKILL and in its own way, and start it again."""
    with private_server(name) as (server, backend):
        clinic = Clinic(backend)
        clinic.fill(rows)
        trial = RestartTrial(clinic, rows, random_)
        try:
            for number in range(times):
                trial.restart(server, server.end if number % 2 else server.crash)
                print(f"{name}: restart {number + 1}: all values are as committed", flush=True)
            trial.finish()
        finally:
            trial.close()
        print(f"{name}: {times} restarts in {trial.runs} runs, nothing lost", flush=True)
    return trial
