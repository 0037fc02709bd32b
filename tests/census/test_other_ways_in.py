"""A census through an asyncio driver, of a partitioned table, and of tables of another schema."""

from __future__ import annotations

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, Text, insert, text

from encfields import EncryptedType
from encfields.bulk.rows.spec import TableSpec
from encfields.bulk.survey.census import census
from encfields.bulk.survey.verify import verify
from encfields.testing import attach_locally, attach_locally_async
from tests.census.clinic import SECRET, fill, patient_table
from tests.servers.backends import AsyncBackend, Backend


async def test_an_asyncio_connection_gives_its_synchronous_side(async_backend: AsyncBackend):
    engine = async_backend.create_engine()
    encryption = await attach_locally_async(engine)
    table = patient_table()
    spec = TableSpec.from_table(table)
    rows = [{"id": i, "ssn": SECRET, "notes": None} for i in range(1, 501)]
    async with engine.begin() as connection:
        await connection.run_sync(table.create)
        await connection.execute(insert(table), rows)
    async with engine.connect() as connection:
        told = await connection.run_sync(lambda sync: census(sync, spec, batch_rows=200))
        drawn = await connection.run_sync(lambda sync: census(sync, spec, sample=100))
        opened = await connection.run_sync(lambda sync: verify(sync, encryption, spec))
    ssn, notes = told.columns
    assert (ssn.versions.total(), notes.nulls) == (500, 500)
    assert drawn.sample is not None
    assert drawn.rows == drawn.columns[0].versions.total() < 400
    assert (opened.opened, opened.failures) == (500, [])


@pytest.mark.parametrize("name", ["postgresql", "mariadb"])
def test_a_partitioned_table(request: pytest.FixtureRequest, name: str):
    backend: Backend = request.getfixturevalue(name)
    engine = backend.create_engine()
    attach_locally(engine)
    binary = "BYTEA" if name == "postgresql" else "BLOB"
    head = (
        f"CREATE TABLE patient (id INT PRIMARY KEY, name VARCHAR(9), ssn {binary}, notes {binary})"
    )
    with engine.begin() as connection:
        if name == "postgresql":
            connection.execute(text(f"{head} PARTITION BY RANGE (id)"))
            for low in (0, 100):
                connection.execute(
                    text(
                        f"CREATE TABLE patient_{low} PARTITION OF patient "
                        f"FOR VALUES FROM ({low}) TO ({low + 100})"
                    )
                )
        else:
            connection.execute(
                text(
                    f"{head} PARTITION BY RANGE (id) (PARTITION a VALUES LESS THAN (100), "
                    "PARTITION b VALUES LESS THAN (200))"
                )
            )
    table = patient_table()
    fill(engine, table, range(1, 200))
    told = census(engine, TableSpec.from_table(table), batch_rows=30)
    assert told.columns[0].versions.total() == 199
    drawn = census(engine, TableSpec.from_table(table), sample=50)
    assert drawn.sample is not None
    assert 0 < drawn.columns[0].versions.total() < 199


def test_a_table_of_another_schema(postgresql: Backend):
    engine = postgresql.create_engine()
    attach_locally(engine)
    table = Table(
        "patient", MetaData(schema="Clinic One"), Column("id", Integer, primary_key=True),
        Column("ssn", EncryptedType(String)), Column("notes", Text),
    )  # fmt: skip
    with engine.begin() as connection:
        connection.execute(text('CREATE SCHEMA "Clinic One"'))
    table.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(insert(table), [{"ssn": SECRET} for _ in range(100)])
    try:
        told = census(engine, TableSpec.from_table(table))
        assert told.table == "Clinic One.patient"
        assert told.columns[0].versions.total() == 100
        assert census(engine, TableSpec.from_table(table), sample=50).sample is not None
    finally:
        with engine.begin() as connection:
            connection.execute(text('DROP SCHEMA "Clinic One" CASCADE'))
