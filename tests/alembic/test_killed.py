"""``alembic upgrade`` as a process of its own, killed in the middle of a re-encryption."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from tests.alembic.project import Clinic, Project
from tests.forked import Command
from tests.servers.backends import Backend
from tests.waiting import PATIENCE, until

ROOT = Path(__file__).parents[2]
ROWS = 240
SLOW = (
    "{'key_store': STORE, 'options': encfields.alembic.Options("
    "batch_rows=20, lease_seconds=1,"
    " rows_per_second=20 if 'SLOWLY' in __import__('os').environ else None)}"
)
"""In a process of its own it takes its time, for whoever kills it."""


def _start(project: Project) -> Command:
    return Command(
        *("-m", "alembic", "-c", str(project.ini), "upgrade", "head"),
        folder=ROOT,
        environment=os.environ | {"SLOWLY": "1"},
        imported=["alembic", "encfields.alembic", "encfields.testing"],
    )


def _rows_written(clinic: Clinic) -> int:
    try:
        with clinic.engine.connect() as connection:
            statement = text("SELECT SUM(rows_written) FROM encfields_ranges")
            return int(connection.execute(statement).scalar() or 0)
    except DBAPIError:
        return 0  # the run has not been recorded yet


def test_the_revision_goes_on_where_it_was(tmp_path: Path, backend: Backend) -> None:
    clinic = Clinic(backend, rows=ROWS)
    before = clinic.read()
    project = Project(tmp_path, backend, settings=SLOW)
    project.revision("op.rotate_branch_key()")
    project.revision("op.reencrypt('patient', ['ssn', 'notes'])")
    project.upgrade("r01")
    process = _start(project)
    try:
        until(lambda: process.has_ended or _rows_written(clinic))
        assert not process.has_ended
    finally:
        process.kill()
    written = _rows_written(clinic)
    assert 0 < written < ROWS
    assert project.version() == "r01"
    assert clinic.read() == before
    project.upgrade()
    assert project.version() == "r02"
    assert clinic.versions("ssn") == clinic.versions("notes") == {clinic.active()}
    assert _rows_written(clinic) == ROWS
    assert clinic.read() == before


def test_interrupted_politely_it_ends_and_says_so(tmp_path: Path, sqlite: Backend) -> None:
    clinic = Clinic(sqlite, rows=ROWS)
    project = Project(tmp_path, sqlite, settings=SLOW)
    project.revision("op.rotate_branch_key()")
    project.revision("op.reencrypt('patient', ['ssn', 'notes'])")
    process = _start(project)
    until(lambda: _rows_written(clinic))
    process.send_signal(signal.SIGTERM)
    process.communicate(PATIENCE)
    assert process.status == 255  # Alembic's code for a CommandError
    assert project.version() == "r01"
