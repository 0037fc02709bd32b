"""``returning(column("number"))``: a column that RETURNING gives by its bare name."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import (
    LargeBinary,
    String,
    column,
    delete,
    insert,
    literal_column,
    select,
    update,
)
from sqlalchemy.orm import Session

from encfields.errors import ContextMismatchError, UnsupportedOperationError
from tests.binding.models import Card
from tests.turns import databases_by_turns

pytestmark = databases_by_turns

ROWS: list[dict[str, Any]] = [{"id": n, "number": f"number-{n}"} for n in (4, 5)]


def _changed(statement):
    return statement.where(Card.id == 1).values(number="changed")


@pytest.mark.parametrize("written", [Card, Card.__table__], ids=["model", "table"])
@pytest.mark.parametrize(
    "name", [column("number"), column("number", String), column("number").label("number")]
)
def test_an_insert_returns_the_value_of_a_column_it_names(cards, written, name):
    cards.backend.require_returning()
    statement = insert(written).returning(column("id"), name)
    with Session(cards.engine) as session:
        assert session.execute(statement.values(ROWS[0])).mappings().one() == ROWS[0]
        assert sorted(map(tuple, session.execute(statement, ROWS[1:]))) == [(5, "number-5")]


@pytest.mark.parametrize("written", [Card, Card.__table__], ids=["model", "table"])
def test_an_update_and_a_delete_do_too(cards, written):
    name: Any = column("number")
    with Session(cards.engine) as session:
        if session.connection().dialect.update_returning:
            row = session.execute(_changed(update(written)).returning(name, Card.id)).one()
            assert (row._mapping[name], row.number, row.id) == ("changed", "changed", 1)
        if session.connection().dialect.delete_returning:
            statement: Any = delete(written).where(Card.id == 2).returning(name.label("was"))
            assert session.scalars(statement).one() == "number-2"


@pytest.mark.parametrize("written", [Card, Card.__table__], ids=["model", "table"])
def test_a_name_is_returned_beside_the_column_itself(cards, written):
    cards.backend.require_returning()
    name: Any = column("number")
    for returned in ((name, Card.number), (Card.number, name)):
        with Session(cards.engine) as session:
            row = session.execute(insert(written).values(ROWS[0]).returning(*returned)).one()
        assert row == ("number-4", "number-4")


def test_a_name_is_returned_in_any_case_where_the_database_takes_it_in_any(cards):
    cards.backend.require_returning()
    statement: Any = insert(Card).values(ROWS[0]).returning(column("NUMBER"))
    with cards.begin() as connection:
        if connection.dialect.name != "postgresql":
            assert connection.execute(statement).one()._mapping == {"NUMBER": "number-4"}


def test_a_copied_message_is_refused_there(cards):
    cards.copy_cell(Card.number, source=2, target=1)
    statement: Any = update(Card).where(Card.id == 1).values(holder="x").returning(column("number"))
    with Session(cards.engine) as session:
        if session.connection().dialect.update_returning:
            with pytest.raises(ContextMismatchError):
                session.execute(statement).all()


@pytest.mark.parametrize("name", [literal_column("number"), column("number", LargeBinary)])
def test_who_asks_for_bytes_or_raw_sql_gets_the_message(cards, name):
    cards.backend.require_returning()
    statement = insert(Card).values(ROWS[0]).returning(name)
    with cards.begin() as connection:
        assert bytes(connection.scalar(statement)).startswith(b"\x02\x04\x78")


@pytest.mark.parametrize("name", [column("number"), column("number", String).label("was")])
def test_a_name_that_a_cte_returns_is_refused_and_the_column_itself_is_read(cards, name):
    def read_outside(returned: Any) -> Any:
        return select(delete(Card).where(Card.id == 1).returning(returned, Card.id).cte("gone"))

    refusal = r"card\.number: the RETURNING of a CTE .* return the column itself"
    with cards.begin() as connection:
        if connection.dialect.name != "postgresql":
            pytest.skip("only PostgreSQL has a write in a CTE")
        for written in (insert(Card).values(id=9), update(Card).values(holder="x"), delete(Card)):
            with pytest.raises(UnsupportedOperationError, match=refusal):
                connection.execute(select(written.returning(name).cte()))
        as_bytes = read_outside(column("number", LargeBinary))
        nested = connection.begin_nested()
        assert bytes(connection.scalar(as_bytes)).startswith(b"\x02\x04\x78")
        nested.rollback()
        assert connection.scalar(read_outside(Card.number)) == "number-1"


def test_a_statement_of_entities_reads_the_name_that_it_executes(cards):
    cards.backend.require_returning()
    written: Any = insert(Card).values(ROWS[0]).returning(column("id"), column("number"))
    with Session(cards.engine) as session:
        found = session.scalars(select(Card).from_statement(written)).one()
        assert (found.id, found.number) == (4, "number-4")
