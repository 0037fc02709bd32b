"""A row whose key changes takes its values along, or the change is refused."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    bindparam,
    insert,
    literal,
    select,
    update,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, deferred, load_only, mapped_column, relationship

from encfields import EncryptedType
from encfields.errors import ContextMismatchError, IdentityChangeError
from tests.binding.models import Card, Purchase, Seat
from tests.turns import databases_by_turns, on_each_database

pytestmark = databases_by_turns

card: Any = Card.__table__
seat: Any = Seat.__table__


class Base(DeclarativeBase):
    pass


class Owner(Base):
    __tablename__ = "owner"

    code: Mapped[str] = mapped_column(String(20), primary_key=True)
    secret: Mapped[str | None] = mapped_column(EncryptedType())
    late: Mapped[str | None] = deferred(mapped_column(EncryptedType()))


class Cascading(DeclarativeBase):
    pass


class Holder(Cascading):
    """Its key is its passport's as well; the ORM carries a change over."""

    __tablename__ = "holder"

    code: Mapped[str] = mapped_column(String(20), primary_key=True)
    passport: Mapped[Passport | None] = relationship(passive_updates=False, uselist=False)


class Passport(Cascading):
    __tablename__ = "passport"

    holder_code: Mapped[str] = mapped_column(
        ForeignKey("holder.code", deferrable=True, initially="DEFERRED"), primary_key=True
    )
    number: Mapped[str | None] = mapped_column(EncryptedType())


class Document(Base):
    """Bound to its tenant and its key."""

    __tablename__ = "document"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant: Mapped[int]
    title: Mapped[str | None] = mapped_column(String(40))
    body: Mapped[str | None] = mapped_column(EncryptedType(bind_to=("tenant", "id")))
    note: Mapped[str | None] = mapped_column(EncryptedType())


# -- through the ORM ---------------------------------------------------------------------------


def test_a_new_key_of_an_object_takes_every_value_along(cards):
    with cards.session() as session:
        session.get_one(Card, 1).pin = 12
        session.commit()
        session.get_one(Card, 1).id = 77
        session.commit()
    with cards.session() as session:
        moved = session.get_one(Card, 77)
        assert (moved.number, moved.pin, moved.details) == ("number-1", 12, {"n": 1})


def test_a_new_key_together_with_a_new_value(cards):
    with cards.session() as session:
        one = session.get_one(Card, 1)
        one.id, one.number = 77, "new"
        session.commit()
    with cards.session() as session:
        moved = session.get_one(Card, 77)
        assert (moved.number, moved.details) == ("new", {"n": 1})


def test_a_new_key_of_an_expired_object(cards):
    with cards.session() as session:
        one = session.get_one(Card, 1)
        session.expire(one)
        one.id = 77
        session.commit()
    with cards.session() as session:
        assert session.get_one(Card, 77).number == "number-1"


def test_a_new_key_loads_what_was_deferred(db):
    db.create(Base.metadata)
    with db.session() as session:
        session.add(Owner(code="a", secret="s", late="l"))
        session.commit()
    with db.session() as session:
        session.get_one(Owner, "a").code = "b"
        session.commit()
    with db.session() as session:
        moved = session.get_one(Owner, "b")
        assert (moved.secret, moved.late) == ("s", "l")


def test_a_new_key_that_takes_no_value_with_it_stays_null(shop):
    with shop.session() as session:
        session.add(Card(id=1))
        session.commit()
        session.get_one(Card, 1).id = 2
        session.commit()
        assert session.get_one(Card, 2).number is None


def test_part_of_a_composite_key_may_change(shop):
    with shop.session() as session:
        session.add_all([Seat(hall="A", number=1, guest="g"), Seat(hall="A", number=2, guest="h")])
        session.commit()
        session.get_one(Seat, ("A", 1)).hall = "B"
        session.commit()
    with shop.session() as session:
        assert session.get_one(Seat, ("B", 1)).guest == "g"
        assert session.get_one(Seat, ("A", 2)).guest == "h"


def test_a_uuid_key_may_change(shop):
    new = uuid.uuid4()
    with shop.session() as session:
        made = Purchase(article="a")
        session.add(made)
        session.commit()
        made.id = new
        session.commit()
    with shop.session() as session:
        assert session.get_one(Purchase, new).article == "a"


def test_a_key_that_is_set_to_what_it_was_rewrites_nothing(cards):
    before = cards.stored(Card.number, 1)
    with cards.session() as session:
        one = session.get_one(Card, 1)
        one.id = 1
        one.holder = "someone"
        session.commit()
    assert cards.stored(Card.number, 1) == before


def test_a_key_change_over_a_moved_value_is_refused(cards):
    cards.copy_cell(Card.number, source=2, target=1)
    with cards.session() as session:
        one = session.get_one(Card, 1, options=[load_only(Card.holder)])
        one.id = 77
        with pytest.raises(ContextMismatchError):
            session.commit()
    assert cards.stored(Card.number, 1) == cards.stored(Card.number, 2)


@pytest.mark.parametrize("name", ["sqlite_db", "postgresql_db"])
def test_a_key_that_the_orm_cascades_to_a_child_s_key_is_followed(request, name):
    db = request.getfixturevalue(name)
    db.create(Cascading.metadata)
    with db.session() as session:
        session.add(Holder(code="a", passport=Passport(number="n")))
        session.commit()
    with db.session() as session:
        session.get_one(Holder, "a").code = "b"
        session.commit()
    with db.session() as session:
        assert session.get_one(Passport, "b").number == "n"


@on_each_database
def test_a_key_that_the_database_cascades_leaves_a_refusal_and_no_wrong_value(db):
    """The action is there and not declared; where it is, the table is refused."""
    metadata = MetaData()
    parent = Table("parent", metadata, Column("id", Integer, primary_key=True, autoincrement=False))
    child = Table(
        "child",
        metadata,
        Column("id", ForeignKey("parent.id", onupdate="CASCADE"), primary_key=True),
        Column("v", LargeBinary),
    )
    db.create(metadata)
    child = Table(
        "child",
        MetaData(),
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("v", EncryptedType()),
    )
    with db.begin() as connection:
        if db.name == "sqlite":
            connection.exec_driver_sql("PRAGMA foreign_keys=ON")
        connection.execute(insert(parent).values(id=1))
        connection.execute(insert(child).values(id=1, v="v"))
    with db.engine.connect() as connection:
        if db.name == "sqlite":
            connection.exec_driver_sql("PRAGMA foreign_keys=ON")
        connection.execute(update(parent).values(id=2))
        with pytest.raises(ContextMismatchError) as caught:
            connection.execute(select(child)).all()
    assert caught.value.expected["enc:row:id"] == "2"
    assert caught.value.found["enc:row:id"] == "1"


# -- bound to more than the key ----------------------------------------------------------------


@pytest.fixture
def documents(db):
    db.create(Base.metadata)
    with db.session() as session:
        session.add_all(
            Document(id=n, tenant=n * 10, body=f"body-{n}", note=f"note-{n}") for n in (1, 2)
        )
        session.commit()
    return db


def test_an_object_bound_to_more_than_its_key_is_written_and_read(documents):
    with documents.session() as session:
        one = session.get_one(Document, 1)
        assert (one.body, one.note) == ("body-1", "note-1")
        one.body = "new"
        session.commit()
    with documents.session() as session:
        assert session.get_one(Document, 1).body == "new"
        assert session.get_one(Document, 1).note == "note-1"
        assert session.get_one(Document, 2).body == "body-2"


def test_its_other_column_may_change(documents):
    with documents.session() as session:
        session.get_one(Document, 1).tenant = 99
        session.commit()
    with documents.session() as session:
        assert session.get_one(Document, 1).body == "body-1"
        assert session.get_one(Document, 1).note == "note-1"


def test_its_key_may_change(documents):
    with documents.session() as session:
        session.get_one(Document, 1).id = 77
        session.commit()
    with documents.session() as session:
        assert session.get_one(Document, 77).body == "body-1"
        assert session.get_one(Document, 77).note == "note-1"


def test_its_other_column_changed_below_us_is_refused(documents):
    documents.execute_plain("UPDATE document SET tenant = 20 WHERE id = 1")
    with documents.session() as session, pytest.raises(ContextMismatchError):
        session.get(Document, 1)


def test_an_update_of_another_attribute_does_not_rewrite_the_body(documents):
    before = documents.stored(Document.body, 1)
    with documents.session() as session:
        session.get_one(Document, 1).title = "t"
        session.commit()
    assert documents.stored(Document.body, 1) == before


# -- through Core ------------------------------------------------------------------------------

CHANGES = {
    "a key": lambda: update(card).where(card.c.id == 1).values(id=77),
    "every key": lambda: update(card).values(id=card.c.id + 100),
    "a key by expression": lambda: update(card).where(card.c.id == 1).values(id=literal(70) + 7),
    "a key without WHERE's": lambda: update(card).where(card.c.holder == "holder-1").values(id=77),
    "a key with some values": lambda: (
        update(card).where(card.c.id == 1).values(id=77, number="new")
    ),
    "a key through the ORM's update()": lambda: update(Card).where(Card.id == 1).values(id=77),
}


@pytest.mark.parametrize("statement", CHANGES.values(), ids=CHANGES.keys())
def test_a_core_update_that_leaves_a_value_behind_is_refused(cards, statement):
    with cards.begin() as connection, cards.refused(IdentityChangeError, card) as caught:
        connection.execute(statement())
    assert caught.value.table == "card"
    assert "id" in str(caught.value)


def test_many_keys_changed_by_parameters_are_refused(cards):
    statement = update(card).where(card.c.id == bindparam("k")).values(id=bindparam("n"))
    with cards.begin() as connection, cards.refused(IdentityChangeError, card):
        connection.execute(statement, [{"k": 1, "n": 1}, {"k": 2, "n": 77}])


def test_a_core_update_that_sets_every_value_may_change_the_key(cards):
    statement = update(card).where(card.c.id == 1)
    with cards.begin() as connection:
        connection.execute(statement.values(id=77, number="new", pin=5, details=None))
    with cards.session() as session:
        moved = session.get_one(Card, 77)
        assert (moved.number, moved.pin, moved.details) == ("new", 5, None)


def test_a_core_update_may_set_the_key_to_what_it_is(cards):
    statement = update(card).where(card.c.id == bindparam("k")).values(id=bindparam("n"), pin=None)
    with cards.begin() as connection:
        connection.execute(statement, [{"k": 1, "n": 1}, {"k": 2, "n": 2}])
    with cards.session() as session:
        assert session.get_one(Card, 1).number == "number-1"


def test_one_part_of_a_composite_key_may_not_be_changed_alone(shop):
    with shop.begin() as connection:
        connection.execute(insert(seat).values(hall="A", number=1, guest="g"))
    change = update(seat).where(seat.c.hall == "A", seat.c.number == 1)
    with shop.begin() as connection, shop.refused(IdentityChangeError, seat):
        connection.execute(change.values(hall="B"))
    with shop.begin() as connection:
        connection.execute(change.values(hall="B", guest="new"))
        assert connection.execute(select(seat)).one() == ("B", 1, "new")
