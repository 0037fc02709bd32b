"""An ``env.py`` with an asyncio driver, as ``alembic init -t async`` writes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from encfields.errors import ConfigurationError
from tests.alembic.project import Clinic, Project
from tests.servers.backends import Backend

ENVIRONMENT = """
import asyncio

from alembic import context
from sqlalchemy import create_engine, pool
from sqlalchemy.ext.asyncio import create_async_engine

import encfields.alembic
from encfields import SqlKeyStore, keyrings


def run(connection):
    store = SqlKeyStore(keyrings.local(bytes(range(32))))
    context.configure(
        connection=connection,
        transaction_per_migration=True,
        encfields={{"key_store": store, **{more}}},
    )
    with context.begin_transaction():
        context.run_migrations()


async def run_async():
    engine = create_async_engine({url!r}, poolclass=pool.NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(run)
    await engine.dispose()


asyncio.run(run_async())
"""

DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}


def _project(tmp_path: Path, backend: Backend, *, more: str) -> Project:
    project = Project(tmp_path, backend)
    url = backend.url.set(drivername=DRIVERS[backend.name])
    code = ENVIRONMENT.format(url=url.render_as_string(hide_password=False), more=more)
    (tmp_path / "scripts" / "env.py").write_text(code)
    project.revision("op.rotate_branch_key()")
    project.revision("op.reencrypt('patient', ['ssn', 'notes'])")
    return project


@pytest.mark.parametrize("server", DRIVERS)
def test_runs_work_on_a_plain_engine_that_is_given(
    tmp_path: Path, server: str, request: pytest.FixtureRequest
) -> None:
    backend: Backend = request.getfixturevalue(server)
    clinic = Clinic(backend)
    more = f"{{'engine': create_engine({backend.url_text!r}, poolclass=pool.NullPool)}}"
    project = _project(tmp_path, backend, more=more)
    project.upgrade()
    assert clinic.versions() == {clinic.active()}
    assert project.version() == "r02"


def test_without_one_the_error_says_how_to_give_it(tmp_path: Path, sqlite: Backend) -> None:
    Clinic(sqlite)
    project = _project(tmp_path, sqlite, more="{}")
    with pytest.raises(ConfigurationError, match="create_engine") as caught:
        project.upgrade()
    assert caught.value.reason == "async-engine"
