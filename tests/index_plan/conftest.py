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
from tests.attached import attach_with_kept_keys, local_key_file
from tests.index_plan.people import ROWS, people_table
from tests.servers.backends import Backend


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
def engine(backend: Backend) -> Engine:
    return backend.create_engine()


@pytest.fixture
def local_key(tmp_path: Path) -> str:
    """``--keyring`` for a local wrapping key."""
    return local_key_file(tmp_path)


@pytest.fixture
def encryption(engine: Engine) -> Encryption:
    """Under the key of :func:`local_key`."""
    return attach_with_kept_keys(engine)


@pytest.fixture
def people(engine: Engine, encryption: Encryption) -> Table:
    """The table, filled."""
    table = people_table()
    table.create(engine)
    with engine.begin() as connection:
        connection.execute(insert(table), ROWS)
    return table


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
