"""Three traps of SQLAlchemy's own making, each of which would store plaintext or break it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    bindparam,
    delete,
    func,
    insert,
    lambda_stmt,
    literal,
    literal_column,
    select,
    text,
    type_coerce,
    update,
)
from sqlalchemy.engine import default
from sqlalchemy.orm import aliased, joinedload

from encfields import EncryptedType
from encfields.errors import BindingError, CiphertextCopyError, UnsupportedOperationError
from tests.binding.models import Card, Purchase
from tests.database import CANARY
from tests.raised import Raised
from tests.turns import databases_by_turns, on_each_database

pytestmark = databases_by_turns

card: Any = Card.__table__

# -- 1. a bind with a type of its own carries its plaintext past the column's type -------------


CARRIERS = {
    "literal with the type of a text": lambda: literal(CANARY, String),
    "literal with a type": lambda: literal(CANARY.encode(), LargeBinary),
    "bindparam with a type of bytes": lambda: bindparam("z", CANARY.encode(), LargeBinary),
    "bindparam with a type": lambda: bindparam("z", CANARY, type_=String),
    "unique bindparam": lambda: bindparam("z", CANARY, type_=String, unique=True),
    "bindparam with a callable": lambda: bindparam("z", callable_=lambda: CANARY, type_=String),
    "coalesce": lambda: func.coalesce(CANARY, "x"),
    "coalesce of bytes": lambda: func.coalesce(CANARY.encode(), b"x"),
    "type_coerce": lambda: type_coerce(CANARY, String),
    "type_coerce to bytes": lambda: type_coerce(CANARY.encode(), LargeBinary),
    "type_coerce to the column's type": lambda: type_coerce(CANARY, card.c.number.type),
    "literal_column": lambda: literal_column(f"'{CANARY}'"),
    "text": lambda: text(f"'{CANARY}'"),
    "concatenation": lambda: literal(CANARY) + "",
}

WAYS = {
    "insert": lambda value: insert(card).values(id=7, number=value),
    "insert many": lambda value: insert(card).values([{"id": 7, "number": value}]),
    "orm insert": lambda value: insert(Card).values(id=7, number=value),
    "update": lambda value: update(card).values(number=value).where(card.c.id == 1),
    "ordered update": lambda value: (
        update(card).ordered_values((card.c.number, value)).where(card.c.id == 1)
    ),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
@pytest.mark.parametrize("carrier", CARRIERS.values(), ids=CARRIERS.keys())
def test_a_value_that_brings_its_own_type_is_refused(sqlite_cards, carrier, way):
    with sqlite_cards.begin() as connection, sqlite_cards.refused(BindingError, card):
        connection.execute(way(carrier()))
    sqlite_cards.assert_no_plaintext()


@pytest.mark.parametrize(
    "name", ["literal with a type", "bindparam with a type of bytes", "coalesce of bytes", "text"]
)
def test_it_is_refused_where_the_database_would_take_it(cards, name):
    with cards.begin() as connection, cards.refused(CiphertextCopyError, card) as caught:
        connection.execute(WAYS["insert"](CARRIERS[name]()))
    assert (caught.value.table, caught.value.column) == ("card", "number")
    cards.assert_no_plaintext()


VALUES: dict[str, Callable[[str], Any]] = {
    "a lambda's INSERT": lambda secret: lambda_stmt(
        lambda: insert(card).values(id=7, number=secret)
    ),
    "a lambda's UPDATE": lambda secret: lambda_stmt(
        lambda: update(card).where(card.c.id == 7).values(number=secret)
    ),
    "literal": lambda secret: update(card).where(card.c.id == 7).values(number=literal(secret)),
    "literal of many": lambda secret: insert(card).values([{"id": 7, "number": literal(secret)}]),
}


@pytest.mark.parametrize("statement", VALUES.values(), ids=VALUES)
def test_a_value_whose_type_nobody_chose_takes_the_columns(sqlite_cards, statement):
    for secret in (CANARY, CANARY[::-1]):  # once analysed, once from the lambda's cache
        with sqlite_cards.begin() as connection:
            added = insert(card).values(id=7, number="before")
            connection.execute(added if "UPDATE" in str(statement(secret)) else delete(card))
            connection.execute(statement(secret))
            read = select(card.c.number).where(card.c.id == 7)
            assert connection.scalar(read) == secret
            connection.execute(delete(card))
    sqlite_cards.assert_no_plaintext()


def test_a_literal_is_refused_where_the_applications_type_converts_values(sqlite_db):
    told = Table(
        "told",
        MetaData(),
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("mail", EncryptedType(Raised)),
    )
    sqlite_db.create(told.metadata)
    with sqlite_db.begin() as connection, sqlite_db.refused(CiphertextCopyError, told):
        connection.execute(insert(told).values(id=1, mail=literal(5)))


def test_a_typed_parameter_that_is_given_at_execution_is_refused(cards):
    statement = insert(card).values(id=bindparam("k"), number=bindparam("v", type_=LargeBinary))
    with cards.begin() as connection, cards.refused(CiphertextCopyError, card):
        connection.execute(statement, [{"k": 8, "v": CANARY.encode()}])
    cards.assert_no_plaintext()


def test_a_typed_expression_as_attribute_of_an_object_is_refused(cards):
    with cards.session() as session, cards.refused(CiphertextCopyError, card):
        session.add(Card(id=8, number=literal(CANARY, String)))
        session.flush()
    with cards.session() as session, cards.refused(CiphertextCopyError, card):
        session.get_one(Card, 1).number = func.lower(CANARY)
        session.flush()
    cards.assert_no_plaintext()


def test_two_binds_of_one_name_cannot_smuggle_a_value(cards):
    statement = (
        update(card)
        .values(number=bindparam("v"), holder=bindparam("v", type_=String))
        .where(card.c.id == bindparam("k"))
    )
    with cards.begin() as connection, cards.refused(Exception, card):
        connection.execute(statement, {"v": CANARY, "k": 1})
    cards.assert_no_plaintext()


def test_an_untyped_bindparam_takes_the_column_s_type(cards):
    statement = insert(card).values(id=8, number=bindparam("v"))
    with cards.begin() as connection:
        connection.execute(statement, {"v": CANARY})
        assert connection.scalar(select(card.c.number).where(card.c.id == 8)) == CANARY
    cards.assert_no_plaintext()


# -- 2. SQLAlchemy itself compares columns -----------------------------------------------------


def test_columns_can_be_looked_up_in_lists_and_dictionaries(cards):
    columns = [card.c.holder, card.c.number]
    assert card.c.number in columns[1:]
    assert {card.c.number: 1}[card.c.number] == 1
    assert bool(card.c.number == card.c.number) is True
    assert bool(card.c.number == card.c.pin) is False
    assert columns.index(card.c.number) in (0, 1)


@on_each_database
def test_insert_returning_and_orm_update_survive_the_look_ups(cards):
    cards.backend.require_returning()
    with cards.session() as session:
        made = insert(Card).values(id=8, number="n-8").returning(Card.number, Card.id)
        assert tuple(session.execute(made).one()) == ("n-8", 8)
        session.execute(update(Card).values({Card.number: "n-9"}).where(Card.id == 8))
        assert session.scalar(select(Card.number).where(Card.id == 8)) == "n-9"


def test_a_comparison_of_columns_never_reaches_a_database(cards):
    statement = select(Card.id).where(Card.number == Card.pin)
    with cards.begin() as connection, cards.statements() as seen:
        with pytest.raises(UnsupportedOperationError) as caught:
            connection.execute(statement)
        assert seen == []
    assert (caught.value.table, caught.value.column) == ("card", "number")


# -- 3. SQLAlchemy compiles on its default dialect ---------------------------------------------


def test_statements_can_be_printed(cards):
    statement = select(Card).where(Card.id == 1)
    assert "FROM card" in str(statement)
    assert "FROM card" in str(statement.compile(dialect=default.DefaultDialect()))
    assert "INSERT INTO card" in str(insert(Card).values(id=1, number=CANARY))
    assert CANARY not in str(insert(Card).values(id=1, number=CANARY))
    assert CANARY not in str(update(Card).values(number=CANARY).where(Card.id == 1))


def test_a_printed_alias_subquery_and_union(cards):
    rows = select(Card.id, Card.number).subquery()
    assert "number" in str(select(rows.c.number))
    assert "number" in str(select(aliased(Card).number))


def test_literal_binds_never_print_a_value(cards):
    for statement in (
        insert(Card).values(id=1, number=CANARY),
        update(Card).values(number=CANARY).where(Card.id == 1),
    ):
        with pytest.raises(Exception) as caught:  # noqa: PT011
            statement.compile(cards.engine, compile_kwargs={"literal_binds": True})
        assert CANARY not in str(caught.value)


def test_a_joined_collection_with_limit(cards):
    with cards.session() as session:
        session.add_all(Purchase(card_id=1, article=f"a-{n}") for n in range(3))
        session.flush()
        session.expire_all()
        statement = select(Card).options(joinedload(Card.purchases)).order_by(Card.id).limit(1)
        loaded = session.scalars(statement).unique().one()
        assert loaded.number == "number-1"
        assert sorted(str(p.article) for p in loaded.purchases) == ["a-0", "a-1", "a-2"]


def test_final_froms_of_a_select_can_be_asked_for():
    assert select(Card.number, Card).get_final_froms() == [card]
