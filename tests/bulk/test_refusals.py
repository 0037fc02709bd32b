"""What a database refuses a row for is named, and the other rows are written."""

from __future__ import annotations

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, insert, select

from encfields import BlindIndex, EncryptedType
from encfields.bulk import Reencryption, TableSpec
from tests.database import Database
from tests.servers.backends import Backend

TRIGGERS = {
    "postgresql": "CREATE TRIGGER closed BEFORE UPDATE ON doc FOR EACH ROW WHEN (OLD.id = 2) "
    "EXECUTE FUNCTION refused()",
    "mariadb": "CREATE TRIGGER closed BEFORE UPDATE ON doc FOR EACH ROW "
    "IF OLD.id = 2 THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'closed'; END IF",
    "sqlite": "CREATE TRIGGER closed BEFORE UPDATE ON doc WHEN OLD.id = 2 "
    "BEGIN SELECT RAISE(ABORT, 'closed'); END",
}
REFUSED = (
    "CREATE FUNCTION refused() RETURNS trigger LANGUAGE plpgsql AS "
    "'BEGIN RAISE EXCEPTION ''closed''; END'"
)


@pytest.mark.parametrize("is_indexed", [False, True])
def test_a_trigger_that_refuses_a_row_is_called_so(backend: Backend, is_indexed: bool) -> None:
    db = Database(backend)
    index = BlindIndex() if is_indexed else None
    sealed = EncryptedType(String(40), name="doc.body", index=index)
    key: Column[int] = Column("id", Integer, primary_key=True, autoincrement=False)
    table = Table("doc", MetaData(), key, Column("body", sealed))
    table.create(db.engine)
    with db.begin() as connection:
        connection.execute(insert(table), [{"id": n, "body": f"b{n}"} for n in range(1, 5)])
    if db.name == "postgresql":
        db.execute_plain(REFUSED)
    db.execute_plain(TRIGGERS[db.backend.family])
    db.encryption.keys.rotate("default")

    report = Reencryption(db.engine, db.encryption, TableSpec.from_table(table)).run()
    assert [(one.key, one.reason) for one in report.quarantined] == [({"id": "2"}, "trigger")]
    assert report.rows_written == 3
    with db.engine.connect() as connection:
        assert len(connection.scalars(select(table.c.body)).all()) == 4
