"""Rows of raw SQL: a value is read by the key that stands beside it, and by no other."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest
from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    create_engine,
    insert,
    lambda_stmt,
    select,
    text,
    type_coerce,
    update,
)
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.ext.declarative import ConcreteBase
from sqlalchemy.orm import DeclarativeBase, aliased, contains_eager, mapped_column
from sqlalchemy.pool import NullPool

from encfields import EncryptedType, attach
from encfields.errors import ContextMismatchError, MalformedMessageError, UnreadableError
from encfields.orm.declare.columns import binding_of
from encfields.orm.read.row_reader import RowReader
from encfields.testing import local_store
from tests.binding.models import Card, Purchase, Seat
from tests.binding.test_identity_kinds import KINDS, filled_table, keyed_table
from tests.database import WRAPPING_KEY, Database
from tests.turns import databases_by_turns, on_each_database

pytestmark = databases_by_turns

NUMBERS = ["number-1", "number-2", "number-3"]
BY_ID = text("SELECT * FROM card ORDER BY id")


@on_each_database
def test_entities_of_raw_sql(cards):
    for _ in range(3):  # as cached, and in the driver's binary form
        with cards.session() as session:
            found = session.scalars(select(Card).from_statement(BY_ID)).all()
            assert [(one.id, one.number, one.details) for one in found] == [
                (n, f"number-{n}", {"n": n}) for n in (1, 2, 3)
            ]


def test_a_query_of_raw_sql_with_parameters(cards):
    raw = text("SELECT number, id FROM card WHERE holder = :holder")
    with cards.session() as session:
        found = session.query(Card).from_statement(raw).params(holder="holder-2").one()
        assert found.number == "number-2"


@on_each_database
def test_columns_of_raw_sql_by_their_place(cards):
    raw = text("SELECT number AS a, id AS b FROM card ORDER BY id DESC")
    with cards.begin() as connection:
        for columns in (
            (Card.number, Card.id),
            (Card.number.label("x"), Card.id.label("y")),
        ):
            rows = connection.execute(raw.columns(*columns)).all()
            assert rows == [("number-3", 3), ("number-2", 2), ("number-1", 1)]


def test_columns_of_raw_sql_in_entities_and_relationships(cards):
    with cards.session() as session:
        session.add(Purchase(card_id=2, label="l", article="tea"))
        session.commit()
        raw = text(
            "SELECT c.id, c.number, p.id, p.article, p.card_id FROM card c "
            "JOIN purchase p ON p.card_id = c.id"
        ).columns(Card.id, Card.number, Purchase.id, Purchase.article, Purchase.card_id)
        both = select(Card, Purchase).from_statement(raw)
        (row,) = session.execute(both)
        assert (row.Card.number, row.Purchase.article) == ("number-2", "tea")
        session.expunge_all()
        loaded = select(Card).from_statement(raw).options(contains_eager(Card.purchases))
        card = session.scalars(loaded).unique().one()
        assert [one.article for one in card.purchases] == ["tea"]


def test_an_alias_of_the_class(cards):
    other = aliased(Card)
    raw = text("SELECT id, number FROM card ORDER BY id").columns(other.id, other.number)
    with cards.session() as session:
        assert [number for _, number in session.execute(raw)] == NUMBERS
        found = session.scalars(select(other).from_statement(raw))
        assert [one.number for one in found] == NUMBERS


@on_each_database
def test_rows_that_are_fetched_in_pieces(cards):
    raw = select(Card).from_statement(BY_ID)
    with cards.session() as session:
        found = session.scalars(raw, execution_options={"yield_per": 2})
        assert [one.number for one in found] == NUMBERS
        rows = session.execute(text("SELECT id, number FROM card").columns(Card.id, Card.number))
        assert len([rows.fetchone(), *rows.fetchmany(1), *rows.fetchall()]) == 3


def test_rows_that_raw_sql_has_written(cards):
    if cards.name == "mysql":
        pytest.skip("MySQL has no RETURNING")
    word = "INSERT INTO card (id, holder) VALUES (4, 'a') RETURNING id, number"
    if cards.name != "mariadb":  # which has none for UPDATE
        word = "UPDATE card SET holder = 'a' WHERE id = 1 RETURNING number, id"
    with cards.session() as session:
        found = session.scalars(select(Card).from_statement(text(word))).one()
        assert found.number == (None if found.id == 4 else "number-1")


def test_a_key_of_two_columns(shop):
    with shop.session() as session:
        session.add_all(Seat(hall="h:", number=n, guest=f"guest-{n}") for n in (1, 2))
        session.commit()
    with shop.session() as session:
        raw = text("SELECT guest, number, hall FROM seat ORDER BY number")
        found = session.scalars(select(Seat).from_statement(raw)).all()
        assert [one.guest for one in found] == ["guest-1", "guest-2"]
        half = text("SELECT guest, number FROM seat").columns(Seat.guest, Seat.number)
        with pytest.raises(UnreadableError, match="does not select the row's key 'hall'"):
            session.execute(half).all()


@on_each_database
@pytest.mark.parametrize("kind", KINDS)
def test_a_key_of_any_kind(db, kind):
    table, keys = filled_table(db, kind)
    raw = text("SELECT v, id FROM keyed").columns(table.c.v, table.c.id)
    with db.begin() as connection:
        by_model = connection.execute(select(table.c.v, table.c.id)).all()
        assert sorted(map(repr, connection.execute(raw))) == sorted(map(repr, by_model))
    db.copy_cell(table.c.v, source=keys[0], target=keys[1])
    with db.begin() as connection, pytest.raises(ContextMismatchError):
        connection.execute(raw).all()


def test_a_joined_subclass_by_the_key_of_either_of_its_tables(sqlite_db):
    class Base(DeclarativeBase):
        pass

    class Person(Base):
        __tablename__ = "person"
        id = mapped_column(Integer, primary_key=True)
        kind = mapped_column(String(9))
        ssn = mapped_column(EncryptedType(String))
        __mapper_args__: Any = {  # noqa: RUF012
            "polymorphic_on": kind,
            "polymorphic_identity": "person",
        }

    class Nurse(Person):
        __tablename__ = "nurse"
        nurse_id = mapped_column(ForeignKey(Person.id), primary_key=True)
        pager = mapped_column(EncryptedType(String))
        __mapper_args__: Any = {"polymorphic_identity": "nurse"}  # noqa: RUF012

    sqlite_db.create(Base.metadata)
    with sqlite_db.session() as session:
        session.add(Nurse(ssn="s", pager="p"))
        session.commit()
    joined = "FROM person JOIN nurse ON nurse_id = id"
    with sqlite_db.session() as session:
        for columns in ("person.*, pager", "*"):
            found = select(Nurse).from_statement(text(f"SELECT {columns} {joined}"))
            session.expunge_all()
            for nurse in session.scalars(found):
                assert (nurse.ssn, nurse.pager) == ("s", "p")
        for key in (Nurse.id, Nurse.nurse_id):
            raw = text(f"SELECT id, ssn, pager {joined}").columns(key, Nurse.ssn, Nurse.pager)
            assert session.execute(raw).all() == [(1, "s", "p")]


def test_a_concrete_hierarchy_whose_raw_sql_leaves_the_values_out(sqlite_db):
    class Base(DeclarativeBase):
        pass

    class Shop(ConcreteBase, Base):
        __tablename__ = "shop"
        id = mapped_column(Integer, primary_key=True)
        pin = mapped_column(EncryptedType(String))
        __mapper_args__: Any = {  # noqa: RUF012
            "polymorphic_identity": "shop",
            "concrete": True,
        }

    class Kiosk(Shop):
        __tablename__ = "kiosk"
        id = mapped_column(Integer, primary_key=True)
        pin = mapped_column(EncryptedType(String))
        __mapper_args__: Any = {  # noqa: RUF012
            "polymorphic_identity": "kiosk",
            "concrete": True,
        }

    sqlite_db.create(Base.metadata)
    with sqlite_db.session() as session:
        session.add_all([Shop(id=1, pin="a"), Kiosk(id=1, pin="b")])
        session.commit()
    with sqlite_db.session() as session:
        of_all = "SELECT id, 'shop' AS type{0} FROM shop UNION SELECT id, 'kiosk'{0} FROM kiosk"
        without = select(Shop).from_statement(text(of_all.format("")))
        assert sorted(one.pin for one in session.scalars(without)) == ["a", "b"]
        session.expunge_all()
        with pytest.raises(UnreadableError, match="it comes from a UNION of kiosk"):
            session.scalars(select(Shop).from_statement(text(of_all.format(", pin")))).all()


def test_a_lambda_s_raw_sql(cards):
    with cards.session() as session:
        for _ in range(2):
            raw = lambda_stmt(
                lambda: text("SELECT id, number FROM card ORDER BY id").columns(
                    Card.id, Card.number
                )
            )
            assert [number for _, number in session.execute(raw)] == NUMBERS


def test_null_is_none(cards):
    with cards.session() as session:
        session.add(Card(id=9))
        session.commit()
        raw = text("SELECT id, number, details FROM card WHERE id = 9")
        card = session.scalars(select(Card).from_statement(raw)).one()
        assert (card.number, card.details) == (None, None)


# -- what does not open -------------------------------------------------------------------------


@on_each_database
def test_a_value_of_another_row_is_refused(cards):
    cards.copy_cell(Card.number, source=2, target=1)
    with cards.session() as session, pytest.raises(ContextMismatchError, match=r"card\.number"):
        session.scalars(select(Card).from_statement(BY_ID)).all()
    raw = text("SELECT id, number FROM card ORDER BY id").columns(Card.id, Card.number)
    with cards.begin() as connection, pytest.raises(ContextMismatchError, match="id=1"):
        connection.execute(raw).all()


def test_without_the_row_s_key_it_is_refused(cards):
    for raw in (
        select(Card.number).from_statement(text("SELECT number FROM card")),
        text("SELECT number FROM card").columns(Card.number),
        text("SELECT number, id FROM card").columns(Card.number, Purchase.card_id),
    ):
        with cards.session() as session, pytest.raises(UnreadableError) as caught:
            session.execute(raw).all()
        assert str(caught.value).startswith("card.number: the raw SQL does not select")


@on_each_database
def test_a_whole_cell_that_an_attacker_stored_is_not_taken_for_one(cards):
    """Row 1 holds what a SELECT delivers of row 2: a tag, the key of row 2, and its message."""
    with cards.begin() as connection:
        cell = connection.execute(
            select(type_coerce(Card.number, LargeBinary)).where(Card.id == 2)
        ).scalar_one()
    column: Any = Card.__table__.c.number
    tag = RowReader(binding_of(column)).tag.encode()
    bare = Table("card", MetaData(), Column("id", Integer), Column("number", LargeBinary))
    with cards.plain.begin() as connection:
        forged = tag + b":2:" + bytes(cell)
        connection.execute(update(bare).where(bare.c.id == 1).values(number=forged))
    for raw in (
        select(Card).from_statement(text("SELECT * FROM card WHERE id = 1")),
        text("SELECT id, number FROM card WHERE id = 1").columns(Card.id, Card.number),
        text("SELECT number, id FROM card WHERE id = 1").columns(number=Card.number.type),
    ):
        refused = pytest.raises((MalformedMessageError, UnreadableError))
        with cards.session() as session, refused:
            session.execute(raw).all()


def test_two_columns_of_the_name_are_refused(cards):
    raw = text("SELECT a.id, a.number, b.number FROM card a JOIN card b ON b.id = a.id + 1")
    with cards.session() as session, pytest.raises(InvalidRequestError, match="Ambiguous"):
        session.scalars(select(Card).from_statement(raw)).all()


def test_a_key_in_another_storage_class_is_refused(sqlite_db):
    """SQLite stores what it is given: a row "1" beside the row 1, with the same key in Python."""
    table = keyed_table(String(20))
    sqlite_db.create(table.metadata)
    with sqlite_db.begin() as connection:
        connection.execute(insert(table).values(id="1", v="of one"))
    with sqlite_db.plain.begin() as connection:
        connection.exec_driver_sql("INSERT INTO keyed SELECT CAST(id AS BLOB), v FROM keyed")
    raw = text("SELECT id, v FROM keyed").columns(table.c.id, table.c.v)
    refused = pytest.raises(UnreadableError, match="another key might give the same")
    with sqlite_db.begin() as connection, refused:
        connection.execute(raw).all()


def test_keys_that_an_application_converts_itself_are_refused(sqlite, monkeypatch):
    """With the converter an integer 7 and a BLOB "7" are the same in Python."""
    monkeypatch.setitem(sqlite3.converters, "BIGINT", int)  # as register_converter() does
    db = Database(sqlite, connect_args={"detect_types": sqlite3.PARSE_DECLTYPES})
    table = keyed_table(BigInteger)
    db.create(table.metadata)
    with db.begin() as connection:
        connection.execute(insert(table).values(id=7, v="of seven"))
    with db.plain.begin() as connection:
        connection.exec_driver_sql("INSERT INTO keyed SELECT CAST('7' AS BLOB), v FROM keyed")
    raw = text("SELECT id, v FROM keyed").columns(table.c.id, table.c.v)
    refused = pytest.raises(UnreadableError, match="another key might give the same")
    with db.begin() as connection, refused:
        connection.execute(raw).all()


def test_keys_that_an_application_decodes_itself_are_refused(sqlite_db):
    table = keyed_table(String(20))
    sqlite_db.create(table.metadata)
    with sqlite_db.begin() as connection:
        connection.execute(insert(table).values(id="a", v="v"))
        connection.connection.driver_connection.text_factory = lambda b: b.decode(errors="ignore")
        raw = text("SELECT id, v FROM keyed").columns(table.c.id, table.c.v)
        with pytest.raises(UnreadableError, match="another key might give the same"):
            connection.execute(raw).all()


def test_keys_in_a_character_set_that_loses_letters_are_refused(mariadb_db):
    table = keyed_table(String(20).with_variant(String(20, collation="cp932_bin"), "mysql"))
    mariadb_db.create(table.metadata)
    with mariadb_db.begin() as connection:
        connection.execute(insert(table).values(id="a", v="v"))
        raw = text("SELECT id, v FROM keyed").columns(table.c.id, table.c.v)
        with pytest.raises(UnreadableError, match="another key might give the same"):
            connection.execute(raw).all()
        assert connection.execute(select(table.c.v)).all() == [("v",)]


LOOK_ALIKE = [
    ("mariadb", {"charset": "latin1"}, "a?", "a\u0416"),
    ("mariadb", {"charset": "utf8mb3"}, "a?", "a\U0001f600"),
    ("mariadb", {"charset": "sjis"}, "a\u2016", "a\u2225"),
    ("postgresql", {"client_encoding": "sjis"}, "a\u2016", "a\u2225"),
]


@pytest.mark.parametrize("server, client, key, other", LOOK_ALIKE)
def test_keys_that_look_alike_to_the_client_are_refused(request, server, client, key, other):
    db = request.getfixturevalue(f"{server}_db")
    table = keyed_table(String(20).with_variant(String(20, collation="utf8mb4_nopad_bin"), "mysql"))
    db.create(table.metadata)
    with db.begin() as connection:
        rows = [{"id": key, "v": "v"}, {"id": other, "v": "w"}]
        connection.execute(insert(table), rows)
    db.copy_cell(table.c.v, source=key, target=other)
    engine = create_engine(db.backend.url, connect_args=client, poolclass=NullPool)
    attach(engine, local_store(WRAPPING_KEY))
    raw = text("SELECT id, v FROM keyed").columns(table.c.id, table.c.v)
    refused = pytest.raises(UnreadableError, match="another key might give the same")
    with engine.begin() as connection, refused:
        connection.execute(raw).all()


@pytest.mark.parametrize(
    "server, client",
    [
        ("mariadb", {"charset": "latin1"}),
        ("mariadb", {"charset": "utf8mb3"}),
        ("postgresql", {"client_encoding": "latin1"}),
    ],
)
def test_keys_in_the_letters_of_the_client_are_read(request, server, client):
    db = request.getfixturevalue(f"{server}_db")
    table = keyed_table(String(20).with_variant(String(20, collation="utf8mb4_nopad_bin"), "mysql"))
    db.create(table.metadata)
    with db.begin() as connection:
        connection.execute(insert(table).values(id="\xe4", v="v"))
    engine = create_engine(db.backend.url, connect_args=client, poolclass=NullPool)
    attach(engine, local_store(WRAPPING_KEY))
    raw = text("SELECT id, v FROM keyed").columns(table.c.id, table.c.v)
    with engine.begin() as connection:
        assert connection.execute(raw).all() == [("\xe4", "v")]


def test_a_text_that_an_application_makes_bytes_of_is_no_binary_key(sqlite_db):
    table = keyed_table(LargeBinary(20))
    sqlite_db.create(table.metadata)
    raw = text("SELECT id, v FROM keyed").columns(table.c.id, table.c.v)
    with sqlite_db.begin() as connection:
        connection.execute(insert(table).values(id=b"a", v="v"))
        assert connection.execute(raw).all() == [(b"a", "v")]
    with sqlite_db.plain.begin() as connection:
        connection.exec_driver_sql("UPDATE keyed SET id = CAST(id AS TEXT)")
    with sqlite_db.begin() as connection:  # the statement was planned before, without it
        connection.connection.driver_connection.text_factory = bytes
        with pytest.raises(UnreadableError, match="another key might give the same"):
            connection.execute(raw).all()


def test_for_update_of_an_encrypted_column_locks_its_rows(cards):
    with cards.session() as session:
        for of in (Card.number, [Card.number], (Card.id, Card.number)):
            found = session.scalars(select(Card).where(Card.id == 1).with_for_update(of=of))
            assert found.one().number == "number-1"
