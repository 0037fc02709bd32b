"""An UPDATE whose WHERE can hold for no row updates none, as one of plain columns does."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Integer,
    MetaData,
    String,
    Table,
    TypeDecorator,
    bindparam,
    false,
    insert,
    select,
    update,
)

from encfields import BlindIndex, EncryptedType
from encfields.errors import AmbiguousRowError
from tests.binding.models import Card, Seat
from tests.database import CANARY, Database
from tests.turns import databases_by_turns, on_each_database

pytestmark = databases_by_turns

card: Any = Card.__table__
seat: Any = Seat.__table__

OF_NO_ROW = {
    "key == None": lambda: Card.id == None,  # noqa: E711
    "key IS NULL": lambda: Card.id.is_(None),
    "a list without a value": lambda: Card.id.in_([]),
    "a list of NULL": lambda: Card.id.in_([None]),
    "false": false,
    "beside another condition": lambda: (Card.id == None) & (Card.holder == "holder-1"),  # noqa: E711
    "an empty list of another column": lambda: Card.holder.in_([]),
}


@on_each_database
@pytest.mark.parametrize("criterion", OF_NO_ROW.values(), ids=OF_NO_ROW.keys())
def test_an_update_of_no_row_changes_nothing(cards, criterion):
    before = cards.rows(card)
    with cards.session() as session:
        loaded = session.get_one(Card, 1)
        assert session.execute(update(Card).where(criterion()).values(number="new")).rowcount == 0
        assert session.query(Card).filter(criterion()).update({"number": "new"}) == 0
        assert loaded.number == "number-1"
        session.commit()
    assert cards.rows(card) == before


@on_each_database
def test_a_bind_of_the_key_may_be_null(cards):
    statement = update(card).where(card.c.id == bindparam("k")).values(number=bindparam("v"))
    with cards.begin() as connection:
        assert connection.execute(statement, {"k": None, "v": "new"}).rowcount == 0
        rows = [{"k": None, "v": "none"}, {"k": 2, "v": "two"}, {"k": None, "v": None}]
        connection.execute(statement, rows)
        numbers = connection.scalars(select(card.c.number).order_by(card.c.id)).all()
    assert numbers == ["number-1", "two", "number-3"]


def test_a_part_of_the_key_may_be_null(shop):
    with shop.begin() as connection:
        connection.execute(seat.insert().values(hall="A", number=1, guest="g"))
        halls: tuple[Any, ...] = (None, bindparam("hall", None))
        for hall in halls:
            statement = update(seat).where(seat.c.hall == hall, seat.c.number == 1)
            assert connection.execute(statement.values(guest="new")).rowcount == 0
        assert connection.scalar(select(seat.c.guest)) == "g"


@on_each_database
def test_indexes_and_keys_of_tenants_need_no_row(db):
    note = Table(
        "note",
        MetaData(),
        Column("tenant", Integer, primary_key=True, autoincrement=False),
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("text", EncryptedType(String(40), key="tenant/{tenant}", index=BlindIndex())),
    )
    db.create(note.metadata)
    db.create_key("tenant/1")
    statement = update(note).where(note.c.tenant == bindparam("t"), note.c.id == bindparam("i"))
    with db.begin() as connection:
        connection.execute(insert(note).values(tenant=1, id=1, text="old"))
        rows = [{"t": None, "i": 1, "text": "new"}, {"t": 1, "i": None, "text": "new"}]
        connection.execute(statement.values(text=bindparam("text")), rows)
        connection.execute(update(note).where(note.c.tenant == None).values(text="new"))  # noqa: E711
        found = select(note.c.id).where(note.c.tenant == 1, note.c.text == "old")
        assert connection.scalars(found).all() == [1]


class Nothing(TypeDecorator[int]):
    """Takes ``None`` for 0."""

    impl = Integer
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return value or 0


def nullable(type_: Any, **options: Any) -> Table:
    return Table(
        "note",
        MetaData(),
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("of", type_, **options),
        Column("text", EncryptedType(bind_to=["of"])),
    )


@pytest.mark.parametrize("name", ["may be NULL", "makes a value of None"])
def test_a_key_that_null_may_match_pins_nothing(db: Database, name):
    is_nullable = name == "may be NULL"
    note = nullable(Integer if is_nullable else Nothing, nullable=is_nullable)
    db.create(note.metadata)
    with db.begin() as connection:
        connection.execute(insert(note).values(id=1, of=0, text="old"))
    statement = update(note).where(note.c.of == bindparam("k")).values(text=CANARY)
    with db.begin() as connection, db.refused(AmbiguousRowError, note):
        connection.execute(statement, {"k": None})
