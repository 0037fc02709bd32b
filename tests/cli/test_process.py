"""The command as a process of its own: exit statuses, streams, and no traceback."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from encfields.cli import exits, terminal
from tests import forked
from tests.census.clinic import fill
from tests.cli.conftest import on_sqlite
from tests.cli.processes import COMMAND, IMPORTED
from tests.servers.backends import Backend

ROOT = Path(__file__).parents[2]


def _run(code: str) -> subprocess.CompletedProcess[str]:
    """Code in an interpreter of its own."""
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )


def _run_forked(*arguments: str, code: str | None = None) -> subprocess.CompletedProcess[str]:
    """The same for what does not show how the interpreter begins: it is imported once."""
    start = ["-c", code] if code is not None else COMMAND
    return forked.run(
        *start, *arguments, folder=Path.cwd(), environment=os.environ, imported=IMPORTED
    )


def test_the_console_script_is_the_command():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    module, _, name = project["scripts"]["encfields"].partition(":")
    assert getattr(importlib.import_module(module), name) is terminal.run


@on_sqlite
def test_a_whole_rotation(backend: Backend, local_key, engine, encryption, patients):
    fill(engine, patients, range(1, 11))
    database = ("--database", backend.url_text)
    columns = ("--table", "patient", "--column", "ssn", "--column", "notes")

    assert _run_forked("status", *database, *columns).returncode == exits.OK
    done = _run_forked("keys", "rotate", "default", *database, "--keyring", local_key)
    assert (done.returncode, done.stderr) == (exits.OK, "")
    status = _run_forked("status", "--json", *database, *columns)
    assert status.returncode == exits.WORK_LEFT
    assert json.loads(status.stdout)["verdict"] == "work-left"
    verify = _run_forked("verify", *database, *columns, "--keyring", local_key)
    assert (verify.returncode, verify.stderr) == (exits.OK, "")
    row = _run_forked("inspect", *database, "patient.ssn", "1")
    assert row.returncode == exits.OK


def test_an_error_is_what_happened_and_what_to_do_without_a_traceback():
    done = _run_forked("verify", "--database", "sqlite://", "--table", "t", "--column", "c")
    assert done.returncode == exits.FAILED
    assert done.stdout == ""
    happened, to_do = done.stderr.splitlines()
    assert happened == "encfields: this needs keys, and no keyring is given"
    assert to_do.startswith("encfields: what to do: give --keyring kms:ARN")


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("nonsense",),
        ("status", "--nonsense"),
        ("status", "--sample", "many"),
        ("status", "--table", "\udcff"),
    ],
)
def test_a_wrong_command_line_has_a_status_of_its_own(arguments):
    done = _run_forked(*arguments)
    assert done.returncode == exits.USAGE
    assert "usage: encfields" in done.stderr


@pytest.mark.parametrize("arguments", [(), ("status",), ("verify",), ("keys", "rotate")])
def test_help_documents_the_exit_statuses(arguments):
    done = _run_forked(*arguments, "--help")
    assert done.returncode == exits.OK
    for status in ("0 ", "1 ", "2 ", "3 ", "64 ", "130 "):
        assert f"\n  {status}" in done.stdout


def test_without_rich_it_works_without_colours():
    without = "import sys; sys.modules['rich'] = None; sys.modules['rich.console'] = None\n"
    code = without + "from encfields.cli.main import main\nsys.exit(main(sys.argv[1:]))"
    message = "020478" + "00" * 40
    done = _run_forked("inspect", message, "--json", code=code)
    assert done.returncode == exits.FAULTS
    assert json.loads(done.stdout)["reason"] == "truncated"
    done = _run_forked("inspect", message, code=code)
    assert done.returncode == exits.FAULTS
    assert "what the value says of itself" in done.stdout


def test_importing_the_command_loads_neither_rich_nor_the_aws_library():
    code = "import sys, encfields.cli.main; print(*sys.modules)"
    loaded = {name.partition(".")[0] for name in _run(code).stdout.split()}
    assert "encfields" in loaded
    assert not loaded & {"rich", "boto3", "botocore", "aws_encryption_sdk", "alembic"}


@on_sqlite
@pytest.mark.parametrize("as_json", [(), ("--json",)], ids=["table", "json"])
def test_a_reader_that_goes_away_is_no_traceback(backend: Backend, encryption, as_json):
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "encfields.cli", "keys", "list", *as_json],
            stdout=writing,
            stderr=subprocess.PIPE,
            timeout=240,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT / "src"),
                "ENCFIELDS_DATABASE_URL": backend.url_text,
            },
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (exits.FAILED, b"")


def test_a_fault_of_the_program_shows_code_and_no_value(tmp_path: Path):
    (tmp_path / "faulty.py").write_text(
        "import sys\n"
        "from encfields.cli import database, main\n"
        "def engine_of(url): raise ZeroDivisionError(url)\n"
        "database.engine_of = engine_of\n"
        "sys.exit(main.main(['keys', 'list', '--database', 'a-value-that-is-secret']))\n"
    )
    done = _run_forked(code=(tmp_path / "faulty.py").read_text())
    assert done.returncode == exits.FAILED
    assert "in engine_of" in done.stderr
    assert "an internal error, ZeroDivisionError" in done.stderr
    assert "a-value-that-is-secret" not in done.stderr
