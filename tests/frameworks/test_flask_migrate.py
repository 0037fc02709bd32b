"""Flask-Migrate with ``--multidb``: ``flask db`` is really run, on two databases."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, inspect, text

from tests import forked
from tests.frameworks.stored import assert_sealed
from tests.servers.backends import Backend

# It starts processes, on a machine that may be busy with other things.
pytestmark = pytest.mark.timeout(600)

APPLICATION = """
import os
import sys

from flask import Flask
from flask.cli import FlaskGroup
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import JSON, String
from sqlalchemy.orm import Mapped, mapped_column

import encfields.alembic
from encfields import BlindIndex, EncryptedType, SqlKeyStore, attach, encryption_of, keyrings

db = SQLAlchemy()
WITH_NOTES = bool(os.environ.get("WITH_NOTES"))


def key_store():
    return SqlKeyStore(keyrings.local(bytes.fromhex(os.environ["WRAPPING_KEY"])))


class Patient(db.Model):
    id: Mapped[int] = mapped_column(primary_key=True)
    ssn: Mapped[str] = mapped_column(EncryptedType(String(11), index=BlindIndex(unique=True)))
    if WITH_NOTES:
        notes: Mapped[dict | None] = mapped_column(EncryptedType(JSON))


class Invoice(db.Model):
    __bind_key__ = "billing"
    id: Mapped[int] = mapped_column(primary_key=True)
    iban: Mapped[str] = mapped_column(EncryptedType())


def create_app():
    app = Flask(__name__)
    app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["CLINIC"]
    app.config["SQLALCHEMY_BINDS"] = {"billing": os.environ["BILLING"]}
    db.init_app(app)
    Migrate(
        app,
        db,
        render_item=encfields.alembic.render_item,
        encfields={"key_store": key_store()},
        transaction_per_migration=True,
    )
    with app.app_context():
        for name in (None, "billing"):
            attach(db.engines[name], key_store())

    @app.cli.command("keys")
    def keys():
        for engine in db.engines.values():
            encryption = encryption_of(engine)
            encryption.keys.create_table()
            encryption.keys.create("default")

    @app.cli.command("write")
    def write():
        db.session.add_all([Patient(ssn="123-45-6789"), Invoice(iban="DE02120300000000202051")])
        db.session.commit()

    @app.cli.command("read")
    def read():
        patient = db.session.scalars(db.select(Patient).filter_by(ssn="123-45-6789")).one()
        print("found", patient.ssn, db.session.scalars(db.select(Invoice)).one().iban)

    return app


if __name__ == "__main__":
    app = create_app()
    for command in sys.argv[1:]:
        result = app.test_cli_runner().invoke(FlaskGroup(create_app=lambda: app), command.split())
        print(result.output, result.exception or "")
        if result.exit_code:
            sys.exit(result.exit_code)
"""

ROWS = "found 123-45-6789 DE02120300000000202051"

REVISION = """
from encfields.alembic import SealedColumn, op

revision = {revision!r}
down_revision = {down!r}


def upgrade(engine_name):
    if engine_name == "billing":
        {operation}


def downgrade(engine_name):
    pass
"""


class Project:
    """A Flask application in a folder, and ``flask db`` in it."""

    def __init__(self, folder: Path, clinic: str, billing: Engine) -> None:
        (folder / "application.py").write_text(APPLICATION)
        self.folder = folder
        self.environment = {
            **os.environ,
            "CLINIC": clinic,
            "BILLING": str(billing.url),
            "WRAPPING_KEY": secrets.token_hex(32),
        }
        self.flask("db init --multidb", "keys")

    def flask(self, *commands: str, fails: bool = False, **environment: str) -> str:
        """Run commands of ``flask`` one after the other, in one process to be quick.

        :returns: what they printed.
        """
        done = forked.run(
            "application.py",
            *commands,
            folder=self.folder,
            environment={**self.environment, **environment},
            imported=("encfields.alembic", "flask_migrate", "flask_sqlalchemy"),
        )
        told = done.stdout + done.stderr
        assert (done.returncode != 0) is fails, told
        return told

    def text_of(self, revision: str) -> str:
        """A revision that was written, its ways up and down for each database."""
        (file,) = self._versions.glob(f"{revision}_*.py")
        return file.read_text()

    def write(self, revision: str, down: str, operation: str) -> None:
        """Write a revision with one operation on the second database."""
        content = REVISION.format(revision=revision, down=down, operation=operation)
        (self._versions / f"{revision}.py").write_text(content)

    @property
    def _versions(self) -> Path:
        return self.folder / "migrations" / "versions"


@pytest.fixture
def billing(tmp_path: Path) -> Iterator[Engine]:
    """The second database."""
    engine = create_engine(f"sqlite:///{tmp_path}/billing.db")
    yield engine
    engine.dispose()


def test_multidb_migrations_are_made_and_run(
    backend: Backend, billing: Engine, tmp_path: Path
) -> None:
    engine = backend.create_engine()
    project = Project(tmp_path, backend.url_text, billing)
    told = project.flask("db migrate --rev-id=first", "db upgrade", "write", "read")
    assert ROWS in told
    first = project.text_of("first")
    assert "mysql.LONGBLOB()" in first  # the column as the database has it
    assert (first.count("create_table"), first.count("encfields_keys")) == (2, 0)
    assert_sealed(engine, "patient", "ssn", "123-45-6789")
    assert_sealed(billing, "invoice", "iban", "DE02120300000000202051")

    told = project.flask("db migrate --rev-id=notes", "db upgrade", "db migrate", WITH_NOTES="1")
    assert "No changes in schema detected" in told
    second = project.text_of("notes")
    assert (second.count("add_column"), second.count("drop_")) == (1, 1)
    assert {"notes", "ssn", "ssn_bidx"} <= _columns(engine)

    assert ROWS in project.flask("db downgrade", "read")
    assert "notes" not in _columns(engine)


def test_operations_that_commit_run_in_the_documented_environment(
    sqlite: Backend, billing: Engine, tmp_path: Path
) -> None:
    project = Project(tmp_path, sqlite.url_text, billing)
    project.flask("db migrate --rev-id=first", "db upgrade", "write")
    project.write("rotated", "first", "op.rotate_branch_key('default')")
    assert "docs/frameworks/flask.md" in project.flask("db upgrade", fails=True)

    _take_documented_environment(tmp_path / "migrations" / "env.py")
    project.write("moved", "rotated", "op.reencrypt('invoice', [SealedColumn('iban')])")
    before = _ibans(billing)
    assert ROWS in project.flask("db upgrade", "read")
    assert _ibans(billing) != before


def _take_documented_environment(env: Path) -> None:
    """Put ``run_migrations_online()`` of the documentation in the place of the template's."""
    document = (Path(__file__).parents[2] / "docs" / "frameworks" / "flask.md").read_text("utf-8")
    start = document.index("def run_migrations_online")
    documented = document[start : document.index("```", start)]
    template = env.read_text()
    before, _, rest = template.partition("def run_migrations_online")
    end = rest.index("if context.is_offline_mode()")
    env.write_text(f"{before}{documented}\n\n{rest[end:]}")


def _ibans(engine: Engine) -> list[bytes]:
    with engine.connect() as connection:
        return [bytes(one) for one in connection.scalars(text("SELECT iban FROM invoice"))]


def _columns(engine: Engine) -> set[str]:
    return {one["name"] for one in inspect(engine).get_columns("patient")}
