"""A migration that Alembic generates holds no secret, runs by itself, and leaves nothing to do."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import Script
from sqlalchemy import (
    JSON,
    Column,
    Connection,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    insert,
    select,
)

from encfields import EncryptedType, SqlKeyStore, attach, keyrings
from encfields.alembic import render_item
from encfields.engine import engine_encryption
from encfields.testing import assert_absent
from tests.leaks.model import SSN, assert_nothing_shows
from tests.servers.backends import Backend

WRAPPING_KEY = bytes(range(100, 132))

ENVIRONMENT = """
from alembic import context
from encfields.alembic import render_item

attributes = context.config.attributes
context.configure(
    connection=attributes["connection"],
    target_metadata=attributes["metadata"],
    render_item=render_item,
    include_name=lambda name, kind, parents: name not in ("encfields_keys", "alembic_version"),
)
with context.begin_transaction():
    context.run_migrations()
"""


def _metadata() -> MetaData:
    metadata = MetaData()
    Table(
        "patient",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("ssn", EncryptedType(String(11), key="clinical", storage=LargeBinary(4000))),
        Column("notes", EncryptedType(JSON, name="people.notes"), default={"note": SSN}),
    )
    return metadata


class Project:
    """An Alembic environment, and what its ``revision --autogenerate`` writes."""

    def __init__(self, directory: Path, connection: Connection) -> None:
        self.config = Config(stdout=io.StringIO())
        self.config.set_main_option("script_location", str(directory / "migrations"))
        self.config.set_main_option("path_separator", "os")
        self.config.config_file_name = str(directory / "alembic.ini")
        self.metadata = _metadata()
        self.config.attributes.update(connection=connection, metadata=self.metadata)
        command.init(self.config, str(directory / "migrations"))
        (directory / "migrations" / "env.py").write_text(ENVIRONMENT)

    def autogenerate(self) -> Path:
        """The file that was written."""
        script = command.revision(self.config, autogenerate=True)
        assert isinstance(script, Script)
        return Path(script.path)

    def upgrade(self) -> None:
        command.upgrade(self.config, "head")


def test_the_migration_makes_the_table_and_leaves_nothing_to_do(
    backend: Backend, tmp_path: Path
) -> None:
    engine = backend.create_engine()
    attach(engine, SqlKeyStore(keyrings.local(WRAPPING_KEY)), create=True).keys.create("clinical")
    with engine.begin() as connection:
        project = Project(tmp_path, connection)
        assert "create_table" in project.autogenerate().read_text()
        project.upgrade()
        again = project.autogenerate().read_text()
    assert "op." not in again
    table = project.metadata.tables["patient"]
    with engine.begin() as connection:
        connection.execute(insert(table), {"id": 1, "ssn": SSN[:11], "notes": {"x": "y" * 70_000}})
        assert connection.execute(select(table.c.ssn)).scalar_one() == SSN[:11]
        assert connection.execute(select(table.c.notes)).scalar_one() == {"x": "y" * 70_000}


def test_the_migration_holds_no_value_and_no_key(backend: Backend, tmp_path: Path) -> None:
    engine = backend.create_engine()
    encryption = attach(engine, SqlKeyStore(keyrings.local(WRAPPING_KEY)), create=True)
    branch_key = engine_encryption(encryption).active_key("default").material
    with engine.begin() as connection:
        code = Project(tmp_path, connection).autogenerate().read_text()
    assert "patient" in code
    assert_nothing_shows(code)
    assert_absent(WRAPPING_KEY, code)
    assert_absent(branch_key, code)


def test_the_migration_needs_neither_the_model_nor_this_library(
    sqlite: Backend, tmp_path: Path
) -> None:
    with sqlite.create_engine().begin() as connection:
        path = Project(tmp_path, connection).autogenerate()
    blocked = "import sys; sys.modules['encfields'] = None; import runpy"
    done = subprocess.run(
        [sys.executable, "-c", f"{blocked}; runpy.run_path({str(path)!r})"],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert "encfields" not in path.read_text()


@pytest.mark.parametrize("kind, item", [("type", String()), ("server_default", None)])
def test_what_is_not_ours_is_left_to_alembic(kind: str, item: Any) -> None:
    assert render_item(kind, item, None) is False
