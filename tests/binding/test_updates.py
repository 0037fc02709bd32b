"""UPDATE: a value goes to exactly the row that the WHERE pins, or nowhere."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Integer,
    MetaData,
    Table,
    and_,
    bindparam,
    case,
    false,
    func,
    lambda_stmt,
    literal,
    not_,
    null,
    or_,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.orm import aliased

from encfields import EncryptedType
from encfields.errors import (
    AmbiguousRowError,
    BindingError,
    CiphertextCopyError,
    UnknownIdentityError,
    UnsupportedOperationError,
)
from tests.binding.models import Card, Purchase, Seat
from tests.database import CANARY
from tests.turns import databases_by_turns, on_each_database

pytestmark = databases_by_turns

card: Any = Card.__table__
seat: Any = Seat.__table__


def numbers(db) -> list[str | None]:
    with db.begin() as connection:
        return list(connection.scalars(select(card.c.number).order_by(card.c.id)))


def set_number(value: Any = "new") -> Any:
    return update(card).values(number=value)


PINNED = {
    "key == value": lambda: set_number().where(card.c.id == 2),
    "value == key": lambda: set_number().where(literal(2) == card.c.id),
    "value of a function": lambda: set_number().where(card.c.id == func.abs(-2)),
    "expression": lambda: set_number().where(card.c.id == literal(1) + 1),
    "ORM": lambda: update(Card).values(number="new").where(Card.id == 2),
    "ORM column as key": lambda: update(Card).values({Card.number: "new"}).where(Card.id == 2),
    "Core column as key": lambda: update(card).values({card.c.number: "new"}).where(card.c.id == 2),
    "ordered values": lambda: (
        update(card)
        .ordered_values((card.c.holder, "x"), (card.c.number, "new"))
        .where(card.c.id == 2)
    ),
    "more conditions": lambda: set_number().where(card.c.id == 2, card.c.holder == "holder-2"),
    "and_": lambda: set_number().where(and_(card.c.holder.is_not(None), card.c.id == 2)),
    "nested and_": lambda: set_number().where(and_(and_(card.c.id == 2, card.c.pin.is_(None)))),
    "two where": lambda: set_number().where(card.c.holder.like("h%")).where(card.c.id == 2),
    "subquery beside": lambda: set_number().where(
        card.c.id == 2, card.c.id.in_(select(aliased(Card).id))
    ),
    "or_ beside": lambda: set_number().where(
        card.c.id == 2, or_(card.c.id == 2, card.c.holder == "x")
    ),
    "a list of one": lambda: set_number().where(card.c.id.in_([2])),
    "a list of one expression": lambda: set_number().where(card.c.id.in_([literal(2)])),
    "a list of one row": lambda: set_number().where(tuple_(card.c.id).in_([(2,)])),
    "a row": lambda: set_number().where(tuple_(card.c.id) == (2,)),
    "a list of one, nested": lambda: set_number().where(and_(card.c.id.in_([2]), card.c.id > 0)),
    "a list of one, ORM": lambda: update(Card).values(number="new").where(Card.id.in_([2])),
    "bindparam with value": lambda: set_number().where(card.c.id == bindparam("k", 2)),
    "is not distinct": lambda: set_number().where(card.c.id.is_not_distinct_from(2)),
    "lambda": lambda: (
        lambda_stmt(lambda: update(card)) + (lambda s: s.where(card.c.id == 2).values(number="new"))
    ),
    "with other columns": lambda: (
        update(card)
        .values(number="new", holder=func.upper(card.c.holder), pin=12)
        .where(card.c.id == 2)
    ),
}


@on_each_database
@pytest.mark.parametrize("statement", PINNED.values(), ids=PINNED.keys())
def test_an_update_that_pins_the_whole_key_seals_for_that_row(cards, statement):
    if statement is PINNED["subquery beside"] and not cards.backend.updates_from_itself:
        pytest.skip("the database does not update a table that a subquery reads")
    with cards.begin() as connection:
        assert connection.execute(statement()).rowcount == 1
    assert numbers(cards) == ["number-1", "new", "number-3"]


def test_parameters_of_the_execution_pin_the_row(cards):
    statement = update(card).where(card.c.id == bindparam("k")).values(number=bindparam("v"))
    with cards.begin() as connection:
        connection.execute(statement, {"k": 1, "v": "one"})
        connection.execute(statement, [{"k": 2, "v": "two"}, {"k": 3, "v": None}])
    assert numbers(cards) == ["one", "two", None]


def test_set_by_name_of_the_parameter(cards):
    statement = update(card).where(card.c.id == bindparam("k"))
    with cards.begin() as connection:
        connection.execute(statement, [{"k": n, "number": f"new-{n}"} for n in (1, 2, 3)])
    assert numbers(cards) == ["new-1", "new-2", "new-3"]


def test_an_update_that_matches_no_row_changes_nothing(cards):
    with cards.begin() as connection:
        assert connection.execute(set_number().where(card.c.id == 77)).rowcount == 0
        assert connection.execute(set_number().where(false(), card.c.id == 2)).rowcount == 0
    assert numbers(cards) == ["number-1", "number-2", "number-3"]


def test_orm_update_keeps_objects_of_the_session_in_step(cards):
    with cards.session() as session:
        loaded = session.get_one(Card, 2)
        session.execute(update(Card).values(number="new").where(Card.id == 2))
        assert loaded.number == "new"
        session.execute(
            update(Card)
            .values(number="newer")
            .where(Card.id == 2)
            .execution_options(synchronize_session="fetch")
        )
        assert loaded.number == "newer"
        session.commit()
        assert loaded.number == "newer"


def test_legacy_query_update(cards):
    with cards.session() as session:
        session.query(Card).filter(Card.id == 2).update({"number": "new"})
        session.commit()
    assert numbers(cards)[1] == "new"


@pytest.mark.parametrize("name", ["sqlite_db", "postgresql_db"])
def test_update_returning_delivers_the_new_value(request, name):
    db = request.getfixturevalue(name)
    db.create(Card.metadata)
    with db.session() as session:
        session.add(Card(id=2, number="old"))
        session.commit()
        column = update(Card).values(number="new").where(Card.id == 2).returning(Card.number)
        assert session.scalars(column).all() == ["new"]
        entity = update(Card).values(number="newer").where(Card.id == 2).returning(Card)
        assert session.scalars(entity).one().number == "newer"


def test_null_may_be_set_on_any_rows(cards):
    with cards.begin() as connection:
        connection.execute(update(card).values(number=None).where(card.c.id > 1))
        assert connection.scalars(select(card.c.number)).all().count(None) == 2
        connection.execute(update(card).values(number=null()))
    assert numbers(cards) == [None, None, None]


def test_other_columns_may_be_set_on_any_rows(cards):
    with cards.begin() as connection:
        assert connection.execute(update(card).values(holder=None)).rowcount == 3
    assert numbers(cards) == ["number-1", "number-2", "number-3"]


other: Any = aliased(Card)
other_card = card.alias("other_card")

AMBIGUOUS = {
    "no WHERE": lambda: set_number(CANARY),
    "another column": lambda: set_number(CANARY).where(card.c.holder != "holder-2"),
    "key in lists": lambda: set_number(CANARY).where(card.c.id.in_([2, 3])),
    "key < value": lambda: set_number(CANARY).where(card.c.id < 2),
    "key != value": lambda: set_number(CANARY).where(card.c.id != 2),
    "not key == value": lambda: set_number(CANARY).where(not_(card.c.id == 2)),
    "not and": lambda: set_number(CANARY).where(not_(and_(card.c.id == 2, card.c.pin == None))),  # noqa: E711
    "or": lambda: set_number(CANARY).where(or_(card.c.id == 2, card.c.id == 3)),
    "or with another": lambda: set_number(CANARY).where(
        or_(card.c.id == 2, card.c.holder == "holder-3")
    ),
    "key between": lambda: set_number(CANARY).where(card.c.id.between(2, 2)),
    "key rendered into the text": lambda: set_number(CANARY).where(
        card.c.id == bindparam("q", 2, literal_execute=True)
    ),
    "arithmetic": lambda: set_number(CANARY).where(card.c.id + 1 == 3),
    "value of a function that may change": lambda: set_number(CANARY).where(
        card.c.id == func.random()
    ),
    "expression of a column": lambda: set_number(CANARY).where(card.c.id == card.c.id + 0),
    "case": lambda: set_number(CANARY).where(card.c.id == case((card.c.id > 0, 2), else_=3)),
    "subquery": lambda: set_number(CANARY).where(
        card.c.id == select(Purchase.card_id).limit(1).scalar_subquery()
    ),
    "text": lambda: set_number(CANARY).where(text("id = 2")),
    "rows": lambda: set_number(CANARY).where(tuple_(card.c.id).in_([(2,), (3,)])),
    "a row with NULL": lambda: set_number(CANARY).where(tuple_(card.c.id) == tuple_(null())),
    "alias's key": lambda: set_number(CANARY).where(other_card.c.id == 2),
    "another table's key": lambda: set_number(CANARY).where(Seat.number == 2),
    "join to another table": lambda: set_number(CANARY).where(
        card.c.id == Seat.number, Seat.number == 2
    ),
    "collated": lambda: set_number(CANARY).where(card.c.holder.collate("NOCASE") == "holder-2"),
}


@pytest.mark.filterwarnings("ignore:UPDATE statement has a cartesian product")
@pytest.mark.parametrize("statement", AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
def test_an_update_that_does_not_pin_the_key_is_refused(sqlite_cards, statement):
    cards = sqlite_cards
    with cards.begin() as connection, cards.refused(AmbiguousRowError, card) as caught:
        connection.execute(statement())
    assert (caught.value.table, caught.value.column) == ("card", "number")
    assert "id" in caught.value.message


@pytest.mark.parametrize("name", ["no WHERE", "or", "key in lists", "subquery"])
def test_an_update_that_does_not_pin_the_key_is_refused_everywhere(cards, name):
    with cards.begin() as connection, cards.refused(AmbiguousRowError, card):
        connection.execute(AMBIGUOUS[name]())


def test_a_key_of_another_type_is_refused(cards):
    with cards.begin() as connection, cards.refused(UnknownIdentityError, card):
        connection.execute(set_number(CANARY).where(card.c.id == literal("second")))


def test_part_of_a_composite_key_is_not_enough(shop):
    with shop.begin() as connection:
        connection.execute(seat.insert().values(hall="A", number=1, guest="g"))
    part = update(seat).values(guest=CANARY).where(seat.c.number == 1)
    with shop.begin() as connection, shop.refused(AmbiguousRowError, seat) as caught:
        connection.execute(part)
    assert "hall" in caught.value.message
    with shop.begin() as connection:
        assert connection.execute(part.where(seat.c.hall == "A")).rowcount == 1
        assert connection.scalar(select(seat.c.guest)) == CANARY


EXPRESSIONS = {
    "another column": lambda: set_number(card.c.holder),
    "another encrypted column": lambda: set_number(card.c.pin),
    "itself": lambda: set_number(card.c.number),
    "function": lambda: set_number(func.lower(CANARY)),
    "text": lambda: set_number(text(f"'{CANARY}'")),
    "subquery": lambda: set_number(select(other_card.c.number).limit(1).scalar_subquery()),
    "case": lambda: set_number(case((card.c.id == 2, CANARY), else_=CANARY)),
    "attribute": lambda: update(Card).values(number=Card.holder),
}


@pytest.mark.parametrize("statement", EXPRESSIONS.values(), ids=EXPRESSIONS.keys())
def test_an_expression_as_value_is_refused(cards, statement):
    with cards.begin() as connection, cards.refused(CiphertextCopyError, card) as caught:
        connection.execute(statement().where(card.c.id == 2))
    assert (caught.value.table, caught.value.column) == ("card", "number")


def test_a_multi_table_update_of_an_encrypted_column_is_refused(mariadb_db):
    mariadb_db.create(Card.metadata)
    statement = (
        update(seat)
        .values({seat.c.number: 1, card.c.number: CANARY})
        .where(card.c.id == seat.c.number)
    )
    with mariadb_db.begin() as connection, mariadb_db.refused(AmbiguousRowError, card):
        connection.execute(statement)


def test_a_multi_table_update_of_what_has_an_onupdate_is_refused_by_its_name(mariadb_db):
    """It is set although the statement does not say so."""
    metadata = MetaData()
    base = Table(
        "person",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("age", Integer),
        Column("number", EncryptedType(), onupdate=CANARY),
    )
    sub = Table("nurse", metadata, Column("id", Integer, primary_key=True), Column("own", Integer))
    mariadb_db.create(metadata)
    statement = update(sub).values({sub.c.own: 1, base.c.age: 2}).where(base.c.id == sub.c.id)
    bound = Table("ward", metadata, Column("id", Integer, primary_key=True), Column("n", Integer))
    bound.append_column(Column("secret", EncryptedType()))
    mariadb_db.create(metadata)
    of_two = update(bound).values({bound.c.n: 1, base.c.age: 2}).where(base.c.id == bound.c.id)
    for each in (statement, of_two):
        with (
            mariadb_db.begin() as connection,
            mariadb_db.refused(AmbiguousRowError, base) as caught,
        ):
            connection.execute(each)
        assert (caught.value.table, caught.value.column) == ("person", "number")
        assert "onupdate=" in str(caught.value)


def test_an_update_inside_a_cte_is_refused(postgresql_db):
    postgresql_db.create(Card.metadata)
    changed = set_number(CANARY).where(card.c.id == 1).returning(card.c.id).cte("changed")
    with postgresql_db.begin() as connection, postgresql_db.refused(Exception, card):
        connection.execute(select(changed.c.id))


def kept_unless(new: Any) -> Any:
    """An UPDATE that gives a card another number if there is one, and another holder."""
    return update(Card).values(number=func.coalesce(new, Card.number), holder=Card.holder + "x")


@pytest.mark.parametrize("value", ["new", None])
def test_coalesce_with_the_column_itself_sets_a_value_if_there_is_one(cards, value):
    named: Any = bindparam("new")
    given: Any = bindparam("given", value)
    core = update(card).values(
        number=func.coalesce(given, card.c.number), holder=card.c.holder + "x"
    )
    with cards.session() as session:
        for n, statement in enumerate((kept_unless(named), kept_unless(given), core), start=1):
            kept = session.get_one(Card, n)
            changed: Any = session.execute(statement.where(card.c.id == n), {"new": value})
            assert changed.rowcount == 1
            session.refresh(kept)
            assert kept.number == (value or f"number-{n}")
            assert kept.holder == f"holder-{n}x"
        session.rollback()
        session.execute(kept_unless(None).where(Card.id == 2))
        assert session.get_one(Card, 2).number == "number-2"
        session.execute(kept_unless("other").where(Card.id == 2))
        session.execute(kept_unless(literal("third")).where(Card.id == 3))
        session.commit()
    assert numbers(cards)[1:3] == ["other", "third"]


def test_a_value_of_many_rows_is_refused_in_coalesce_too(cards):
    before = numbers(cards)
    with cards.session() as session:
        with pytest.raises(AmbiguousRowError):
            session.execute(kept_unless(CANARY))
        changed: Any = session.execute(kept_unless(bindparam("new")), {"new": None})
        assert changed.rowcount == len(before)
        session.rollback()
    assert numbers(cards) == before


OTHER_CHOICES: dict[str, Any] = {
    "nothing else is set, and there may be no value": lambda: update(Card).values(
        number=func.coalesce(bindparam("new", None), Card.number)
    ),
    "a function of a value": lambda: kept_unless(func.lower("x")),
    "the column first": lambda: update(Card).values(number=func.coalesce(Card.number, "x")),
    "two values": lambda: update(Card).values(number=func.coalesce("x", "y", Card.number)),
}


@pytest.mark.parametrize("name", OTHER_CHOICES)
def test_any_other_choice_is_refused(cards, name):
    with cards.session() as session, pytest.raises(UnsupportedOperationError):
        session.execute(OTHER_CHOICES[name]().where(Card.id == 2))


INSTEAD: dict[str, tuple[Any, list[str]]] = {
    "a CASE": (case({1: "a", 2: "b"}, value=Card.id), ["a CASE is assigned", "into the WHERE"]),
    "a function": (func.nullif("x", ""), ["the function nullif()", "a list of parameters"]),
    "a CASE that may keep it": (
        case((Card.holder == "x", "new"), else_=Card.number),
        ["its use in 'CASE'", "in its WHERE"],
    ),
    "a value where there is none": (
        func.coalesce(Card.number, "x"),
        ["the function coalesce()", "update().where(column.is_(None))"],
    ),
}


@pytest.mark.parametrize("name", INSTEAD)
def test_the_refusal_of_an_expression_says_what_to_write_instead(sqlite_cards, name):
    expression, told = INSTEAD[name]
    with sqlite_cards.session() as session, pytest.raises(BindingError) as caught:
        session.execute(update(Card).where(Card.id == 2).values(number=expression))
    assert (caught.value.table, caught.value.column) == ("card", "number")
    for words in told:
        assert words in caught.value.message
