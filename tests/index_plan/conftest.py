"""A table whose values' frequencies are known, on each database, and the command to run on it."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sqlalchemy import Engine, Table, insert

from encfields import Encryption
from encfields.cli.main import main
from encfields.index.leakage import Forecast, Frequencies, forecast_of
from tests.attached import local_key_file
from tests.database import WRAPPING_KEY, Database
from tests.index_plan.people import ROWS, people_table
from tests.servers.backends import Backend

PEOPLE = people_table()


class Told(NamedTuple):
    """What a run of the command left."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    def only(self) -> Any:
        """The document of the one index."""
        (one,) = self.json["indexes"]
        return one


_forecasts: dict[Hashable, Forecast] = {}


def _remembered(frequencies: Frequencies, bits: int) -> Forecast:
    """As the library's: the guesses of its simulation are drawn by the same seed each time."""
    told = tuple(frequencies.counts), frequencies.rows, bits
    if told not in _forecasts:
        _forecasts[told] = forecast_of(frequencies, bits)
    return _forecasts[told]


@pytest.fixture(scope="module", autouse=True)
def _each_forecast_once() -> Iterator[None]:
    """The tests plan for the same few tables, and to simulate one takes most of a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("encfields.planner.plan.forecast_of", _remembered)
        yield


@pytest.fixture
def engine(db: Database) -> Engine:
    return db.engine


@pytest.fixture
def local_key(tmp_path: Path) -> str:
    """``--keyring`` for a local wrapping key."""
    return local_key_file(tmp_path, WRAPPING_KEY)


@pytest.fixture
def encryption(db: Database) -> Encryption:
    """Under the key of :func:`local_key`."""
    return db.encryption


@pytest.fixture
def people(shared_tables: None, db: Database) -> Table:
    """The table, filled once for many tests."""
    db.share(PEOPLE.metadata, fill=_fill)
    return PEOPLE


def _fill(db: Database) -> None:
    with db.begin() as connection:
        connection.execute(insert(PEOPLE), ROWS)


@pytest.fixture
def command(backend: Backend, tmp_path: Path, monkeypatch, capsys):
    """Run ``encfields`` in this process on the test's database."""
    monkeypatch.chdir(tmp_path)
    for name in ("ENCFIELDS_KEYRING", "COLUMNS", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ENCFIELDS_DATABASE_URL", backend.url_text)

    def run(*arguments: str) -> Told:
        capsys.readouterr()
        code = main(arguments)
        captured = capsys.readouterr()
        return Told(code, captured.out, captured.err)

    return run


@pytest.fixture
def plan(command):
    """The same: ``encfields index plan --table people`` with further arguments."""
    return lambda *arguments: command("index", "plan", "--table", "people", *arguments)
