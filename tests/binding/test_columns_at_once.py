"""Columns that are given at once, as ``table.c["id", "name"]``, are read as each by itself."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    delete,
    exists,
    func,
    insert,
    select,
    text,
    type_coerce,
    update,
)
from sqlalchemy.orm import registry

from encfields import BlindIndex, EncryptedType
from encfields.errors import UnsupportedOperationError
from tests.database import Database
from tests.turns import databases_by_turns, on_each_database

pytestmark = databases_by_turns

PEOPLE = Table(
    "people",
    MetaData(),
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("age", Integer),
    Column("name", EncryptedType(String(20), index=BlindIndex())),
    Column("note", EncryptedType(String(20))),
)


@registry(metadata=PEOPLE.metadata).mapped
class Person:
    __table__ = PEOPLE


def at_once(source: Any, *names: str) -> Any:
    return source.c[names]


other = PEOPLE.alias()
of_all = select(PEOPLE).subquery()
BOTH = at_once(PEOPLE, "id", "name")
ALL = [(1, "Ada"), (2, "Bob")]
READ: dict[str, tuple[Any, Any]] = {
    "a SELECT": (select(BOTH), ALL),
    "beside another": (select(PEOPLE.c.age, BOTH), [(30, 1, "Ada"), (40, 2, "Bob")]),
    "one alone": (select(at_once(PEOPLE, "name")), [("Ada",), ("Bob",)]),
    "an alias": (select(at_once(other, "name", "id")), [("Ada", 1), ("Bob", 2)]),
    "a subquery's": (select(at_once(of_all, "id", "name")), ALL),
    "in a subquery": (select(select(BOTH).subquery()), ALL),
    "in a CTE": (select(select(BOTH).cte("found")), ALL),
    "in a UNION": (select(BOTH).union(select(BOTH)), ALL),
    "a look-up": (select(BOTH).where(PEOPLE.c.name == "Bob"), [(2, "Bob")]),
    "DISTINCT": (select(BOTH).distinct(), ALL),
    "GROUP BY": (select(BOTH, func.count()).group_by(PEOPLE.c.id), [(1, "Ada", 1), (2, "Bob", 1)]),
    "in place of others": (select(PEOPLE.c.note).with_only_columns(BOTH), ALL),
    "EXISTS": (select(PEOPLE.c.id).where(exists(at_once(other, "id", "name"))), [(1,), (2,)]),
    "without an index": (select(at_once(PEOPLE, "id", "note")), [(1, "a"), (2, None)]),
    "of a class": (select(at_once(Person.__table__, "id", "name")), ALL),
}


@pytest.fixture
def people(db: Database) -> Database:
    db.create(PEOPLE.metadata)
    with db.begin() as connection:
        rows = [
            {"id": 1, "age": 30, "name": "Ada", "note": "a"},
            {"id": 2, "age": 40, "name": "Bob", "note": None},
        ]
        connection.execute(insert(PEOPLE), rows)
    return db


@on_each_database
@pytest.mark.parametrize("way", READ)
def test_columns_given_at_once_are_selected(way: str, people: Database) -> None:
    statement, rows = READ[way]
    with people.session() as session:
        assert sorted(tuple(row) for row in session.execute(statement)) == rows


@pytest.mark.parametrize("name", ["sqlite", "postgresql"])
def test_columns_given_at_once_are_returned(name: str, request: pytest.FixtureRequest) -> None:
    db = Database(request.getfixturevalue(name))
    db.create(PEOPLE.metadata)
    writes: dict[str, Any] = {
        "insert": insert(PEOPLE).values(id=3, name="Cy"),
        "update": update(PEOPLE).where(PEOPLE.c.id == 3).values(name="Cyd"),
        "delete": delete(PEOPLE).where(PEOPLE.c.name == "Cyd"),
    }
    returned = {}
    with db.begin() as connection:
        for way, write in writes.items():
            returned[way] = connection.execute(write.returning(BOTH)).all()
    assert returned == {"insert": [(3, "Cy")], "update": [(3, "Cyd")], "delete": [(3, "Cyd")]}


def test_a_row_that_has_the_hash_of_another_value_is_left_out(people: Database) -> None:
    with people.begin() as connection:
        connection.execute(text("UPDATE people SET name_bidx = NULL WHERE id = 2"))
        moved = "(SELECT name_bidx FROM (SELECT name_bidx FROM people WHERE id = 1) AS one)"
        connection.execute(text(f"UPDATE people SET name_bidx = {moved} WHERE id = 2"))
    with people.begin() as connection:
        found = connection.execute(select(BOTH).where(PEOPLE.c.name == "Ada")).all()
    assert found == [(1, "Ada")]


REFUSED = {
    "sorted by": select(PEOPLE.c.id).order_by(BOTH),
    "grouped by": select(func.count()).group_by(at_once(PEOPLE, "name")),
    "without the key, DISTINCT": select(at_once(PEOPLE, "age", "name")).distinct(),
    "in a function": select(PEOPLE.c.id).where(
        func.concat(*at_once(PEOPLE, "name", "note")) == "a"
    ),
    "compared": select(PEOPLE.c.id).where(func.row(*BOTH) == func.row(1, "Ada")),
    "sorted within": select(func.row_number().over(order_by=at_once(PEOPLE, "name"))),
}


@pytest.mark.parametrize("way", REFUSED)
def test_columns_given_at_once_are_used_as_little_as_each_by_itself(
    way: str, people: Database
) -> None:
    with people.begin() as connection, pytest.raises(UnsupportedOperationError, match="name"):
        connection.execute(REFUSED[way])


def test_messages_are_read_as_bytes_beside_columns_given_at_once(people: Database) -> None:
    statement = select(BOTH, type_coerce(PEOPLE.c.name, LargeBinary)).order_by(PEOPLE.c.id)
    with people.begin() as connection:
        rows = connection.execute(statement).all()
    assert [tuple(row[:2]) for row in rows] == ALL
    assert all(bytes(row[2]).startswith(b"\x02\x04\x78") for row in rows)
