"""The command in a terminal of 80 columns, a narrow one, and in a log file: what a person sees."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
from dataclasses import dataclass

import pytest

from encfields import SqlKeyStore, attach, keyrings
from encfields.cli import exits
from encfields.cli.layout import width_of
from tests.census.clinic import fill, overwrite, patient_table
from tests.cli.processes import COMMAND, IMPORTED, ROOT, environment_for
from tests.forked import Command
from tests.servers.backends import Backend
from tests.waiting import PATIENCE

COLUMNS = ("--table", "patient", "--column", "ssn", "--column", "notes")
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
TIME = r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ"


@dataclass
class Seen:
    """What came out of the command on its two streams."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """Of standard output, as they stand on the screen."""
        return ESCAPES.sub("", self.out).replace("\r\n", "\n").splitlines()


class Terminal:
    """A terminal of its own for one stream.

    :ivar name: the file that it is.
    """

    def __init__(self, columns: int) -> None:
        self._master, self.stream = pty.openpty()
        fcntl.ioctl(self.stream, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.name = os.ttyname(self.stream)
        self._read: list[bytes] = []
        self._thread = threading.Thread(target=self._drain)
        self._thread.start()

    def _drain(self) -> None:
        while True:
            try:
                data = os.read(self._master, 65_536)
            except OSError:  # Linux says so when the last writer has gone
                return
            if not data:
                return
            self._read.append(data)

    def shown(self) -> str:
        """All that was written, once the command has ended."""
        os.close(self.stream)
        self._thread.join()
        os.close(self._master)
        return b"".join(self._read).decode()


@pytest.fixture
def clinic(sqlite: Backend, local_key: str) -> Backend:
    """A table with values of two versions and one that is plaintext."""
    engine = sqlite.create_engine()
    store = SqlKeyStore(keyrings.local(local_key.partition(":")[2]))
    encryption = attach(engine, store, create=True)
    table = patient_table()
    table.create(engine)
    fill(engine, table, range(1, 21))
    encryption.keys.rotate("default")
    fill(engine, table, range(21, 31))
    return sqlite


def run(backend: Backend, *arguments: str, columns: int | None = None, **environment: str) -> Seen:
    """Run the command.

    :param columns: of the terminal that both streams are; ``None`` for files.
    """
    terminals = None if columns is None else (Terminal(columns), Terminal(columns))
    process = Command(
        *COMMAND,
        *arguments,
        folder=ROOT,
        environment=in_a_terminal(backend) | environment,
        imported=IMPORTED,
        into=terminals and (terminals[0].name, terminals[1].name),
    )
    said = process.communicate(PATIENCE)
    assert process.status is not None
    if terminals is None:
        return Seen(process.status, *said)
    return Seen(process.status, *(terminal.shown() for terminal in terminals))


def in_a_terminal(backend: Backend) -> dict[str, str]:
    """The environment variables that a terminal of the usual kind has."""
    left_out = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR")
    inherited = environment_for(backend).items()
    return {name: text for name, text in inherited if name not in left_out} | {
        "TERM": "xterm-256color"
    }


def test_status_in_a_terminal_of_80_columns(clinic):
    overwrite(clinic.create_engine(), 1, b"a plaintext")
    seen = run(clinic, "status", *COLUMNS, columns=80)
    assert seen.code == exits.FAULTS
    assert all(width_of(line) <= 80 for line in seen.lines)
    title, head, rule, *rows = seen.lines
    assert title == "patient: 30 rows"
    assert head.split() == ["column", "state", "key", "version", "values", "share"]
    assert set(rule) == {" ", "-"}
    assert {row.index("current") for row in rows if "current  " in row} == {head.index("state")}
    assert "\x1b[32mcurrent\x1b[0m" in seen.out
    assert "\x1b[31mplaintext\x1b[0m" in seen.out
    assert "patient" in seen.err  # what is being read, while it is


def test_status_in_a_narrow_terminal_without_colours(clinic):
    seen = run(clinic, "status", *COLUMNS, columns=40, NO_COLOR="1")
    assert seen.code == exits.WORK_LEFT
    assert all(width_of(line) <= 40 for line in seen.lines)
    assert "  column   ssn" in seen.lines
    assert not re.search(r"\x1b\[3[0-9]m", seen.out)


def test_a_run_in_a_terminal_has_a_bar_and_a_closing_line(clinic, local_key):
    seen = run(
        clinic, "reencrypt", "--start", *COLUMNS, "--keyring", local_key, columns=80
    )  # fmt: skip
    assert seen.code == exits.OK
    assert "100%" in seen.err
    assert "30/30" in seen.err
    assert all(width_of(line) <= 80 for line in seen.lines)
    assert seen.lines[-1] == "Done: nothing is left to do."


def test_a_run_in_a_log_file_has_lines_with_their_time_and_no_escape_codes(clinic, local_key):
    seen = run(clinic, "reencrypt", "--start", *COLUMNS, "--keyring", local_key)
    assert seen.code == exits.OK
    assert "\x1b" not in seen.out + seen.err
    lines = seen.err.splitlines()
    assert all(re.match(f"{TIME} patient", line) for line in lines)
    assert re.fullmatch(rf"{TIME} patient.*: 30 of 30 rows \(100%\), \d+ written.*", lines[-1])
    assert seen.lines[-1] == "Done: nothing is left to do."


def test_a_log_file_has_each_row_of_a_table_whole_on_a_line(clinic):
    # In an interpreter of its own, which begins with that encoding.
    done = subprocess.run(
        [sys.executable, *COMMAND, "status", *COLUMNS],
        capture_output=True,
        env=in_a_terminal(clinic) | {"PYTHONIOENCODING": "ascii"},
        timeout=PATIENCE,
    )
    seen = Seen(done.returncode, done.stdout.decode(), done.stderr.decode())
    assert seen.code == exits.WORK_LEFT
    assert "\x1b" not in seen.out + seen.err
    assert sum("default" in line for line in seen.lines) == 4
    assert all(line == line.rstrip() for line in seen.lines)
