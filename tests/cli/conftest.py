"""A clinic's database on each of the three servers, and the command to run on it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, Table

from encfields import Encryption
from encfields.cli.main import main
from tests.attached import attach_with_kept_keys, local_key_file
from tests.census.clinic import patient_table
from tests.servers.backends import Backend


@pytest.fixture
def sqlite(sqlite: Backend) -> Backend:
    """An empty file, because the command creates none."""
    Path(sqlite.url.database or "").touch()
    return sqlite


@dataclass
class Result:
    """What a run of the command left: exit status, standard output and standard error."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Result]

on_sqlite = pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
"""For what a command says or refuses by itself; what it does is tested on each database."""


@pytest.fixture(autouse=True)
def _nothing_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working directory, and nothing in the environment that the command heeds."""
    monkeypatch.chdir(tmp_path)
    for name in ("ENCFIELDS_DATABASE_URL", "ENCFIELDS_KEYRING", "COLUMNS", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command in this process, with the arguments given and nothing else."""

    def run(*arguments: str) -> Result:
        capsys.readouterr()
        code = main(arguments)
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run


@pytest.fixture
def on_database(command: Run, backend: Backend, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The same with the test's database in the environment."""
    monkeypatch.setenv("ENCFIELDS_DATABASE_URL", backend.url_text)
    return command


@pytest.fixture
def local_key(tmp_path: Path) -> str:
    """``--keyring`` for a local wrapping key."""
    return local_key_file(tmp_path)


@pytest.fixture
def engine(backend: Backend) -> Engine:
    return backend.create_engine()


@pytest.fixture
def encryption(engine: Engine) -> Encryption:
    """Under the key of :func:`local_key`."""
    return attach_with_kept_keys(engine)


@pytest.fixture
def patients(engine: Engine, encryption: Encryption) -> Table:
    """An empty table with the encrypted columns ``ssn`` and ``notes``."""
    table = patient_table()
    table.create(engine)
    return table
