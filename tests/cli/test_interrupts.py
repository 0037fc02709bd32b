"""Ctrl-C ends every command with status 130 and no traceback: while a database waits, and while
the command is still imported."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, text

from encfields import SqlKeyStore, attach, keyrings
from encfields.cli import exits
from tests.census.clinic import fill, patient_table
from tests.cli.processes import COMMAND_IN_A_TERMINAL, start
from tests.forked import Command
from tests.servers.backends import Backend
from tests.waiting import until

COLUMNS = ("--table", "patient", "--column", "ssn", "--column", "notes")
COMMANDS = {
    "status": ("patient", ("status", *COLUMNS)),
    "verify": ("patient", ("verify", *COLUMNS, "--keyring")),
    "reencrypt": ("patient", ("reencrypt", "--dry-run", *COLUMNS)),
    "keys list": ("encfields_keys", ("keys", "list", "--keyring")),
    "keys rewrap": ("encfields_keys", ("keys", "rewrap", "--to", "{key}", "--keyring")),
}
LOCK = {
    "postgresql": "LOCK TABLE {} IN ACCESS EXCLUSIVE MODE",
    "mariadb": "LOCK TABLES {} WRITE",
}
WAITING = {
    "postgresql": "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
    "AND wait_event_type = 'Lock'",
    "mariadb": "SELECT count(*) FROM information_schema.processlist WHERE db = DATABASE() "
    "AND state LIKE 'Waiting for table%lock'",
}


@contextmanager
def locked(engine: Engine, family: str, table: str) -> Iterator[Connection]:
    """Nobody else reads the table; gives a connection that sees who waits for it."""
    with engine.connect() as holder, engine.connect() as watcher:
        holder.execute(text(LOCK[family].format(table)))
        yield watcher.execution_options(isolation_level="AUTOCOMMIT")
        if family == "mariadb":
            holder.execute(text("UNLOCK TABLES"))


@contextmanager
def started(backend: Backend, *arguments: str) -> Iterator[Command]:
    """The command as a terminal starts it; gone at the end, however that comes."""
    process = start(backend, *arguments, program=COMMAND_IN_A_TERMINAL)
    try:
        yield process
    finally:
        process.kill()


@contextmanager
def ending(process: subprocess.Popen[str]) -> Iterator[None]:
    """Leave nothing of it behind."""
    try:
        yield
    finally:
        process.kill()
        process.communicate()


TRIED = [
    *(("postgresql", name) for name in COMMANDS),
    ("mariadb", "verify"),
    ("mariadb", "keys rewrap"),
]


@pytest.mark.parametrize("server, name", TRIED)
def test_ctrl_c_ends_a_command_that_waits_for_the_database(request, server, name, local_key):
    backend: Backend = request.getfixturevalue(server)
    engine = backend.create_engine()
    store = SqlKeyStore(keyrings.local(local_key.partition(":")[2]))
    attach(engine, store, create=True)
    table = patient_table()
    table.create(engine)
    fill(engine, table, range(1, 4))
    locks, command = COMMANDS[name]
    if command[-1] == "--keyring":
        command = (*(local_key if word == "{key}" else word for word in command), local_key)

    with (
        locked(engine, backend.family, locks) as watcher,
        started(backend, *command) as process,
    ):

        def waits() -> bool:
            assert not process.has_ended, process.communicate(0)
            return bool(watcher.execute(text(WAITING[backend.family])).scalar_one())

        until(waits)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=240)

    assert (process.status, out, err) == (exits.INTERRUPTED, "", "")


A_TERMINAL = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
MODULE = A_TERMINAL + "import runpy; runpy.run_module('encfields.cli', run_name='__main__')"
SCRIPT = A_TERMINAL + "import sys; from encfields.cli.terminal import run; sys.exit(run())"


@pytest.mark.parametrize("program", [MODULE, SCRIPT], ids=["module", "script"])
@pytest.mark.parametrize("imported", ["sqlalchemy.exc", "encfields.orm.types", "all"])
def test_ctrl_c_ends_a_command_that_is_still_imported(program: str, imported: str, tmp_path: Path):
    """Python tells what it has imported. What the command connects to then never answers."""
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        # All that is imported is more than a pipe takes while nobody reads it.
        (tmp_path / "imported").open("w+") as listed,
    ):
        url = f"postgresql+psycopg://nobody@127.0.0.1:{silent.getsockname()[1]}/nothing"
        process = subprocess.Popen(
            [sys.executable, "-X", "importtime", "-c", program, "keys", "list", "--database", url],
            stdout=subprocess.DEVNULL,
            stderr=listed if imported == "all" else subprocess.PIPE,
            text=True,
        )
        with ending(process):
            if imported == "all":
                silent.settimeout(240)
                silent.accept()[0].detach()
            else:
                assert process.stderr is not None
                wanted = f"| {imported}\n"
                next(line for line in process.stderr if line.replace("  ", "").endswith(wanted))
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=240)
        listed.seek(0)
        err = err or listed.read()

    told = [line for line in err.splitlines() if not line.startswith("import time:")]
    assert (process.returncode, told) == (exits.INTERRUPTED, [])
