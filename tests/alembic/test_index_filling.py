"""Rows that were there before an index: autogenerate has them filled, and the operation does it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import produce_migrations
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Column, Date, Engine, Integer, MetaData, String, Table, insert, select, text

from encfields import BlindIndex, CompoundBlindIndex, EncryptedType, attach
from encfields.alembic import MigrationError
from encfields.alembic.operations.refused_or_postponed import PostponedFillOp
from encfields.bulk.errors import UnfinishedError
from encfields.bulk.recorded_runs import work
from encfields.index.transforms import casefold, last
from encfields.testing import assert_absent
from tests.alembic.project import SECRET, Clinic, Project, body_of, declared, store
from tests.crossed import crossed
from tests.servers.backends import Backend
from tests.turns import databases_by_turns, on_each_database

pytestmark = databases_by_turns


def _found(clinic: Clinic, metadata: MetaData, value: str) -> Sequence[int]:
    """Ids of the rows with a value, by the index."""
    table = metadata.tables["patient"]
    with clinic.engine.connect() as connection:
        wanted = select(table.c.id, table.c.ssn).where(table.c.ssn == value)
        return connection.execute(wanted).scalars().all()


@on_each_database
def test_rows_that_were_there_are_indexed_in_a_revision_of_its_own(
    project: Project, clinic: Clinic
) -> None:
    metadata = declared(index=BlindIndex())
    body = body_of(project.autogenerate(metadata))
    assert "op.add_column('patient', sa.Column('ssn_bidx'" in body
    assert "\n    #     op.fill_blind_index('patient', ['ssn_bidx'])\n" in body
    project.upgrade()
    assert _found(clinic, metadata, f"{SECRET} 7") == []
    code = project.autogenerate(metadata)
    assert "\n    op.fill_blind_index('patient', ['ssn_bidx'])\n" in body_of(code)
    assert "pass" in body_of(code, "downgrade")
    project.upgrade()
    assert _found(clinic, metadata, f"{SECRET} 7") == [7]
    assert "op." not in project.autogenerate(metadata, keep=False)
    project.downgrade("base")
    project.upgrade()
    assert _found(clinic, metadata, f"{SECRET} 7") == [7]


CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "transform": (
        {"index": BlindIndex(name="main")},
        {"index": BlindIndex(casefold, name="main")},
        "[IndexColumn('ssn_main_bidx', of='ssn', transform='casefold')]",
    ),
    "shorter": (
        {"index": BlindIndex()},
        {"index": BlindIndex(bits=32)},
        "[IndexColumn('ssn_bidx', bits=32)]",
    ),
    "longer": (
        {"index": BlindIndex(bits=32)},
        {"index": BlindIndex(bits=256)},
        "[IndexColumn('ssn_bidx', bits=256)]",
    ),
    "bits-of-a-byte": (
        {"index": BlindIndex(bits=16)},
        {"index": BlindIndex(bits=10)},
        "[IndexColumn('ssn_bidx', bits=10)]",
    ),
    "domain": (
        {"index": BlindIndex()},
        {"index": BlindIndex(domain="people")},
        "[IndexColumn('ssn_bidx', domain='people')]",
    ),
    "key": (
        {"index": BlindIndex()},
        {"index": BlindIndex(key="clinical")},
        "[IndexColumn('ssn_bidx', key='clinical')]",
    ),
}


@pytest.mark.parametrize(
    "backend, change", crossed(CHANGES, ["shorter", "longer"]), indirect=["backend"]
)
def test_an_index_that_is_made_otherwise_is_made_anew(
    project: Project, backend: Backend, change: str
) -> None:
    before, after, told = CHANGES[change]
    clinic = Clinic(backend, **before)
    clinic.encryption.keys.create("clinical")
    metadata = declared(**after)
    code = project.autogenerate(metadata)
    if "alter_column" in body_of(code):  # MariaDB, which counts the bytes
        assert "#     op.fill_blind_index(" in body_of(code)
        project.upgrade()
        code = project.autogenerate(metadata)
    assert f"\n    op.fill_blind_index('patient', {told}, reindex=True)\n" in body_of(code)
    assert "from encfields.alembic import IndexColumn\n" in code
    project.upgrade()
    assert _found(clinic, metadata, f"{SECRET} 7") == [7]
    if "alter_column" in (body := body_of(project.autogenerate(metadata, keep=False))):
        assert "fill_blind_index" not in body
        project.autogenerate(metadata)
        project.upgrade()
    assert "op." not in project.autogenerate(metadata, keep=False)
    assert _found(clinic, metadata, f"{SECRET} 7") == [7]


def test_without_keys_only_what_the_bytes_tell_is_compared(
    tmp_path: Path, sqlite: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    Clinic(sqlite, index=BlindIndex())
    project = Project(tmp_path, sqlite, settings="{}")
    assert "op." not in project.autogenerate(declared(index=BlindIndex()), keep=False)
    assert "nor indexes compared" in caplog.text
    assert "op." not in project.autogenerate(declared(index=BlindIndex(domain="x")), keep=False)
    assert "reindex=True" in project.autogenerate(declared(index=BlindIndex(bits=32)), keep=False)
    assert SECRET not in caplog.text


def _visits(metadata: MetaData, *more: Any) -> Table:
    return Table(
        "visit",
        metadata,
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("tenant", Integer, nullable=False),
        Column("name", EncryptedType(String(40), key="tenant/{tenant}", name="who")),
        Column("born", EncryptedType(Date, key="tenant/{tenant}")),
        *more,
    )


def _stored(engine: Engine) -> dict[int, bytes | None]:
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT id, who_bidx FROM visit")).all()
        return {row[0]: None if row[1] is None else bytes(row[1]) for row in rows}


def test_an_index_of_several_columns_under_a_key_of_each_tenant_is_filled(
    project: Project, backend: Backend
) -> None:
    engine = backend.create_engine()
    attach(engine, store(), create=True)
    day = dt.date(1815, 12, 10)
    rows = [{"id": n, "tenant": n % 2, "name": f"Ada {n}", "born": day} for n in range(6)]
    before = _visits(MetaData())
    before.create(engine)
    with engine.begin() as connection:
        connection.execute(insert(before), rows)
        connection.execute(insert(before), {"id": 9, "tenant": 1, "name": "Bob"})
    metadata = MetaData()
    table = _visits(metadata, CompoundBlindIndex("who", ("name", casefold), "born"))
    project.autogenerate(metadata)
    project.upgrade()
    told = (
        "op.fill_blind_index('visit', [IndexColumn('who_bidx', of=('name', 'born'), "
        "transform=('casefold', 'exact'))], columns=[SealedColumn('name', logical_name='who', "
        "key='tenant/{tenant}'), SealedColumn('born', key='tenant/{tenant}')])"
    )
    assert told in body_of(project.autogenerate(metadata))
    project.upgrade()
    assert "op." not in project.autogenerate(metadata, keep=False)
    filled = _stored(engine)
    assert filled.pop(9) is None
    assert None not in filled.values()
    written = _visits(MetaData(), CompoundBlindIndex("who", ("name", casefold), "born"))
    with engine.begin() as connection:
        connection.execute(table.delete())
        connection.execute(insert(written), rows)
    assert _stored(engine) == filled


def test_a_rebinding_makes_the_indexes_anew_that_depend_on_it(
    project: Project, backend: Backend
) -> None:
    clinic = Clinic(backend, index=[BlindIndex(), BlindIndex(last(4), bits=32)])
    indexes = [BlindIndex(), BlindIndex(last(4), bits=32)]
    metadata = declared(name="people.ssn", index=indexes)
    body = body_of(project.autogenerate(metadata))
    assert (
        "op.rebind('patient', [SealedColumn('ssn', logical_name='people.ssn')], was=['ssn'], "
        "indexes=['ssn_bidx', IndexColumn('ssn_last4_bidx', of='ssn', transform='last4', bits=32)])"
        in body
    )
    project.upgrade()
    assert _found(clinic, metadata, f"{SECRET} 7") == [7]
    assert "op." not in project.autogenerate(metadata, keep=False)
    project.downgrade("base")
    before = declared(index=indexes)
    assert _found(clinic, before, f"{SECRET} 7") == [7]


def test_a_queued_filling_is_ensured_later(project: Project, clinic: Clinic) -> None:
    metadata = declared(index=BlindIndex())
    project.autogenerate(metadata)
    project.upgrade()
    queued = project.revision("op.fill_blind_index('patient', ['ssn_bidx'], queue=True)")
    project.upgrade()
    project.revision("op.ensure_blind_index('patient', ['ssn_bidx'])")
    with pytest.raises(UnfinishedError, match="still working on ssn_bidx"):
        project.upgrade()
    assert project.version() == queued
    (report,) = work(clinic.engine, clinic.encryption)
    assert report.finished
    with clinic.engine.begin() as connection:
        connection.execute(text("UPDATE patient SET ssn_bidx = NULL WHERE id IN (3, 5)"))
    with pytest.raises(UnfinishedError, match="2 rows not in ssn_bidx") as caught:
        project.upgrade()
    assert (caught.value.table, caught.value.column) == ("patient", "ssn_bidx")
    with clinic.engine.begin() as connection:
        connection.execute(text("UPDATE patient SET ssn = NULL WHERE id IN (3, 5)"))
    project.upgrade()
    assert _found(clinic, metadata, f"{SECRET} 7") == [7]


@on_each_database
def test_duplicates_of_a_unique_index_are_named_by_their_rows(
    project: Project, backend: Backend
) -> None:
    clinic = Clinic(backend, rows=3)
    plain = clinic.table
    with clinic.engine.begin() as connection:
        connection.execute(insert(plain), [{"id": n, "ssn": SECRET} for n in (70, 80)])
    metadata = declared(index=BlindIndex(unique=True))
    project.autogenerate(metadata)
    project.upgrade()
    at = project.autogenerate(metadata)
    assert "op.fill_blind_index('patient', ['ssn_bidx'])" in at
    with pytest.raises(MigrationError, match=r"ssn_bidx of id=(70|80)") as caught:
        project.upgrade()
    assert_absent(SECRET, str(caught.value))
    assert _found(clinic, metadata, f"{SECRET} 2") == [2]
    with clinic.engine.begin() as connection:
        connection.execute(plain.delete().where(plain.c.id == 80))
    project.upgrade()
    assert _found(clinic, metadata, SECRET) == [70]


@on_each_database
def test_a_column_that_is_added_with_its_index_needs_no_filling(
    project: Project, clinic: Clinic
) -> None:
    """No row has a value in it."""
    metadata = declared()
    metadata.tables["patient"].append_column(
        Column("phone", EncryptedType(String(20), index=BlindIndex()))
    )
    body = body_of(project.autogenerate(metadata))
    assert "'phone_bidx'" in body
    assert "fill_blind_index" not in body
    project.upgrade()
    assert "op." not in project.autogenerate(metadata, keep=False)


def test_applied_without_a_migration_the_filling_is_only_announced(
    clinic: Clinic, caplog: pytest.LogCaptureFixture
) -> None:
    with clinic.engine.connect() as connection:
        context = MigrationContext.configure(connection)
        found = produce_migrations(context, declared(index=BlindIndex())).upgrade_ops
        assert found is not None
        (postponed,) = [op for op in found.ops if isinstance(op, PostponedFillOp)]
        Operations(context).invoke(postponed)
        Operations(context).invoke(postponed.reverse())
    assert "blind indexes are still to be filled" in caplog.text
