"""REPEATABLE READ on MySQL and MariaDB: a transaction's first SELECT settles what it sees.

It is the application's own SELECT that does, and not one of ours after a write.
"""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Integer,
    MetaData,
    String,
    Table,
    insert,
    select,
    text,
    update,
)

from encfields import EncryptedType
from tests.database import Database
from tests.turns import databases_by_turns

pytestmark = databases_by_turns

metadata = MetaData()
note = Table(
    "note",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("title", String(20)),
    Column("body", EncryptedType(String)),
)
ROWS = [{"body": "one"}, {"body": "two"}, {"body": "three"}]
WRITES: dict[str, tuple[Any, ...]] = {
    "UPDATE": (update(note).where(note.c.id == 1).values(body="b"),),
    "INSERT of one row": (insert(note).values(body="b"),),
    "INSERT of many rows": (insert(note), ROWS),
    "INSERT of many rows' values": (insert(note).values(ROWS),),
}


@pytest.fixture(params=["no trigger", "a trigger"])
def notes(request, mariadb) -> Database:
    """Two notes, in a table that nobody has written to through this engine."""
    database = Database(mariadb)
    database.create(metadata)
    if request.param == "a trigger":
        with database.begin() as connection:
            connection.execute(
                text(
                    "CREATE TRIGGER titled BEFORE INSERT ON note FOR EACH ROW "
                    "SET NEW.title = COALESCE(NEW.title, 'none')"
                )
            )
    with database.begin() as connection:
        rows = "INSERT INTO note (id, title) VALUES (1, 'a'), (2, 'b')"
        connection.execute(text(rows))
    return database


@pytest.mark.parametrize("write", WRITES)
def test_what_others_commit_after_a_write_is_seen(notes, write):
    theirs = insert(note).values(id=1000, title="theirs", body="theirs")
    with notes.begin() as connection:
        connection.execute(*WRITES[write])
        with notes.begin() as other:
            other.execute(text("SET innodb_lock_wait_timeout = 1"))
            other.execute(theirs)
        found = connection.scalars(select(note.c.body).where(note.c.id == 1000)).all()
    assert found == ["theirs"]


def test_rows_are_looked_at_where_a_schema_is_translated(mariadb):
    database = Database(mariadb)
    elsewhere = note.to_metadata(MetaData(), schema="elsewhere")
    engine = database.engine.execution_options(schema_translate_map={"elsewhere": None})
    with engine.begin() as connection:
        elsewhere.metadata.create_all(connection)
        connection.execute(insert(elsewhere).values(ROWS))
        connection.execute(update(elsewhere).where(elsewhere.c.id == 1).values(body="b"))
        bodies = connection.scalars(select(elsewhere.c.body).order_by(elsewhere.c.id)).all()
    assert bodies == ["b", "two", "three"]


def test_other_transactions_rows_are_not_waited_for_where_the_identity_is_no_key(mariadb):
    database = Database(mariadb)
    numbered = Table(
        "numbered",
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("number", Integer),
        Column("body", EncryptedType(String, bind_to="number")),
    )
    database.create(numbered.metadata)
    database.execute_plain(
        "CREATE TRIGGER touched BEFORE INSERT ON numbered FOR EACH ROW SET NEW.id = NEW.id"
    )
    with database.begin() as connection, database.begin() as other:
        other.execute(text("SET innodb_lock_wait_timeout = 1"))
        for number, writer in enumerate((connection, other)):
            writer.execute(insert(numbered).values(number=number, body="b"))
    with database.begin() as connection:
        assert connection.scalars(select(numbered.c.body)).all() == ["b", "b"]
