"""Raw SQL: ciphertext comes and goes as bytes, and never becomes a value by accident."""

from __future__ import annotations

import pytest
from sqlalchemy import bindparam, column, insert, literal_column, select, table, text, update
from sqlalchemy.orm import aliased

from encfields import EncryptedType
from encfields.errors import (
    ContextMismatchError,
    NotAttachedError,
    UnboundValueError,
    UnreadableError,
)
from tests.binding.models import Card
from tests.database import CANARY
from tests.turns import databases_by_turns

pytestmark = databases_by_turns

MAGIC = b"\x02\x04\x78"


def test_text_gives_bytes(cards):
    with cards.begin() as connection:
        for statement in (
            text("SELECT number FROM card"),
            select(literal_column("number")).select_from(text("card")),
            select(table("card", column("number")).c.number),
            text("SELECT number FROM card").columns(column("number")),
        ):
            for value in connection.scalars(statement):
                assert bytes(value).startswith(MAGIC)
        for (value,) in connection.exec_driver_sql("SELECT number FROM card"):
            assert bytes(value).startswith(MAGIC)


def test_text_typed_as_encrypted_is_refused(cards):
    statement = text("SELECT number FROM card").columns(number=EncryptedType())
    with cards.begin() as connection, pytest.raises(UnreadableError) as caught:
        connection.execute(statement).all()
    assert "bare" in str(caught.value)


def test_text_typed_as_encrypted_gives_null_as_none(cards):
    statement = text("SELECT pin FROM card").columns(pin=EncryptedType())
    with cards.begin() as connection:
        assert set(connection.scalars(statement)) == {None}


def test_text_with_the_table_s_columns_as_a_subquery_is_bound_to_its_rows(cards):
    rows = text("SELECT * FROM card").columns(*Card.__table__.c).subquery()
    statement = select(aliased(Card, rows)).order_by(rows.c.id)
    with cards.session() as session:
        assert [one.number for one in session.scalars(statement)] == [
            "number-1",
            "number-2",
            "number-3",
        ]
    cards.copy_cell(Card.number, source=2, target=1)
    with cards.session() as session, pytest.raises(ContextMismatchError):
        session.scalars(statement).all()


def test_an_encrypted_parameter_of_text_is_refused(cards):
    statement = text("UPDATE card SET number = :v WHERE id = 1").bindparams(
        bindparam("v", CANARY, EncryptedType())
    )
    with cards.begin() as connection, cards.refused(UnboundValueError, Card.__table__):
        connection.execute(statement)


def test_a_lightweight_table_with_an_encrypted_column_is_refused(cards):
    bare = table("card", column("id"), column("number", EncryptedType()))
    for statement in (insert(bare).values(id=9, number=CANARY), update(bare).values(number="x")):
        with cards.begin() as connection, cards.refused(UnboundValueError, Card.__table__) as told:
            connection.execute(statement)
        assert str(told.value).startswith("card.number: table() and column() do not tell")
    with cards.begin() as connection, pytest.raises(UnreadableError, match="use the model, or a"):
        connection.execute(select(bare.c.number)).all()


def test_an_engine_that_was_never_attached_refuses_to_write(cards):
    with cards.plain.begin() as connection, cards.refused(NotAttachedError, Card.__table__):
        connection.execute(insert(Card).values(id=9, number=CANARY))
    with cards.plain.begin() as connection, cards.refused(NotAttachedError, Card.__table__):
        connection.execute(insert(Card), [{"id": 9, "number": CANARY}])


def test_an_engine_that_was_never_attached_refuses_to_read(cards):
    with cards.plain.begin() as connection:
        with pytest.raises(NotAttachedError) as caught:
            connection.execute(select(Card.number)).all()
        assert (caught.value.table, caught.value.column) == ("card", "number")


def test_an_engine_that_was_never_attached_reads_no_rows_of_raw_sql(cards):
    raw = text("SELECT id, number FROM card")
    for statement in (raw.columns(Card.id, Card.number), select(Card).from_statement(raw)):
        with cards.plain.begin() as connection, pytest.raises(NotAttachedError):
            connection.execute(statement).all()


def test_an_engine_that_was_never_attached_reads_and_writes_null(cards):
    with cards.plain.begin() as connection:
        connection.execute(insert(Card).values(id=9, number=None))
        assert connection.scalar(select(Card.number).where(Card.id == 9)) is None


def test_a_detached_engine_refuses(cards):
    cards.encryption.detach()
    with cards.begin() as connection, cards.refused(NotAttachedError, Card.__table__):
        connection.execute(insert(Card).values(id=9, number=CANARY))
    with cards.begin() as connection, pytest.raises(NotAttachedError):
        connection.execute(select(Card.number)).all()


def test_a_view_of_the_engine_with_options_is_attached_too(cards):
    view = cards.engine.execution_options(stream_results=False)
    with view.begin() as connection:
        connection.execute(insert(Card).values(id=9, number=CANARY))
        assert connection.scalar(select(Card.number).where(Card.id == 9)) == CANARY
    cards.assert_no_plaintext()
