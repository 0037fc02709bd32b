"""The key table and keys, made and rotated by a migration."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import inspect

from encfields.alembic import MigrationError
from encfields.errors import ConfigurationError, EncFieldsError
from tests.alembic.project import Project, store
from tests.servers.backends import Backend


def test_a_migration_makes_the_key_table_a_key_and_a_second_version(
    project: Project, backend: Backend
) -> None:
    project.revision("op.create_encryption_keys_table()")
    project.revision("op.create_branch_key('clinical')")
    project.revision("op.rotate_branch_key('clinical')")
    project.upgrade()
    keys = store()
    keys.bind(backend.create_engine())
    versions = keys.list()
    assert [v.id for v in versions] == ["clinical", "clinical"]
    assert [v.active for v in versions].count(True) == 1
    assert keys.active("clinical").version in {v.version for v in versions}


@pytest.mark.parametrize(
    "operation, told",
    [
        ("op.create_encryption_keys_table()", "already has what a statement was to make"),
        ("op.drop_encryption_keys_table('gone')", "does not exist"),
        ("op.drop_message_check('gone', 'ssn')", "has no table gone|does not exist"),
        ("op.begin_adoption('gone', 'ssn')", "the database has no table gone"),
    ],
)
def test_no_drivers_error_leaves_an_operation(project: Project, operation: str, told: str) -> None:
    project.revision("op.create_encryption_keys_table()")
    project.revision(operation)
    with pytest.raises(EncFieldsError, match=told) as caught:
        project.upgrade()
    assert caught.value.__cause__ is caught.value.__context__ is None


def test_the_table_is_the_one_that_the_key_store_looks_for(
    project: Project, backend: Backend
) -> None:
    project.revision("op.create_encryption_keys_table('other_keys', if_not_exists=True)")
    project.upgrade()
    assert inspect(backend.create_engine()).has_table("other_keys")


def test_an_existing_key_is_left_alone_so_that_a_revision_can_run_again(
    project: Project, backend: Backend
) -> None:
    project.revision("op.create_encryption_keys_table()")
    project.revision("op.create_branch_key()")
    project.upgrade()
    project.downgrade("r01")
    project.upgrade()
    keys = store()
    keys.bind(backend.create_engine())
    assert len(keys.list()) == 1


def test_a_key_table_that_holds_keys_is_not_dropped_unless_that_is_said(
    project: Project, backend: Backend
) -> None:
    project.revision("op.create_encryption_keys_table()", "op.drop_encryption_keys_table()")
    project.revision("op.create_branch_key()")
    project.upgrade()
    with pytest.raises(MigrationError, match="destroy_keys=True"):
        project.downgrade("base")
    assert inspect(backend.create_engine()).has_table("encfields_keys")
    project.revision("op.drop_encryption_keys_table(destroy_keys=True)")
    project.upgrade()
    assert not inspect(backend.create_engine()).has_table("encfields_keys")


def test_an_empty_key_table_is_dropped(project: Project, backend: Backend) -> None:
    project.revision("op.create_encryption_keys_table()", "op.drop_encryption_keys_table()")
    project.upgrade()
    project.downgrade("base")
    assert not inspect(backend.create_engine()).has_table("encfields_keys")


@pytest.mark.parametrize("settings", ["None", "{}", "{'options': encfields.alembic.Options()}"])
def test_without_a_key_store_the_error_says_where_to_give_one(
    tmp_path: Path, sqlite: Backend, settings: str
) -> None:
    project = Project(tmp_path, sqlite, settings=settings)
    project.revision("op.create_branch_key()")
    with pytest.raises(ConfigurationError, match="key_store") as caught:
        project.upgrade()
    assert caught.value.reason == "no-key-store"


@pytest.mark.parametrize("settings", ["{'keystore': STORE}", "'a string'"])
def test_settings_that_are_none_are_refused(tmp_path: Path, sqlite: Backend, settings: str) -> None:
    project = Project(tmp_path, sqlite, settings=settings)
    project.revision("op.create_branch_key()")
    with pytest.raises(ConfigurationError) as caught:
        project.upgrade()
    assert caught.value.reason == "settings"


@pytest.mark.parametrize(
    "settings", ["STORE", "encfields.alembic.environment.MigrationSettings(key_store=STORE)"]
)
def test_a_key_store_may_be_given_by_itself(tmp_path: Path, sqlite: Backend, settings: str) -> None:
    project = Project(tmp_path, sqlite, settings=settings)
    project.revision("op.create_encryption_keys_table()")
    project.revision("op.create_branch_key()")
    project.upgrade()
    assert project.version() == "r02"


def test_several_keys_are_made_and_rotated_in_one_operation(
    project: Project, backend: Backend
) -> None:
    project.revision("op.create_encryption_keys_table()")
    project.revision("op.create_branch_key(['tenant/1', 'tenant/2'])")
    project.revision("op.create_branch_key(['tenant/2', 'tenant/3'])")
    project.revision("op.rotate_branch_key(['tenant/1', 'tenant/3'])")
    project.upgrade()
    keys = store()
    keys.bind(backend.create_engine())

    found = Counter(one.id for one in keys.list())
    assert found == {"tenant/1": 2, "tenant/2": 1, "tenant/3": 2}


def test_of_several_keys_those_that_fail_are_named_and_the_others_done(
    tmp_path: Path, sqlite: Backend
) -> None:
    project = Project(tmp_path, sqlite)
    project.revision("op.create_encryption_keys_table()")
    project.revision("op.create_branch_key(['tenant/1', 'a ', 'tenant/2'])")
    with pytest.raises(MigrationError, match=r"'a ' \(a key id is printable text"):
        project.upgrade()
    keys = store()
    keys.bind(sqlite.create_engine())

    assert [one.id for one in keys.list()] == ["tenant/1", "tenant/2"]
