"""The CHECK of a guarded column: autogenerate sees it, and a migration makes and removes it."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Column, MetaData, String, inspect, text
from sqlalchemy.exc import DBAPIError

from encfields import EncryptedType, attach
from encfields.alembic import MigrationError
from tests.alembic.project import SECRET, Clinic, Project, declared, patient_table, store
from tests.servers.backends import Backend


def _checks(backend: Backend) -> set[Any]:
    found = inspect(backend.create_engine()).get_check_constraints("patient")
    return {one["name"] for one in found}


def test_a_guard_that_is_declared_is_made_and_one_that_is_not_is_removed(
    project: Project, clinic: Clinic, backend: Backend
) -> None:
    before = clinic.read()
    code = project.autogenerate(declared(guard=True))
    assert "op.create_message_check('patient', 'ssn')" in code
    assert "op.drop_message_check('patient', 'ssn')" in code  # the downgrade
    project.upgrade()
    assert _checks(backend) == {"patient_ssn_is_message"}
    with pytest.raises(DBAPIError, match="_is_message"):
        clinic.damage(1)
    assert clinic.read() == before
    assert "op." not in project.autogenerate(declared(guard=True), keep=False)
    reflected = MetaData()
    reflected.reflect(backend.create_engine(), only=["patient"])
    assert "op." not in project.autogenerate(reflected, keep=False)

    code = project.autogenerate(declared())
    assert "op.drop_message_check('patient', 'ssn')" in code
    project.upgrade()
    assert _checks(backend) == set()
    project.downgrade("-1")
    assert _checks(backend) == {"patient_ssn_is_message"}
    project.downgrade("base")
    assert _checks(backend) == set()
    assert clinic.read() == before


def test_a_naming_convention_makes_no_other_name_of_it(
    project: Project, clinic: Clinic, backend: Backend
) -> None:
    named = MetaData(naming_convention={"ck": "ck__%(table_name)s__%(constraint_name)s"})
    patient_table(named, guard=True)
    project.autogenerate(named)
    project.upgrade()
    assert _checks(backend) == {"patient_ssn_is_message"}
    assert "op." not in project.autogenerate(named, keep=False)
    project.downgrade("base")
    assert _checks(backend) == set()


def test_a_new_table_gets_it_in_the_revision_that_makes_it(
    project: Project, backend: Backend
) -> None:
    attach(backend.create_engine(), store(), create=True)
    code = project.autogenerate(declared(guard=True))
    assert "sa.CheckConstraint" not in code
    project.upgrade()
    assert _checks(backend) == {"patient_ssn_is_message"}
    assert "op." not in project.autogenerate(declared(guard=True), keep=False)
    project.downgrade("base")


def test_a_new_column_gets_it_and_takes_it_along(
    project: Project, clinic: Clinic, backend: Backend
) -> None:
    metadata = declared()
    phone = EncryptedType(String(20), guard=True)
    metadata.tables["patient"].append_column(Column("phone", phone))
    code = project.autogenerate(metadata)
    assert code.index("op.add_column") < code.index("op.create_message_check('patient', 'phone')")
    project.upgrade()
    assert _checks(backend) == {"patient_phone_is_message"}
    code = project.autogenerate(declared())
    assert code.index("op.drop_message_check") < code.index("op.drop_column")
    project.upgrade()
    assert _checks(backend) == set()


def test_plaintext_that_is_there_is_counted_and_the_column_left_as_it_was(
    project: Project, clinic: Clinic, backend: Backend
) -> None:
    clinic.overwrite(3, SECRET.encode())
    clinic.overwrite(4, None)
    project.autogenerate(declared(guard=True))
    with pytest.raises(MigrationError, match="1 values are not messages") as caught:
        project.upgrade()
    assert SECRET not in str(caught.value)
    assert (caught.value.table, caught.value.column) == ("patient", "ssn")
    assert _checks(backend) == set()


def test_triggers_of_the_table_stay(project: Project, backend: Backend) -> None:
    """SQLite makes the table anew, and would forget them."""
    if backend.name != "sqlite":
        pytest.skip("only SQLite's table is made anew")
    clinic = Clinic(backend)
    with clinic.engine.begin() as connection:
        connection.execute(text("CREATE TABLE seen (id INTEGER)"))
        connection.execute(
            text(
                "CREATE TRIGGER see AFTER UPDATE ON patient BEGIN "
                "INSERT INTO seen VALUES (new.id); END"
            )
        )
    project.revision("op.create_message_check('patient', 'ssn')")
    project.upgrade()
    clinic.overwrite(3, None)
    with clinic.engine.connect() as connection:
        assert connection.scalars(text("SELECT id FROM seen")).all() == [3]


def test_a_script_has_it_where_the_database_can_add_it(project: Project, backend: Backend) -> None:
    project.revision("op.create_message_check('patient', 'ssn')")
    if backend.name == "sqlite":
        with pytest.raises(MigrationError, match="run the migration"):
            project.script("head")
        return
    assert "ADD CONSTRAINT patient_ssn_is_message CHECK" in project.script("head")
