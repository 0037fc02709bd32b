"""Writing through Core: each form of INSERT seals its values for the rows it makes."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from sqlalchemy import bindparam, delete, insert, lambda_stmt, null, select
from sqlalchemy.exc import IntegrityError

from encfields.errors import (
    BindingError,
    CiphertextCopyError,
    UnboundValueError,
    ValueEncodingError,
)
from tests.binding.models import Card, Purchase, Seat
from tests.database import CANARY
from tests.turns import databases_by_turns, on_each_database

pytestmark = databases_by_turns

card: Any = Card.__table__
seat: Any = Seat.__table__
purchase: Any = Purchase.__table__
NUMBERS = [(1, "n-1"), (2, "n-2"), (3, "n-3")]
ROWS = [{"id": n, "number": number} for n, number in NUMBERS]


def numbers(db) -> list[tuple[int, str | None]]:
    with db.begin() as connection:
        rows = connection.execute(select(card.c.id, card.c.number).order_by(card.c.id))
        return [tuple(row) for row in rows]


INSERTS = {
    "values by keyword": lambda c: [c.execute(insert(card).values(**row)) for row in ROWS],
    "values by dict": lambda c: [c.execute(insert(card).values(row)) for row in ROWS],
    "values by column": lambda c: [
        c.execute(insert(card).values({card.c.id: n, card.c.number: v})) for n, v in NUMBERS
    ],
    "values by tuple": lambda c: [
        c.execute(insert(card).values((n, None, v, None, None))) for n, v in NUMBERS
    ],
    "parameters": lambda c: [c.execute(insert(card), row) for row in ROWS],
    "executemany": lambda c: c.execute(insert(card), ROWS),
    "executemany in other order": lambda c: c.execute(
        insert(card), [{"number": v, "id": n} for n, v in NUMBERS]
    ),
    "many values": lambda c: c.execute(insert(card).values(ROWS)),
    "many values by tuple": lambda c: c.execute(
        insert(card).values([(n, None, v, None, None) for n, v in NUMBERS])
    ),
    "many values twice": lambda c: c.execute(insert(card).values(ROWS[:1]).values(ROWS[1:])),
    "many values in other order": lambda c: c.execute(
        insert(card).values([{"number": v, "id": n} for n, v in NUMBERS])
    ),
    "bindparam": lambda c: c.execute(
        insert(card).values(id=bindparam("the_key"), number=bindparam("the_value")),
        [{"the_key": n, "the_value": v} for n, v in NUMBERS],
    ),
    "bindparam swapped": lambda c: c.execute(
        insert(card).values(number=bindparam("id_"), id=bindparam("number_")),
        [{"number_": n, "id_": v} for n, v in NUMBERS],
    ),
    "values and parameters": lambda c: [
        c.execute(insert(card).values(number=v), {"id": n}) for n, v in NUMBERS
    ],
    "value and executemany": lambda c: [
        c.execute(insert(card).values(holder=None), ROWS),
    ],
    "inline": lambda c: [c.execute(insert(card).values(**row).inline()) for row in ROWS],
    "lambda": lambda c: c.execute(lambda_stmt(lambda: insert(card)), ROWS),
}


@pytest.mark.parametrize("write", INSERTS.values(), ids=INSERTS.keys())
def test_an_insert_seals_each_value_for_its_row(shop, write):
    with shop.begin() as connection:
        write(connection)
    assert numbers(shop) == NUMBERS


def test_an_insert_with_null_in_between(shop):
    rows = [{"id": 1, "number": "n-1"}, {"id": 2, "number": None}, {"id": 3, "number": "n-3"}]
    for form in (lambda c: c.execute(insert(card), rows), None):
        with shop.begin() as connection:
            connection.execute(delete(card))
            if form is not None:
                form(connection)
            else:
                connection.execute(insert(card).values(rows))
        assert numbers(shop) == [(1, "n-1"), (2, None), (3, "n-3")]


def test_a_column_that_the_first_of_many_values_does_not_name_is_left_out(shop):
    """SQLAlchemy has the first row say which columns are written."""
    with shop.begin() as connection:
        connection.execute(insert(card).values([{"id": 1}, {"id": 2, "number": "n-2"}]))
    assert numbers(shop) == [(1, None), (2, None)]


def test_sql_null_is_allowed(shop):
    with shop.begin() as connection:
        connection.execute(insert(card).values(id=1, number=null()))
        connection.execute(insert(card).values([{"id": 2, "number": null()}]))
    assert numbers(shop) == [(1, None), (2, None)]


def test_a_default_key_binds_in_every_form(shop):
    with shop.begin() as connection:
        connection.execute(insert(purchase).values(label="a", article="a"))
        connection.execute(insert(purchase), [{"label": x, "article": x} for x in "bc"])
        connection.execute(insert(purchase).values([{"label": x, "article": x} for x in "def"]))
        rows = connection.execute(select(purchase.c.label, purchase.c.article)).all()
    assert sorted(tuple(row) for row in rows) == [(x, x) for x in "abcdef"]


def test_the_result_reports_the_default_key(shop):
    with shop.begin() as connection:
        done = connection.execute(insert(purchase).values(article="a"))
        (key,) = done.inserted_primary_key
        assert isinstance(key, uuid.UUID)
        statement = select(purchase.c.article).where(purchase.c.id == key)
        assert connection.scalar(statement) == "a"


@on_each_database
def test_insert_returning_the_value(shop):
    shop.backend.require_returning()
    statement = insert(card).returning(card.c.id, card.c.number)
    with shop.begin() as connection:
        assert connection.execute(statement.values(ROWS[0])).one() == (1, "n-1")
        assert sorted(map(tuple, connection.execute(statement, ROWS[1:]))) == NUMBERS[1:]


def test_a_composite_key_binds_in_every_form(shop):
    with shop.begin() as connection:
        connection.execute(insert(seat).values(hall="A", number=1, guest="A1"))
        connection.execute(
            insert(seat), [{"hall": "A", "number": n, "guest": f"A{n}"} for n in (2, 3)]
        )
        connection.execute(
            insert(seat).values([{"hall": "B", "number": n, "guest": f"B{n}"} for n in (2, 3)])
        )
        rows = connection.execute(select(seat)).all()
    assert len(rows) == 5
    assert all(row.guest == f"{row.hall}{row.number}" for row in rows)


def test_a_thousand_rows_in_one_insert(shop):
    rows = [{"id": n, "number": f"n-{n}"} for n in range(1000)]
    with shop.begin() as connection:
        connection.execute(insert(card), rows)
    assert numbers(shop) == [(n, f"n-{n}") for n in range(1000)]


def test_the_application_s_parameters_are_left_as_they_are(shop):
    rows = [dict(row) for row in ROWS]
    statement = insert(card).values(id=9, number="n-9")
    with shop.begin() as connection:
        connection.execute(insert(card), rows)
        connection.execute(statement)
        connection.execute(delete(card))
        connection.execute(insert(card), rows)
        connection.execute(statement)
    assert rows == ROWS
    assert numbers(shop) == [*NUMBERS, (9, "n-9")]


def test_a_value_that_is_refused_leaves_none_of_its_rows(shop):
    rows = [{"id": 1, "pin": 1}, {"id": 2, "pin": "x" + CANARY}]
    with shop.begin() as connection, shop.refused(ValueEncodingError, card):
        connection.execute(insert(card), rows)


def test_an_integrity_error_shows_no_value(cards):
    with pytest.raises(IntegrityError) as caught, cards.begin() as connection:
        connection.execute(insert(card), [{"id": 1, "number": CANARY}])
    assert CANARY not in str(caught.value)
    assert CANARY not in repr(caught.value.params)


# -- INSERT .. SELECT and CTEs -----------------------------------------------------------------


def test_insert_from_select_into_an_encrypted_column_is_refused(cards):
    source = select(card.c.id + 10, card.c.number)
    with cards.begin() as connection, cards.refused(CiphertextCopyError, card) as caught:
        connection.execute(insert(card).from_select(["id", "number"], source))
    assert "encfields_raw_copy" in str(caught.value)
    assert (caught.value.table, caught.value.column) == ("card", "number")


def test_insert_from_select_into_other_columns_works(cards):
    source = select(card.c.id + 10, card.c.id + 100)
    with cards.begin() as connection:
        connection.execute(insert(seat).from_select(["number", "hall"], source))
        rows = connection.execute(select(Seat.number, Seat.hall, Seat.guest)).all()
    assert sorted(row.number for row in rows) == [11, 12, 13]
    assert all(row.guest is None for row in rows)


def test_a_raw_copy_of_whole_rows_is_possible_on_request(cards):
    with cards.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE kept AS SELECT * FROM card")
        connection.execute(delete(card))
        kept = card.to_metadata(type(card.metadata)(), name="kept")
        columns = [column.key for column in card.c]
        copy = insert(card).from_select(columns, select(kept))
        with pytest.raises(CiphertextCopyError):
            connection.execute(copy)
        connection.execute(copy, execution_options={"encfields_raw_copy": True})
    assert numbers(cards) == [(n, f"number-{n}") for n in (1, 2, 3)]


def test_a_raw_copy_lifts_no_other_refusal(shop):
    options = {"encfields_raw_copy": True}
    with shop.begin() as connection, shop.refused(BindingError, card):
        connection.execute(
            select(card.c.id).where(card.c.holder == bindparam("x", "y", card.c.number.type)),
            execution_options=options,
        )


def test_an_insert_inside_a_cte_is_refused(postgresql_db):
    postgresql_db.create(card.metadata)
    made = insert(card).values(id=1, number=CANARY).returning(card.c.id).cte("made")
    with (
        postgresql_db.begin() as connection,
        postgresql_db.refused(UnboundValueError, card),
    ):
        connection.execute(select(made.c.id))
