"""Values moved to the active key version, or to another binding, by a migration."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, inspect, select, text

from encfields import EncryptedType
from encfields.alembic import MigrationError
from encfields.bulk.errors import UnfinishedError
from encfields.bulk.recorded_runs import work
from encfields.errors import ContextMismatchError
from tests.alembic.project import SECRET, Clinic, Project, patient_table
from tests.servers.backends import Backend
from tests.turns import databases_by_turns, on_each_database

pytestmark = databases_by_turns


@on_each_database
def test_values_are_moved_to_the_active_version_and_stay_what_they_are(
    project: Project, clinic: Clinic
) -> None:
    before = clinic.read()
    project.revision("op.rotate_branch_key()")
    project.revision("op.reencrypt('patient', ['ssn', 'notes'])")
    project.upgrade()
    assert clinic.versions("ssn") == clinic.versions("notes") == {clinic.active()}
    assert clinic.read() == before
    assert project.version() == "r02"


def test_a_description_says_what_is_out_of_the_ordinary(tmp_path: Path, backend: Backend) -> None:
    clinic = Clinic(backend, name="people.ssn")
    project = Project(tmp_path, backend)
    project.revision("op.rotate_branch_key()")
    project.revision("op.reencrypt('patient', [SealedColumn('ssn', 'people.ssn'), 'notes'])")
    project.upgrade()
    assert clinic.versions("ssn") == {clinic.active()}


def test_a_value_that_does_not_open_fails_the_revision_and_is_named(
    project: Project, clinic: Clinic
) -> None:
    clinic.damage(7)
    project.revision("op.rotate_branch_key()")
    project.revision("op.reencrypt('patient', ['ssn', 'notes'])")
    with pytest.raises(MigrationError, match="id=7") as caught:
        project.upgrade()
    assert SECRET not in str(caught.value)
    assert project.version() == "r01"


def test_a_queued_run_is_worked_at_elsewhere_and_ensured_later(
    project: Project, clinic: Clinic
) -> None:
    project.revision("op.rotate_branch_key()")
    project.revision("op.reencrypt('patient', ['ssn', 'notes'], queue=True)")
    project.revision("op.ensure_encrypted('patient', ['ssn', 'notes'])")
    old = clinic.versions()
    project.upgrade("r02")
    assert clinic.versions() == old
    with pytest.raises(UnfinishedError, match="60 values"):
        project.upgrade()
    assert project.version() == "r02"
    (report,) = work(clinic.engine, clinic.encryption)
    assert report.finished
    project.upgrade()
    assert clinic.versions() == {clinic.active()}
    assert project.version() == "r03"


def test_values_are_rebound_after_a_rename_and_back_again(project: Project, clinic: Clinic) -> None:
    before = clinic.read()
    project.revision("op.rename_table('patient', 'person')", "op.rename_table('person', 'patient')")
    now, was = (
        "['ssn', 'notes']",
        "[SealedColumn('ssn', 'patient.ssn'), SealedColumn('notes', 'patient.notes')]",
    )
    project.revision(
        f"op.rebind('person', {now}, was={was})", f"op.rebind('person', {was}, was={now})"
    )
    project.upgrade("r01")
    person = patient_table(MetaData(), "person")
    with pytest.raises(ContextMismatchError):
        clinic.read(person)
    project.upgrade()
    assert clinic.read(person) == before
    project.downgrade("base")
    assert clinic.read() == before


def test_values_are_rebound_to_another_identity(project: Project, clinic: Clinic) -> None:
    before = clinic.read()
    with clinic.engine.begin() as connection:
        connection.execute(text("ALTER TABLE patient ADD COLUMN number INTEGER"))
        connection.execute(text("UPDATE patient SET number = id + 1000"))
    now = "[SealedColumn('ssn', bind_to=('number',)), SealedColumn('notes', bind_to=('number',))]"
    project.revision(f"op.rebind('patient', {now}, was=['ssn', 'notes'])")
    project.upgrade()
    table = Table(
        "patient",
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("number", Integer),
        Column("ssn", EncryptedType(String, bind_to="number")),
        Column("notes", EncryptedType(String, bind_to="number")),
    )
    with clinic.engine.connect() as connection:
        columns = select(table.c.id, table.c.ssn, table.c.notes).order_by(table.c.id)
        assert [tuple(row) for row in connection.execute(columns)] == before


def test_columns_are_decrypted_into_columns_beside_them(project: Project, clinic: Clinic) -> None:
    project.revision("op.add_column('patient', sa.Column('plain', sa.String(100)))")
    project.revision("op.decrypt_column('patient', ['ssn'], into={'ssn': 'plain'})")
    project.upgrade()
    with clinic.engine.connect() as connection:
        found = connection.execute(text("SELECT plain FROM patient ORDER BY id")).scalars().all()
    assert found == [ssn for _, ssn, _ in clinic.read()]


@on_each_database
@pytest.mark.parametrize("before", [0, 1], ids=["in-the-first-revision", "later"])
@pytest.mark.parametrize(
    "preceding",
    [
        "op.add_column('patient', sa.Column('more', sa.Integer))",
        "op.execute('UPDATE patient SET notes = NULL')",
        "op.execute('CREATE TYPE more AS ENUM ()')",
        "op.execute('CREATE SCHEMA more')",
        "op.drop_table('encfields_keys')",
    ],
    ids=["column", "rows", "type", "schema", "drop"],
)
def test_what_precedes_in_the_transaction_is_refused_and_undone(
    tmp_path: Path, postgresql: Backend, preceding: str, before: int
) -> None:
    """Alembic makes its own table in the first revision's transaction, which is no reason to."""
    clinic = Clinic(postgresql)
    project = Project(tmp_path, postgresql)
    for _ in range(before):
        project.revision("pass")
    project.revision(f"{preceding}\nop.reencrypt('patient', ['ssn'])")
    with pytest.raises(MigrationError, match="comes first in its revision") as caught:
        project.upgrade()
    assert caught.value.reason == "not-first"
    catalog = inspect(clinic.engine)
    assert "more" not in {c["name"] for c in catalog.get_columns("patient")}
    assert "more" not in catalog.get_schema_names()
    assert SECRET in {notes for _, _, notes in clinic.read()}


@pytest.mark.parametrize(
    "operation",
    [
        "op.create_branch_key()",
        "op.rotate_branch_key()",
        "op.ensure_encrypted('patient', ['ssn'])",
        "op.rebind('patient', ['ssn'], was=[SealedColumn('ssn', 'x')])",
    ],
)
def test_so_is_a_row_written_before_on_sqlite(
    tmp_path: Path, sqlite: Backend, operation: str
) -> None:
    Clinic(sqlite)
    project = Project(tmp_path, sqlite)
    project.revision(f"op.execute('DELETE FROM patient')\n{operation}")
    with pytest.raises(MigrationError) as caught:
        project.upgrade()
    assert caught.value.reason == "not-first"
    assert project.version() is None


def test_what_follows_in_the_revision_is_run(project: Project, clinic: Clinic) -> None:
    project.revision("pass")
    project.revision(
        """
        op.rotate_branch_key()
        op.reencrypt("patient", ["ssn", "notes"])
        op.add_column("patient", sa.Column("more", sa.Integer))
        """
    )
    project.upgrade()
    assert clinic.versions() == {clinic.active()}
    assert "more" in {c["name"] for c in inspect(clinic.engine).get_columns("patient")}


def test_a_transaction_for_all_revisions_is_refused(tmp_path: Path, postgresql: Backend) -> None:
    Clinic(postgresql)
    project = Project(tmp_path, postgresql, per_migration=False)
    project.revision("op.reencrypt('patient', ['ssn'])")
    with pytest.raises(MigrationError, match="transaction_per_migration=True") as caught:
        project.upgrade()
    assert caught.value.reason == "transaction-per-migration"


@on_each_database
def test_a_transaction_that_is_not_alembics_is_refused(tmp_path: Path, backend: Backend) -> None:
    Clinic(backend)
    project = Project(tmp_path, backend, before="connection.begin()")
    project.revision("op.reencrypt('patient', ['ssn'])")
    with pytest.raises(MigrationError, match="not Alembic's") as caught:
        project.upgrade()
    assert caught.value.reason == "external-transaction"


def test_a_revision_that_was_cut_short_goes_on_where_it_was(
    project: Project, clinic: Clinic
) -> None:
    """The run was recorded and worked at in part; the version number was not written."""
    project.revision("op.rotate_branch_key()")
    project.revision("op.reencrypt('patient', ['ssn', 'notes'])")
    clinic.damage(30)
    project.upgrade("r01")
    with pytest.raises(MigrationError):
        project.upgrade()
    with clinic.engine.begin() as connection:
        connection.execute(text("UPDATE patient SET ssn = NULL WHERE id = 30"))
    project.upgrade()
    assert project.version() == "r02"
    assert clinic.versions("notes") == {clinic.active()}
