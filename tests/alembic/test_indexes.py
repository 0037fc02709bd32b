"""Blind indexes in autogenerate: their columns and indexes come and go as ordinary ones."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Date,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    insert,
    inspect,
    select,
)
from sqlalchemy.exc import IntegrityError

from encfields import BlindIndex, CompoundBlindIndex, EncryptedType, attach
from encfields.errors import CiphertextCopyError
from encfields.index.transforms import casefold, last
from tests.alembic.project import Clinic, Project, body_of, declared, patient_table, store
from tests.servers.backends import Backend

STRICT = "compare_type=True, compare_server_default=True"
BATCH = f"{STRICT}, render_as_batch=True"


def _left(code: str) -> set[str]:
    """The operations of the upgrade, by name."""
    return set(re.findall(r"\bop\.(\w+)", body_of(code)))


KINDS = {
    "sqlite": ("sqlite", STRICT),
    "sqlite-batch": ("sqlite", BATCH),
    "postgresql": ("postgresql", STRICT),
    "mariadb": ("mariadb", STRICT),
}


@pytest.fixture(params=KINDS.values(), ids=list(KINDS))
def strict(tmp_path: Path, request: pytest.FixtureRequest) -> Project:
    """An environment that compares all that Alembic can compare."""
    name, options = request.param
    return Project(tmp_path, request.getfixturevalue(name), options=options)


def _columns(backend: Backend, table: str = "patient") -> set[str]:
    return {c["name"] for c in inspect(backend.create_engine()).get_columns(table)}


def _indexes(backend: Backend, table: str = "patient") -> dict[str | None, bool]:
    """Name of each index, and whether it is unique."""
    found = inspect(backend.create_engine()).get_indexes(table)
    return {one["name"]: bool(one["unique"]) for one in found}


def _rules(backend: Backend, table: str) -> list[Any]:
    """All that this module's tests bring and take."""
    found = inspect(backend.create_engine())
    unique = [rule["column_names"] for rule in found.get_unique_constraints(table)]
    return [_columns(backend, table), _indexes(backend, table), unique]


INDEXED: dict[str, dict[str, Any]] = {
    "full": {"index": BlindIndex()},
    "unique": {"index": BlindIndex(unique=True)},
    "short": {"index": BlindIndex(last(4), bits=12)},
    "several": {"index": [BlindIndex(), BlindIndex(casefold), BlindIndex(last(4), bits=20)]},
    "two-versions": {"index": BlindIndex(versions=(1, 2))},
}


def test_a_table_is_made_with_its_indexes_and_leaves_nothing_to_do(strict: Project) -> None:
    attach(strict.backend.create_engine(), store(), create=True)
    code = strict.autogenerate(declared(**INDEXED["several"]))
    assert "encfields" not in code
    strict.upgrade()
    assert "op." not in strict.autogenerate(declared(**INDEXED["several"]), keep=False)
    names = {"ssn_bidx", "ssn_casefold_bidx", "ssn_last4_bidx"}
    assert names < _columns(strict.backend)
    assert _indexes(strict.backend) == {f"ix_patient_{name}": False for name in names}
    strict.downgrade("base")
    assert not inspect(strict.backend.create_engine()).has_table("patient")


def test_an_index_is_rendered_as_bytes_that_every_database_can_index(
    tmp_path: Path, sqlite: Backend
) -> None:
    code = Project(tmp_path, sqlite).autogenerate(declared(index=BlindIndex()), keep=False)
    assert (
        "sa.Column('ssn_bidx', sa.LargeBinary(length=16)"
        ".with_variant(mysql.VARBINARY(16), 'mysql', 'mariadb'), nullable=True)" in code
    )
    assert "from sqlalchemy.dialects import mysql" in code
    assert (
        "op.create_index(op.f('ix_patient_ssn_bidx'), 'patient', ['ssn_bidx'], unique=False)"
        in (code)
    )


def test_the_order_of_two_versions_changes_nothing_in_the_database(
    tmp_path: Path, sqlite: Backend
) -> None:
    attach(sqlite.create_engine(), store(), create=True)
    project = Project(tmp_path, sqlite)
    project.autogenerate(declared(index=BlindIndex(versions=(1, 2))))
    project.upgrade()
    turned = project.autogenerate(declared(index=BlindIndex(versions=(2, 1))), keep=False)
    assert "op." not in turned


ON_EACH = ["unique", "several"]
"""Of those, what databases have different DDL for."""


@pytest.mark.parametrize(
    "strict, name",
    [
        pytest.param(KINDS[kind], name, id=f"{name}-{kind}")
        for name in INDEXED
        for kind in (KINDS if name in ON_EACH else ["sqlite"])
    ],
    indirect=["strict"],
)
def test_an_index_of_an_existing_column_comes_and_goes(strict: Project, name: str) -> None:
    options = INDEXED[name]
    backend = strict.backend
    clinic = Clinic(backend)
    values, before, rules = clinic.read(), _columns(backend), _indexes(backend)
    strict.autogenerate(declared(**options))
    strict.upgrade()
    assert _left(strict.autogenerate(declared(**options), keep=False)) == {"fill_blind_index"}
    added = _columns(backend) - before
    assert added
    assert added == {c.name for c in patient_table(MetaData(), **options).c} - before
    assert set(_indexes(backend)) == {f"ix_patient_{name}" for name in added}
    assert set(_indexes(backend).values()) == {options is INDEXED["unique"]}
    code = strict.autogenerate(declared())
    assert "drop_column" in body_of(code)
    assert "drop_index" in body_of(code)
    strict.upgrade()
    assert (_columns(backend), _indexes(backend)) == (before, rules)
    strict.downgrade("-1")
    assert _columns(backend) - before == added
    assert set(_indexes(backend)) == {f"ix_patient_{name}" for name in added}
    strict.downgrade("base")
    assert (_columns(backend), _indexes(backend)) == (before, rules)
    assert clinic.read() == values


def _visits(metadata: MetaData, *more: Any) -> Table:
    """Several columns, a compound index, and uniqueness that is moved to an index's column."""
    return Table(
        "visit",
        metadata,
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("clinic", Integer, nullable=False),
        Column("name", EncryptedType(String(40), index=BlindIndex())),
        Column("born", EncryptedType(Date)),
        CompoundBlindIndex("who", ("name", casefold), "born", unique=True),
        UniqueConstraint("clinic", "name", name="uq_visit_name"),
        *more,
    )


def test_compound_indexes_and_moved_constraints_come_and_go(
    tmp_path: Path, backend: Backend
) -> None:
    strict = Project(tmp_path, backend, options=BATCH)  # SQLite adds constraints no other way
    attach(backend.create_engine(), store(), create=True)
    plain = MetaData()
    Table(
        "visit",
        plain,
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("clinic", Integer, nullable=False),
        Column("name", EncryptedType(String(40))),
        Column("born", EncryptedType(Date)),
    )
    strict.autogenerate(plain)
    strict.upgrade()
    before = _rules(backend, "visit")
    indexed = MetaData()
    _visits(indexed)
    strict.autogenerate(indexed)
    strict.upgrade()
    assert "op." not in strict.autogenerate(indexed, keep=False)
    assert {"name_bidx", "who_bidx"} <= _columns(backend, "visit")
    assert _indexes(backend, "visit")["ix_visit_who_bidx"]
    unique = inspect(backend.create_engine()).get_unique_constraints("visit")
    assert ["clinic", "name_bidx"] in [rule["column_names"] for rule in unique]
    strict.downgrade("-1")
    assert _rules(backend, "visit") == before
    strict.upgrade()
    strict.downgrade("base")
    assert not inspect(backend.create_engine()).has_table("visit")


def test_the_database_refuses_duplicates_once_the_migration_has_run(
    strict: Project,
) -> None:
    backend = strict.backend
    clinic = Clinic(backend, rows=1)
    metadata = declared(index=BlindIndex(unique=True))
    strict.autogenerate(metadata)
    strict.upgrade()
    table = metadata.tables["patient"]
    with clinic.engine.begin() as connection:
        connection.execute(insert(table), {"id": 10, "ssn": "twice"})
    with pytest.raises(IntegrityError), clinic.engine.begin() as connection:
        connection.execute(insert(table), {"id": 11, "ssn": "twice"})


DECLARED = """
from sqlalchemy import Column, Integer, MetaData
from encfields import BlindIndex
from tests.alembic.project import patient_table
table = patient_table(MetaData(), "patient", Column("ward", Integer), index=BlindIndex())
"""
ATTACHED = "from encfields import attach; attach(engine, STORE)"
RAW = "connection = connection.execution_options(encfields_raw_copy=True)"


@pytest.mark.parametrize(
    "copied, before",
    [
        ("", "pass"),
        ("", ATTACHED),
        (DECLARED, "pass"),
        (DECLARED, f"{ATTACHED}; {RAW}"),
    ],
    ids=["reflected", "reflected-attached", "declared", "declared-attached"],
)
def test_a_batch_that_alters_another_column_keeps_values_and_indexes(
    tmp_path: Path, sqlite: Backend, copied: str, before: str
) -> None:
    """SQLite copies the whole table: the bytes as they are, opened by nothing."""
    engine = sqlite.create_engine()
    attach(engine, store(), create=True)
    table = patient_table(MetaData(), "patient", Column("ward", Integer), index=BlindIndex())
    table.create(engine)
    with engine.begin() as connection:
        connection.execute(insert(table), [{"id": 1, "ssn": "one"}, {"id": 2, "ssn": "two"}])
        stored = connection.exec_driver_sql("SELECT id, ssn, ssn_bidx FROM patient").all()
    project = Project(tmp_path, sqlite, before=before)
    options = "copy_from=table" if copied else "recreate='always'"
    project.revision(
        f"{copied}\nwith op.batch_alter_table('patient', {options}) as batch:\n"
        "    batch.alter_column('ward', type_=sa.String(9))"
    )
    project.upgrade()
    with engine.connect() as connection:
        found = connection.exec_driver_sql("SELECT id, ssn, ssn_bidx FROM patient").all()
        assert found == stored
        ids = select(table.c.id).where(table.c.ssn == "two")
        assert list(connection.execute(ids).scalars()) == [2]
    # What a column's index=True asks for, Alembic leaves out where it copies a declared table.
    assert set(_indexes(sqlite)) == (set() if copied else {"ix_patient_ssn_bidx"})


def test_an_attached_environment_refuses_to_copy_what_is_declared_encrypted(
    tmp_path: Path, sqlite: Backend
) -> None:
    engine = sqlite.create_engine()
    attach(engine, store(), create=True)
    table = patient_table(MetaData(), "patient", Column("ward", Integer), index=BlindIndex())
    table.create(engine)
    project = Project(tmp_path, sqlite, before=ATTACHED)
    project.revision(
        f"{DECLARED}\nwith op.batch_alter_table('patient', copy_from=table) as batch:\n"
        "    batch.alter_column('ward', type_=sa.String(9))"
    )
    with pytest.raises(CiphertextCopyError, match="encfields_raw_copy"):
        project.upgrade()
