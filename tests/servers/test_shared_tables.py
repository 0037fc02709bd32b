"""Tables that tests share are as they were made, whatever the test before has done to them."""

from __future__ import annotations

import pytest
from sqlalchemy import Column, Integer, LargeBinary, MetaData, Table, insert, inspect, select

from tests.database import Database
from tests.servers.backends import Backend

COUNTED = Table(
    "counted", MetaData(), Column("id", Integer, primary_key=True), Column("value", LargeBinary)
)
BEFORE = [
    "SELECT 1",
    "UPDATE counted SET value = NULL",
    "DELETE FROM counted",
    "DELETE FROM encfields_keys",
    "ALTER TABLE counted ADD COLUMN more INTEGER",
    "CREATE TABLE other (id INTEGER)",
    "CREATE INDEX another ON counted (id)",
    "DROP TABLE encfields_keys",
    "SELECT 2",
]


def _fill(db: Database) -> None:
    with db.begin() as connection:
        connection.execute(insert(COUNTED), {"value": b"first"})


@pytest.fixture
def counted(shared_tables: None, db: Database) -> Database:
    db.share(COUNTED.metadata, ["other"], _fill)
    return db


@pytest.mark.parametrize("change", BEFORE)
def test_a_test_finds_them_as_they_were_made(counted: Database, change: str) -> None:
    assert set(inspect(counted.plain).get_table_names()) == {"counted", "encfields_keys"}
    assert inspect(counted.plain).get_indexes("counted") == []
    message = counted.encryption.seal(b"text", {}, key="other")
    counted.encryption._cache.clear()
    assert counted.encryption.open(message, {}, key="other") == b"text"
    with counted.plain.begin() as connection:
        assert connection.execute(select("*").select_from(COUNTED)).all() == [(1, b"first")]
        added = connection.execute(insert(COUNTED), {"value": b"second"})
        assert added.inserted_primary_key == (2,)
    counted.execute_plain(change)


def test_a_test_that_asks_for_none_finds_an_empty_database(backend: Backend) -> None:
    assert inspect(backend.create_engine()).get_table_names() == []
