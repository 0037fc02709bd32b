"""An INSERT is made for what its first row has, and a row's binds may have values of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import (
    Column,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    Uuid,
    bindparam,
    insert,
    select,
)
from sqlalchemy.dialects import mysql, postgresql, sqlite

from encfields import BlindIndex, EncryptedType
from tests.database import Database

# Which early releases of SQLAlchemy 2.0 say of ON CONFLICT and ON DUPLICATE KEY, once in a process.
pytestmark = pytest.mark.filterwarnings("ignore:Class On(Conflict|Duplicate)")

KEYS: dict[str, Callable[[], Column[Any]]] = {
    "a generated key": lambda: Column("id", Integer, primary_key=True),
    "a key by default": lambda: Column("id", Uuid, primary_key=True, default=uuid4),
}


def _table(metadata: MetaData, key: str, *, is_encrypted: bool) -> Table:
    name = "sealed" if is_encrypted else "plain"
    ssn: Any = EncryptedType(index=BlindIndex(unique=True)) if is_encrypted else String(40)
    more = () if is_encrypted else (UniqueConstraint("ssn"),)
    notes: Any = EncryptedType() if is_encrypted else String(40)
    columns = Column("mail", String(40), unique=True), Column("ssn", ssn), Column("notes", notes)
    return Table(name, metadata, KEYS[key](), *columns, *more)


WRITTEN: dict[str, tuple[Callable[[Table], Any], Any]] = {
    "later rows have more": (
        insert,
        [{"mail": "a", "notes": "x"}, {"mail": "b", "notes": "y", "ssn": "taken"}],
    ),
    "later rows have what no column is": (
        insert,
        [{"mail": "a", "notes": "x"}, {"mail": "b", "notes": "y", "other": 1}],
    ),
    "later rows alone have a value": (insert, [{"mail": "a"}, {"mail": "b", "notes": "y"}]),
    "a bind for all rows": (
        lambda t: insert(t).values(notes=bindparam("n")),
        [{"mail": "a", "n": "x"}, {"mail": "b", "n": "y", "ssn": "taken"}],
    ),
    "binds in rows of values": (
        lambda t: insert(t).values(
            [{"mail": "a", "notes": bindparam("x")}, {"mail": "b", "notes": bindparam("y")}]
        ),
        {"x": "1", "y": "2"},
    ),
    "binds of plain columns in rows of values": (
        lambda t: insert(t).values([{"mail": bindparam("m"), "notes": "x"}]),
        {"m": "a"},
    ),
}


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("name", WRITTEN)
def test_rows_are_stored_as_plain_ones_are(db: Database, name: str, key: str) -> None:
    made, given = WRITTEN[name]
    told = _stored(db, key, lambda table: (made(table), given))
    assert told[0] == told[1]


IGNORED: dict[str, Any] = {
    "sqlite": lambda t: sqlite.insert(t).on_conflict_do_nothing(index_elements=["mail"]),
    "postgresql": lambda t: postgresql.insert(t).on_conflict_do_nothing(),
    "mysql": lambda t: insert(t).prefix_with("IGNORE"),
    "mariadb": lambda t: insert(t).prefix_with("IGNORE"),
}


def test_rows_are_skipped_for_what_they_store(db: Database) -> None:
    rows = [
        {"mail": "first", "notes": "x"},
        {"mail": "b", "notes": "y", "ssn": "taken"},
        {"mail": "c", "notes": "z"},
    ]
    made = IGNORED[db.engine.dialect.name]
    told = _stored(db, "a generated key", lambda table: (made(table), rows))
    assert told[0] == told[1]
    assert len(told[0]) == 3


def test_an_upsert_takes_a_bind_for_its_value(db: Database) -> None:
    def upsert(table: Table) -> tuple[Any, Any]:
        kind = {"sqlite": sqlite, "postgresql": postgresql}.get(db.engine.dialect.name)
        made: Any = (kind or mysql).insert(table).values(mail="first", notes=bindparam("n"))
        if kind is None:
            return made.on_duplicate_key_update(notes=made.inserted.notes), {"n": "new"}
        given = {"index_elements": ["mail"], "set_": {"notes": made.excluded.notes}}
        return made.on_conflict_do_update(**given), {"n": "new"}

    told = _stored(db, "a generated key", upsert)
    assert told[0] == told[1] == [("first", "taken", "new")]


def _stored(db: Database, key: str, made: Callable[[Table], tuple[Any, Any]]) -> list[Any]:
    """The rows of an encrypted and of a plain table after a statement."""
    metadata = MetaData()
    tables = [_table(metadata, key, is_encrypted=is_encrypted) for is_encrypted in (True, False)]
    db.create(metadata)
    told = []
    for table in tables:
        with db.begin() as connection:
            connection.execute(insert(table), {"mail": "first", "ssn": "taken", "notes": "old"})
        statement, given = made(table)
        with db.begin() as connection:
            connection.execute(statement, given)
        with db.begin() as connection:
            kept = select(table.c.mail, table.c.ssn, table.c.notes).order_by(table.c.mail)
            told.append([tuple(row) for row in connection.execute(kept)])
    return told
