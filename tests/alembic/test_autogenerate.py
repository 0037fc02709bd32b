"""What autogenerate makes of encrypted columns: nothing to do, an operation, or a refusal."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import produce_migrations
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.util import CommandError
from sqlalchemy import Column, Index, Integer, MetaData, String, Table, Text, insert, text

from encfields import EncryptedType, attach
from encfields.alembic import MigrationError
from encfields.alembic.operations.refused_or_postponed import RefusedChangeOp
from encfields.bulk.reencryption import Reencryption
from encfields.bulk.rows.spec import TableSpec
from tests.alembic.project import SECRET, Clinic, Project, body_of, declared, patient_table, store
from tests.bulk.support import Clinic as ReencryptClinic
from tests.bulk.test_tables import Base as Tables
from tests.bulk.test_tables import ByPair, fill
from tests.servers.backends import Backend
from tests.turns import databases_by_turns, on_each_database

pytestmark = databases_by_turns


@on_each_database
def test_there_is_nothing_to_do_where_nothing_has_changed(project: Project, clinic: Clinic) -> None:
    """Our own tables are there as well, and are not proposed to be dropped."""
    clinic.encryption.keys.rotate("default")
    spec = TableSpec.from_table(clinic.table)
    Reencryption(clinic.engine, clinic.encryption, spec).record()
    code = project.autogenerate(declared())
    assert "op." not in code
    assert "encfields" not in code
    project.upgrade()
    command.check(project.config)


def test_our_own_tables_are_not_logged_as_removed(
    project: Project, clinic: Clinic, caplog: pytest.LogCaptureFixture
) -> None:
    Reencryption(clinic.engine, clinic.encryption, TableSpec.from_table(clinic.table)).record()
    with caplog.at_level(logging.INFO, "alembic"):
        project.autogenerate(MetaData())
    assert "removed table 'patient'" in caplog.text
    assert "encfields" not in caplog.text


@on_each_database
def test_what_it_writes_makes_the_table_and_leaves_nothing_to_do(
    project: Project, backend: Backend
) -> None:
    attach(backend.create_engine(), store(), create=True)
    code = project.autogenerate(declared())
    assert "op.create_table('patient'" in code
    assert "LONGBLOB" in code
    project.upgrade()
    assert "op." not in project.autogenerate(declared())


@on_each_database
def test_a_column_that_is_added_is_rendered_as_its_bytes(project: Project, clinic: Clinic) -> None:
    metadata = declared()
    metadata.tables["patient"].append_column(Column("phone", EncryptedType(String(20))))
    assert "op.add_column('patient', sa.Column('phone', sa.LargeBinary()" in project.autogenerate(
        metadata
    )
    project.upgrade()
    assert "op." not in project.autogenerate(metadata)


@pytest.mark.parametrize(
    "options, told",
    [
        (
            {"name": "people.ssn"},
            "op.rebind('patient', [SealedColumn('ssn', logical_name='people.ssn')], was=['ssn'])",
        ),
        (
            {"key": "clinical"},
            "op.rebind('patient', [SealedColumn('ssn', key='clinical')], was=['ssn'])",
        ),
        (
            {"bind_to": "number"},
            "op.rebind('patient', [SealedColumn('ssn', bind_to=('number',))], was=['ssn'])",
        ),
        (
            {"key": "tenant/{number}"},
            "op.rebind('patient', [SealedColumn('ssn', key='tenant/{number}')], was=['ssn'])",
        ),
    ],
    ids=["name", "key", "bind_to", "template"],
)
def test_a_changed_binding_becomes_an_operation_that_works(
    project: Project, clinic: Clinic, options: dict[str, Any], told: str
) -> None:
    with clinic.engine.begin() as connection:
        connection.execute(text("ALTER TABLE patient ADD COLUMN number INTEGER"))
        connection.execute(text("UPDATE patient SET number = id % 2"))
    for key_id in ("clinical", "tenant/0", "tenant/1"):
        clinic.encryption.keys.create(key_id)
    metadata = MetaData()
    table = patient_table(metadata, "patient", Column("number", Integer), **options)
    before = [ssn for _, ssn, _ in clinic.read()]
    code = project.autogenerate(metadata)
    assert told in body_of(code)
    assert "from encfields.alembic import SealedColumn" in code
    project.upgrade()
    assert [row.ssn for row in _rows(clinic, table)] == before
    assert "op." not in project.autogenerate(metadata)
    project.downgrade("base")
    assert [ssn for _, ssn, _ in clinic.read()] == before


def _rows(clinic: Clinic, table: Table) -> list[Any]:
    with clinic.engine.connect() as connection:
        return list(connection.execute(table.select().order_by(table.c.id)))


def test_a_key_of_each_tenant_is_told_by_its_template(tmp_path: Path, sqlite: Backend) -> None:
    engine = sqlite.create_engine()
    encryption = attach(engine, store(), create=True)
    tenant = Column("tenant", Integer, nullable=False)
    table = patient_table(MetaData(), "patient", tenant, key="tenant/{tenant}")
    table.create(engine)
    for key_id in ("tenant/0", "tenant/1"):
        encryption.keys.create(key_id)
    with engine.begin() as connection:
        rows = [{"id": n, "tenant": n % 2, "ssn": SECRET} for n in range(6)]
        connection.execute(insert(table), rows)
    metadata = MetaData()
    patient_table(metadata, "patient", Column("tenant", Integer, nullable=False))
    assert (
        "op.rebind('patient', ['ssn'], was=[SealedColumn('ssn', key='tenant/{tenant}')])"
        in body_of(Project(tmp_path, sqlite).autogenerate(metadata))
    )


def test_a_rebinding_waits_for_changes_that_come_first(project: Project, clinic: Clinic) -> None:
    metadata = declared(name="people.ssn")
    metadata.tables["patient"].append_column(Column("more", Integer))
    body = body_of(project.autogenerate(metadata))
    assert "op.add_column" in body
    assert "op.rebind('" not in body
    assert "# encfields - values of patient.ssn are bound otherwise than declared" in body
    project.upgrade()
    assert "op.rebind('patient'" in body_of(project.autogenerate(metadata))
    project.upgrade()
    assert "op." not in project.autogenerate(metadata)


def test_a_table_that_a_run_is_at_work_on_is_not_compared(tmp_path: Path, sqlite: Backend) -> None:
    clinic, project = Clinic(sqlite), Project(tmp_path, sqlite)
    metadata = declared(name="people.ssn")
    spec = TableSpec.from_table(metadata.tables["patient"])
    source = TableSpec.from_table(clinic.table)
    run = Reencryption(clinic.engine, clinic.encryption, spec, source=source)
    run.record()
    assert "op." not in project.autogenerate(metadata, keep=False)
    assert run.run().finished
    assert "op." not in project.autogenerate(metadata, keep=False)


@on_each_database
def test_plaintext_is_not_altered_into_ciphertext(project: Project, backend: Backend) -> None:
    engine = backend.create_engine()
    with engine.begin() as connection:
        connection.execute(
            text("CREATE TABLE patient (id INTEGER NOT NULL PRIMARY KEY, ssn CHAR(9), notes TEXT)")
        )
        connection.execute(text("INSERT INTO patient VALUES (1, '123', 'x')"))
    body = body_of(project.autogenerate(declared()))
    assert "alter_column" not in body
    assert "raise NotImplementedError('patient.ssn, declared encrypted" in body
    assert "adopts=Plaintext(" in body
    with pytest.raises(NotImplementedError, match="declared encrypted"):
        project.upgrade()


def test_applied_without_a_migration_it_is_refused_as_well(sqlite: Backend) -> None:
    with sqlite.create_engine().begin() as connection:
        connection.execute(text("CREATE TABLE patient (id INTEGER PRIMARY KEY, ssn VARCHAR(9))"))
        context = MigrationContext.configure(connection)
        found = produce_migrations(context, declared()).upgrade_ops
        assert found is not None
        refused = [op for op in found.ops if isinstance(op, RefusedChangeOp)]
        with pytest.raises(MigrationError, match="declared encrypted"):
            Operations(context).invoke(refused[0])


@on_each_database
def test_ciphertext_is_not_altered_into_plaintext(project: Project, clinic: Clinic) -> None:
    metadata = MetaData()
    table = patient_table(metadata)
    table.c.ssn.type = String(20)
    body = body_of(project.autogenerate(metadata, keep=False))
    assert "alter_column" not in body
    assert "raise NotImplementedError('patient.ssn, declared String(length=20)" in body
    assert "op.decrypt_column" in body


def _by_number() -> MetaData:
    metadata = MetaData()
    Table(
        "patient",
        metadata,
        Column("number", Integer, primary_key=True, autoincrement=False),
        Column("ssn", EncryptedType(String)),
        Column("notes", EncryptedType(String)),
    )
    return metadata


def test_a_renamed_identity_becomes_a_rebinding_that_works(
    project: Project, clinic: Clinic
) -> None:
    with clinic.engine.begin() as connection:
        connection.execute(text("ALTER TABLE patient RENAME COLUMN id TO number"))
    metadata = _by_number()
    body = body_of(project.autogenerate(metadata))
    was = ", ".join(f"SealedColumn('{n}', context_names=('id',))" for n in ("ssn", "notes"))
    assert f"op.rebind('patient', ['ssn', 'notes'], was=[{was}])" in body
    project.upgrade()
    with clinic.engine.connect() as connection:
        found = metadata.tables["patient"].select().order_by(text("number"))
        assert connection.execute(found).all()[6].ssn == f"{SECRET} 7"
    assert "op." not in project.autogenerate(metadata, keep=False)


def test_an_identity_that_is_gone_is_told(tmp_path: Path, sqlite: Backend) -> None:
    """A column of another name that holds something else is not the old one renamed."""
    clinic, project = Clinic(sqlite), Project(tmp_path, sqlite)
    with clinic.engine.begin() as connection:
        connection.execute(text("ALTER TABLE patient RENAME COLUMN id TO number"))
        connection.execute(text("UPDATE patient SET number = number + 1000"))
    body = body_of(project.autogenerate(_by_number(), keep=False))
    assert "bound to id, which the table no longer has" in body


def test_a_renamed_part_of_a_composite_identity_is_told(tmp_path: Path, sqlite: Backend) -> None:
    """Which of its columns is called otherwise now is not guessed."""
    clinic, project = ReencryptClinic(sqlite, Tables), Project(tmp_path, sqlite)
    fill(clinic, ByPair, rows=5)
    with clinic.engine.begin() as connection:
        connection.execute(text("ALTER TABLE by_pair RENAME COLUMN bed TO place"))
    metadata = MetaData()
    Table(
        "by_pair",
        metadata,
        Column("ward", String(10), primary_key=True),
        Column("place", Integer, primary_key=True, autoincrement=False),
        Column("secret", EncryptedType(String)),
    )
    body = body_of(project.autogenerate(metadata, keep=False))
    assert "bound to ward, bed, which the table no longer has" in body
    assert "context_names= of was=" in " ".join(body.split())


def test_check_fails_while_there_is_something_to_do(tmp_path: Path, sqlite: Backend) -> None:
    Clinic(sqlite)
    project = Project(tmp_path, sqlite)
    project.revision("pass")
    project.upgrade()
    project.config.attributes["metadata"] = declared(name="people.ssn")
    with pytest.raises(CommandError, match="rebind"):
        command.check(project.config)


@on_each_database
def test_other_changes_are_left_to_alembic(project: Project, clinic: Clinic) -> None:
    metadata = declared()
    table = metadata.tables["patient"]
    table.append_column(Column("city", String(20)))
    Index("ix_city", table.c.city)
    Table("visit", metadata, Column("id", Integer, primary_key=True), Column("note", Text))
    body = body_of(project.autogenerate(metadata))
    assert "op.create_index" in body
    assert "op.create_table('visit'" in body
    project.upgrade()
    assert "op." not in project.autogenerate(metadata)
