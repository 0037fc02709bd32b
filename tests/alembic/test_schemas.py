"""A table in a schema of its own, with its key table beside it."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import MetaData, insert, select, text

from encfields import BlindIndex, SqlKeyStore, attach, keyrings
from encfields.alembic import MigrationError
from encfields.bulk.errors import UnfinishedError
from encfields.message import read_header
from tests.alembic.project import SECRET, WRAPPING_KEY, Project, patient_table
from tests.alembic.scripts import ScriptFailedError, run_script
from tests.servers.backends import Backend

SETTINGS = f"SqlKeyStore(keyrings.local(bytes.fromhex({WRAPPING_KEY.hex()!r})), schema='clinic')"
RUN = "op.reencrypt('patient', ['ssn', 'notes'], schema='clinic')"


@pytest.fixture
def schema(postgresql: Backend) -> Backend:
    with postgresql.create_engine().begin() as connection:
        connection.execute(text("DROP SCHEMA IF EXISTS clinic CASCADE"))
        connection.execute(text("CREATE SCHEMA clinic"))
    return postgresql


def test_values_and_keys_of_a_schema_are_found(tmp_path: Path, schema: Backend) -> None:
    project = Project(tmp_path, schema, settings=SETTINGS)
    project.revision("op.create_encryption_keys_table(schema='clinic')")
    project.revision("op.create_branch_key()")
    project.revision("op.rotate_branch_key()")
    project.revision(RUN)
    project.upgrade("r02")
    engine = schema.create_engine()
    store = SqlKeyStore(keyrings.local(WRAPPING_KEY), schema="clinic")
    attach(engine, store)
    table = patient_table(MetaData(schema="clinic"))
    table.create(engine)
    with engine.begin() as connection:
        connection.execute(insert(table), {"id": 1, "ssn": SECRET, "notes": SECRET})
    project.upgrade("r03")
    script = project.script("r03:r04")
    with pytest.raises(ScriptFailedError, match="another format"):
        run_script(schema, script)
    project.upgrade()
    with engine.connect() as connection:
        stored = connection.execute(text("SELECT ssn FROM clinic.patient")).scalar_one()
        assert read_header(stored).version == store.active("default").version
        assert connection.execute(table.select()).one().ssn == SECRET
        connection.execute(text("UPDATE alembic_version SET version_num = 'r03'"))
        connection.commit()
    run_script(schema, script)
    assert project.version() == "r04"


def test_indexes_of_a_schema_are_filled_and_their_keys_rotated(
    tmp_path: Path, schema: Backend
) -> None:
    project = Project(tmp_path, schema, settings=SETTINGS, options="include_schemas=True")
    engine = schema.create_engine()
    store = SqlKeyStore(keyrings.local(WRAPPING_KEY), schema="clinic")
    encryption = attach(engine, store, create=True)
    before = patient_table(MetaData(schema="clinic"))
    before.create(engine)
    with engine.begin() as connection:
        connection.execute(insert(before), {"id": 1, "ssn": SECRET})
    metadata = MetaData(schema="clinic")
    table = patient_table(metadata, index=BlindIndex())
    project.autogenerate(metadata)
    project.upgrade()
    early = project.revision("op.ensure_blind_index('patient', ['ssn_bidx'], schema='clinic')")
    with pytest.raises(UnfinishedError, match="1 rows not in ssn_bidx"):
        project.upgrade()
    script = project.script(f"{project.version()}:{early}")
    with pytest.raises(ScriptFailedError, match="no blind index"):
        run_script(schema, script)
    project.drop(early)
    code = project.autogenerate(metadata)
    assert "op.fill_blind_index('patient', ['ssn_bidx'], schema='clinic')" in code
    project.upgrade()
    assert "op." not in project.autogenerate(metadata, keep=False)
    with engine.connect() as connection:
        wanted = select(table.c.id).where(table.c.ssn == SECRET)
        assert connection.execute(wanted).scalars().all() == [1]
    encryption.keys.rotate_beacon("default")
    project.revision("op.retire_beacon_key('default', 1)")
    project.config.attributes["metadata"] = metadata
    with pytest.raises(MigrationError, match=r"clinic\.patient\.ssn_bidx"):
        project.upgrade()
