"""A script of ``--sql`` mode refuses while what no script can do is undone."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, insert, inspect, text

from encfields import EncryptedType, attach
from encfields.alembic import MigrationError
from encfields.bulk.reencryption import Reencryption
from encfields.bulk.rows.spec import TableSpec
from tests.alembic.project import Clinic, Project, patient_table, store
from tests.alembic.scripts import ScriptFailedError, run_script
from tests.servers.backends import Backend

RUN = "op.reencrypt('patient', ['ssn', 'notes'])"


def _at_first_revision(project: Project, operation: str) -> str:
    """A project that is at its first revision; the script of the second."""
    project.revision("pass")
    project.upgrade()
    project.revision(operation)
    return project.script("r01:r02")


@pytest.mark.parametrize("operation", [RUN, RUN.replace("reencrypt", "ensure_encrypted")])
def test_it_refuses_while_values_are_under_another_key_version(
    project: Project, backend: Backend, clinic: Clinic, operation: str
) -> None:
    clinic.encryption.keys.rotate("default")
    script = _at_first_revision(project, operation)
    with pytest.raises(ScriptFailedError, match="ssn, notes: values of another format"):
        run_script(backend, script)
    assert project.version() == "r01"
    Reencryption(clinic.engine, clinic.encryption, TableSpec.from_table(clinic.table)).run()
    run_script(backend, script)
    assert project.version() == "r02"


def test_it_refuses_what_is_no_message_of_ours(
    project: Project, backend: Backend, clinic: Clinic
) -> None:
    script = _at_first_revision(project, RUN)
    for value in (b"plaintext", b"", b"\x02\x04\x78", b"\x01\x03\x78" + bytes(400)):
        clinic.overwrite(7, value)
        with pytest.raises(ScriptFailedError, match="another format"):
            run_script(backend, script)
    clinic.overwrite(7, None)
    run_script(backend, script)
    assert project.version() == "r02"


def test_it_refuses_what_is_bound_under_another_name(
    project: Project, backend: Backend, clinic: Clinic
) -> None:
    was = "[SealedColumn('ssn', 'patient.ssn'), SealedColumn('notes', 'patient.notes')]"
    with clinic.engine.begin() as connection:
        connection.execute(text("ALTER TABLE patient RENAME TO person"))
    script = _at_first_revision(project, f"op.rebind('person', ['ssn', 'notes'], was={was})")
    with pytest.raises(ScriptFailedError, match="re-encrypt"):
        run_script(backend, script)
    now = TableSpec.from_table(patient_table(MetaData(), "person"))
    source = TableSpec("person", TableSpec.from_table(clinic.table).columns)
    Reencryption(clinic.engine, clinic.encryption, now, source=source).run()
    run_script(backend, script)
    assert project.version() == "r02"


def test_it_knows_key_templates_and_other_identities(tmp_path: Path, backend: Backend) -> None:
    engine = backend.create_engine()
    encryption = attach(engine, store(), create=True)
    table = Table(
        "patient",
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("tenant", String(20), nullable=False),
        Column("number", Integer, nullable=False),
        Column("ssn %", EncryptedType(String, key="tenant/{tenant}", bind_to="number")),
    )
    table.create(engine)
    for name in ("a%27b", "c%5Cd"):
        encryption.keys.create(f"tenant/{name}")
    with engine.begin() as connection:
        for name in ("a'b", "c\\d"):
            connection.execute(insert(table), {"tenant": name, "number": 1, "ssn %": "x"})
    project = Project(tmp_path, backend)
    column = "SealedColumn('ssn %', key='tenant/{tenant}', bind_to=('number',))"
    script = _at_first_revision(project, f"op.reencrypt('patient', [{column}])")
    run_script(backend, script)
    assert project.version() == "r02"
    encryption.keys.rotate("tenant/c%5Cd")
    project.revision(f"op.reencrypt('patient', [{column}])")
    with pytest.raises(ScriptFailedError):
        run_script(backend, project.script("r02:r03"))
    project.revision("op.create_branch_key('tenant/a%27b')\nop.create_branch_key('tenant/c%5Cd')")
    project.revision(f"op.reencrypt('patient', [{column.replace('number', 'id')}])")
    with pytest.raises(ScriptFailedError):
        run_script(backend, project.script("r04:r05"))
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'r03'"))
    run_script(backend, project.script("r03:r04"))
    assert project.version() == "r04"


def test_it_refuses_until_a_queued_run_is_recorded(
    project: Project, backend: Backend, clinic: Clinic
) -> None:
    script = _at_first_revision(project, RUN.replace(")", ", queue=True)"))
    # Before the first run of a database there are no tables of runs.
    with pytest.raises(ScriptFailedError, match="is not recorded"):
        run_script(backend, script)
    other, wanted = (TableSpec.of("patient", names) for names in (["ssn"], ["ssn", "notes"]))
    Reencryption(clinic.engine, clinic.encryption, other).run()
    with pytest.raises(ScriptFailedError, match="is not recorded"):
        run_script(backend, script)
    Reencryption(clinic.engine, clinic.encryption, wanted).record()
    run_script(backend, script)
    assert project.version() == "r02"


def test_it_refuses_until_keys_are_made_and_rotated(project: Project, backend: Backend) -> None:
    script = _at_first_revision(project, "op.create_encryption_keys_table()")
    run_script(backend, script)
    assert inspect(backend.create_engine()).has_table("encfields_keys")
    encryption = attach(backend.create_engine(), store())
    project.revision("op.create_branch_key(['clinical', 'other'])")
    script = project.script("r02:r03")
    with pytest.raises(ScriptFailedError, match="no branch key 'clinical'"):
        run_script(backend, script)
    encryption.keys.create("clinical")
    with pytest.raises(ScriptFailedError, match="no branch key 'other'"):
        run_script(backend, script)
    encryption.keys.create("other")
    run_script(backend, script)
    with encryption._engine.begin() as connection:  # type: ignore[union-attr]
        connection.execute(text("UPDATE encfields_keys SET created_at = '2026-01-01 00:00:00'"))
    project.revision("op.rotate_branch_key('clinical')")
    script = project.script("r03:r04")
    with pytest.raises(ScriptFailedError, match="was not rotated since"):
        run_script(backend, script)
    encryption.keys.rotate("clinical")
    run_script(backend, script)
    assert project.version() == "r04"


def test_it_does_not_drop_keys(project: Project, backend: Backend, clinic: Clinic) -> None:
    script = _at_first_revision(project, "op.drop_encryption_keys_table()")
    with pytest.raises(ScriptFailedError, match="holds keys"):
        run_script(backend, script)
    assert inspect(clinic.engine).has_table("encfields_keys")
    project.revision("op.drop_encryption_keys_table(destroy_keys=True)")
    with clinic.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'r02'"))
    run_script(backend, project.script("r02:r03"))
    assert not inspect(backend.create_engine()).has_table("encfields_keys")


def test_it_refuses_until_values_are_decrypted(
    project: Project, backend: Backend, clinic: Clinic
) -> None:
    with clinic.engine.begin() as connection:
        connection.execute(text("ALTER TABLE patient ADD COLUMN plain VARCHAR(100)"))
    operation = "op.decrypt_column('patient', ['ssn'], into={'ssn': 'plain'})"
    script = _at_first_revision(project, operation)
    with pytest.raises(ScriptFailedError, match="ssn: values have no plaintext"):
        run_script(backend, script)
    spec = TableSpec.of("patient", ["ssn"])
    Reencryption(clinic.engine, clinic.encryption, spec, to_plaintext={"ssn": "plain"}).run()
    run_script(backend, script)
    assert project.version() == "r02"


def test_a_script_cannot_be_written_for_keys_that_are_elsewhere(
    tmp_path: Path, sqlite: Backend
) -> None:
    elsewhere = "type('Elsewhere', (), {'active': None, 'version': None, 'table': 'a name'})()"
    project = Project(tmp_path, sqlite, settings=elsewhere)
    project.revision(RUN)
    with pytest.raises(MigrationError, match="run this revision online"):
        project.script("base:r01")
