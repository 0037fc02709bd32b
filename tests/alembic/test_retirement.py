"""``op.retire_branch_key()``: the last of three revisions, after rotation and re-encryption."""

from __future__ import annotations

from pathlib import Path

import pytest

from encfields.errors import ConfigurationError
from tests.alembic.project import Clinic, Project
from tests.servers.backends import Backend

RETIRE = "op.retire_branch_key('default', {'patient': ['ssn', 'notes']}, at_once=True)"


def older(clinic: Clinic) -> list[bool]:
    """Of each version that is not the active one, whether it was wiped."""
    versions = clinic.encryption.keys.list()
    return [one.destroyed_at is not None for one in versions if not one.active]


def test_older_versions_go_once_no_value_is_under_them(project: Project, clinic: Clinic) -> None:
    before = clinic.read()
    project.revision("op.rotate_branch_key()")
    early = project.revision(RETIRE)
    with pytest.raises(ConfigurationError, match=r"patient\.ssn") as caught:
        project.upgrade()
    assert caught.value.reason == "values-left"
    assert older(clinic) == [False]
    project.drop(early)
    project.revision("op.reencrypt('patient', ['ssn', 'notes'])")
    project.revision(RETIRE)
    project.upgrade()
    assert older(clinic) == [True]
    clinic.deploy()
    assert clinic.read() == before


def test_run_again_it_finds_nothing_to_do(tmp_path: Path, sqlite: Backend) -> None:
    project, clinic = Project(tmp_path, sqlite), Clinic(sqlite, rows=1)
    clinic.encryption.keys.rotate("default")
    project.revision("op.reencrypt('patient', ['ssn', 'notes'])")
    project.revision(RETIRE)
    project.upgrade()
    project.downgrade("r01")
    project.upgrade()
    assert older(clinic) == [True]
