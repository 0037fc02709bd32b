"""The example's migrations: up, down and up again, on the three databases."""

from __future__ import annotations

import os
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, insert, inspect, select, text
from sqlalchemy.exc import IntegrityError

from encfields import SqlKeyStore, attach, keyrings
from encfields.errors import ContextMismatchError
from encfields.message import read_header
from migrations.clinic import metadata, person
from tests import forked
from tests.servers.backends import Backend
from tests.turns import databases_by_turns, on_each_database

pytestmark = databases_by_turns

ROOT = Path(__file__).parents[2]
PEOPLE = [
    (1, "Ada", "123-45-6789", "allergic to penicillin"),
    (2, "Grace", "987-65-4321", None),
]


class Walk:
    """The example's environment on a database."""

    def __init__(self, backend: Backend, directory: Path) -> None:
        self.backend = backend
        self.key = directory / "clinic.key"
        self.arguments = [f"url={backend.url_text}", f"key={self.key}"]
        ini = str(ROOT / "migrations" / "alembic.ini")
        self.config = Config(ini, cmd_opts=Namespace(x=self.arguments))
        self.config.attributes["quiet"] = True

    def up(self, revision: str = "head") -> None:
        command.upgrade(self.config, revision)

    def down(self, revision: str) -> None:
        command.downgrade(self.config, revision)

    def connect(self) -> Connection:
        engine = self.backend.create_engine()
        attach(engine, SqlKeyStore(keyrings.local(self.key)))
        return engine.connect()

    def people(self) -> list[tuple[Any, ...]]:
        with self.connect() as connection:
            # At once: a cursor left open by a value that does not open would hold SQLite's lock.
            rows = connection.execute(select(person).order_by(person.c.id)).all()
            return [tuple(row) for row in rows]

    def found(self, social: str) -> list[int]:
        """Ids of the persons with a number, by its blind index."""
        with self.connect() as connection:
            return list(
                connection.execute(select(person.c.id).where(person.c.social == social)).scalars()
            )

    def tables(self) -> set[str]:
        return set(inspect(self.backend.create_engine()).get_table_names())

    def key_versions(self, table: str, column: str) -> set[str]:
        with self.backend.create_engine().connect() as connection:
            stored = connection.execute(text(f"SELECT {column} FROM {table}")).scalars()
            return {read_header(bytes(value)).version for value in stored if value is not None}

    def active(self) -> str:
        store = SqlKeyStore(keyrings.local(self.key), engine=self.backend.create_engine())
        return store.active("clinical").version


@pytest.fixture
def walk(backend: Backend, tmp_path: Path) -> Walk:
    return Walk(backend, tmp_path)


@on_each_database
def test_up_down_and_up_again(walk: Walk) -> None:
    walk.up()
    assert walk.people() == PEOPLE
    walk.down("base")
    assert walk.tables().isdisjoint({"patient", "person", "encfields_keys"})
    walk.up()
    assert walk.people() == PEOPLE
    assert walk.found("123-45-6789") == [1]


@on_each_database
def test_each_step_does_what_it_says(walk: Walk) -> None:
    walk.up("0005")
    assert walk.active() not in walk.key_versions("patient", "ssn")
    walk.up("0006")
    assert walk.key_versions("patient", "ssn") == {walk.active()}
    assert walk.key_versions("patient", "notes") == {walk.active()}
    walk.up("0007")
    with pytest.raises(ContextMismatchError) as caught:
        walk.people()
    assert caught.value.found["enc:column"] == "patient.ssn"
    walk.up("0008")
    assert walk.people() == PEOPLE
    walk.up("0009")
    assert walk.found("987-65-4321") == []
    walk.up("0010")
    assert walk.found("987-65-4321") == [2]


def test_a_number_is_refused_the_second_time(walk: Walk) -> None:
    walk.up()
    with walk.connect() as connection, pytest.raises(IntegrityError):
        connection.execute(insert(person), {"id": 3, "name": "Eve", "social": "123-45-6789"})


def test_one_step_down_and_up_again_anywhere(walk: Walk) -> None:
    walk.up()
    for revision in ("0009", "0008", "0007", "0006", "0005", "0004"):
        walk.down(revision)
        walk.up("+1")
        walk.down(revision)
    walk.up()
    assert walk.people() == PEOPLE
    assert walk.found("123-45-6789") == [1]


@on_each_database
def test_at_the_end_the_models_are_what_the_database_holds(walk: Walk) -> None:
    walk.up()
    command.check(walk.config)
    assert metadata.tables.keys() <= walk.tables()


def test_alembics_own_command_runs_it(sqlite: Backend, tmp_path: Path) -> None:
    walk = Walk(sqlite, tmp_path)
    options = [part for argument in walk.arguments for part in ("-x", argument)]

    def run(*arguments: str) -> str:
        done = forked.run(
            *("-m", "alembic", "-c", "migrations/alembic.ini", *options, *arguments),
            folder=ROOT,
            environment=os.environ | {"PYTHONPATH": _path()},
            imported=["alembic", "encfields.alembic"],
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    told = run("upgrade", "head")
    assert "patient: 2 rows written" in told
    assert "person: 2 rows written" in told
    assert "0010 (head)" in run("current")
    assert walk.people() == PEOPLE
    assert "123-45-6789" not in told


def _path() -> str:
    inherited = os.environ.get("PYTHONPATH")
    return os.pathsep.join(filter(None, [inherited, str(ROOT / "src")]))
