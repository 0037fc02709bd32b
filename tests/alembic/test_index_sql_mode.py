"""A script of ``--sql`` mode refuses while an index is to be filled, or a beacon key changed."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import text

from encfields import BlindIndex
from encfields.alembic import MigrationError
from encfields.alembic.descriptions import IndexColumn, with_indexes
from encfields.bulk.reencryption import Reencryption
from encfields.bulk.rows.spec import TableSpec
from tests.alembic.project import Clinic, Project
from tests.alembic.scripts import ScriptFailedError, run_script
from tests.servers.backends import Backend

INDEX = IndexColumn("ssn_bidx")


def _script(project: Project, operation: str) -> str:
    """A project that is at its first revision; the script of the second."""
    project.revision("pass")
    project.upgrade()
    project.revision(operation)
    return project.script("r01:r02")


def _indexed(backend: Backend, *, empty: bool = True) -> Clinic:
    clinic = Clinic(backend, index=BlindIndex())
    if empty:
        with clinic.engine.begin() as connection:
            connection.execute(text("UPDATE patient SET ssn_bidx = NULL"))
    return clinic


def _run(clinic: Clinic, *, reindex: bool = False) -> Reencryption:
    spec = with_indexes(TableSpec("patient", ()), [INDEX], reindex=reindex)
    return Reencryption(clinic.engine, clinic.encryption, spec)


@pytest.mark.parametrize(
    "operation",
    [
        "op.fill_blind_index('patient', ['ssn_bidx'])",
        "op.ensure_blind_index('patient', ['ssn_bidx'])",
        "op.reencrypt('patient', ['ssn'], indexes=['ssn_bidx'])",
    ],
    ids=["fill", "ensure", "reencrypt"],
)
def test_it_refuses_while_rows_are_not_in_the_index(
    project: Project, backend: Backend, operation: str
) -> None:
    clinic = _indexed(backend)
    script = _script(project, operation)
    with pytest.raises(ScriptFailedError, match=r"patient\.ssn_bidx: rows have a value but no"):
        run_script(backend, script)
    assert project.version() == "r01"
    assert _run(clinic).run().finished
    run_script(backend, script)
    assert project.version() == "r02"


def test_a_row_without_a_value_needs_no_index(project: Project, backend: Backend) -> None:
    clinic = _indexed(backend)
    with clinic.engine.begin() as connection:
        connection.execute(text("UPDATE patient SET ssn = NULL"))
    run_script(backend, _script(project, "op.fill_blind_index('patient', ['ssn_bidx'])"))
    assert project.version() == "r02"


def test_it_refuses_until_a_queued_filling_is_recorded(project: Project, backend: Backend) -> None:
    clinic = _indexed(backend)
    assert (
        Reencryption(clinic.engine, clinic.encryption, TableSpec.of("patient", ["notes"]))
        .run()
        .finished
    )
    script = _script(project, "op.fill_blind_index('patient', ['ssn_bidx'], queue=True)")
    with pytest.raises(ScriptFailedError, match="is not recorded"):
        run_script(backend, script)
    _run(clinic).record()
    run_script(backend, script)
    assert project.version() == "r02"


@pytest.mark.parametrize("option", ["reindex", "anew"])  # the latter in older migrations
def test_it_refuses_until_a_run_that_recomputes_the_index_has_finished(
    project: Project, backend: Backend, option: str
) -> None:
    """That it is made otherwise, SQL cannot tell; that the run is done, it can."""
    clinic = _indexed(backend, empty=False)
    script = _script(project, f"op.fill_blind_index('patient', ['ssn_bidx'], {option}=True)")
    run = _run(clinic, reindex=True)
    run.record()
    with pytest.raises(ScriptFailedError, match="no run has computed it again since"):
        run_script(backend, script)
    assert run.run().finished
    run_script(backend, script)
    assert project.version() == "r02"


def test_it_refuses_until_the_beacon_key_is_rotated(project: Project, backend: Backend) -> None:
    clinic = Clinic(backend)
    script = _script(project, "op.rotate_beacon_key('default', 2)")
    with pytest.raises(ScriptFailedError, match="'default' has no beacon key version 2"):
        run_script(backend, script)
    clinic.encryption.keys.rotate_beacon("default")
    run_script(backend, script)
    assert project.version() == "r02"


def test_it_refuses_until_the_older_version_is_retired(project: Project, backend: Backend) -> None:
    clinic = Clinic(backend)
    clinic.encryption.keys.rotate_beacon("default")
    script = _script(project, "op.retire_beacon_key('default', 1)")
    with pytest.raises(ScriptFailedError, match="version 1 of 'default' is still in force"):
        run_script(backend, script)
    clinic.encryption.keys.retire_beacon("default", 1, at_once=True)
    run_script(backend, script)
    assert project.version() == "r02"


def test_a_rotation_without_a_number_cannot_be_told_from_none(
    tmp_path: Path, sqlite: Backend
) -> None:
    project = Project(tmp_path, sqlite)
    project.revision("op.rotate_beacon_key()")
    with pytest.raises(MigrationError, match="version=2"):
        project.script("base:r01")
