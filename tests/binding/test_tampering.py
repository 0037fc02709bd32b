"""What an attacker who can write to the tables may do, and how it is found out."""

from __future__ import annotations

import uuid

import pytest
from sqlalchemy import (
    Column,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    delete,
    select,
    type_coerce,
    update,
)

from encfields import EncryptedType, SqlKeyStore, attach, keyrings
from encfields.errors import (
    ContextMismatchError,
    DecryptionError,
    KeyStoreError,
    MalformedMessageError,
)
from tests.binding.models import Card, Purchase, Seat
from tests.turns import databases_by_turns

pytestmark = databases_by_turns


def number_of(db, key: int):
    with db.session() as session:
        return session.get_one(Card, key).number


def test_a_value_of_another_row_is_refused_and_both_rows_are_named(cards):
    cards.copy_cell(Card.number, source=2, target=1)
    with pytest.raises(ContextMismatchError) as caught:
        number_of(cards, 1)
    assert "card.number" in str(caught.value)
    assert "id=1" in str(caught.value)
    assert "'enc:row:id': '2'" in str(caught.value)
    assert number_of(cards, 2) == "number-2"


def test_two_values_swapped_are_both_refused(cards):
    one, two = cards.stored(Card.number, 1), cards.stored(Card.number, 2)
    cards.overwrite(Card.number, 1, two)
    cards.overwrite(Card.number, 2, one)
    for key in (1, 2):
        with pytest.raises(ContextMismatchError):
            number_of(cards, key)
    assert number_of(cards, 3) == "number-3"


def test_a_value_of_another_column_is_refused(cards):
    with cards.session() as session:
        session.get_one(Card, 1).pin = 12
        session.commit()
    cards.overwrite(Card.number, 1, cards.stored(Card.pin, 1))
    with pytest.raises(ContextMismatchError) as caught:
        number_of(cards, 1)
    assert caught.value.expected == {"enc:column": "card.number", "enc:row:id": "1"}
    assert caught.value.found == {"enc:column": "card.pin", "enc:row:id": "1"}
    assert "card.pin" in str(caught.value)


def test_a_value_of_another_table_is_refused(cards):
    key = uuid.uuid4()
    with cards.session() as session:
        session.add(Purchase(id=key, article="a"))
        session.commit()
    cards.overwrite(Card.number, 1, cards.stored(Purchase.article, key))
    with pytest.raises(ContextMismatchError) as caught:
        number_of(cards, 1)
    assert caught.value.found == {"enc:column": "purchase.article", "enc:row:id": str(key)}


def test_a_value_of_another_part_of_a_composite_key_is_refused(shop):
    with shop.session() as session:
        session.add_all(Seat(hall=h, number=n, guest=f"{h}{n}") for h in "AB" for n in (1, 2))
        session.commit()
    shop.copy_cell(Seat.guest, source=("A", 1), target=("B", 1))
    shop.copy_cell(Seat.guest, source=("A", 1), target=("A", 2))
    with shop.session() as session:
        for key in (("B", 1), ("A", 2)):
            with pytest.raises(ContextMismatchError):
                session.get(Seat, key)
        assert session.get_one(Seat, ("B", 2)).guest == "B2"


def test_a_row_whose_key_is_changed_below_us_is_refused(cards):
    cards.execute_plain("UPDATE card SET id = 77 WHERE id = 1")
    with pytest.raises(ContextMismatchError) as caught:
        number_of(cards, 77)
    assert caught.value.row == {"id": "77"}


def test_a_row_put_back_under_its_own_key_is_readable(cards):
    message = cards.stored(Card.number, 1)
    with cards.begin() as connection:
        connection.execute(delete(Card).where(Card.id == 1))
    cards.execute_plain("INSERT INTO card (id) VALUES (1)")
    cards.overwrite(Card.number, 1, message)
    assert number_of(cards, 1) == "number-1"


def test_every_byte_of_a_message_counts(sqlite_cards):
    message = sqlite_cards.stored(Card.number, 1)
    statement = select(Card.number).where(Card.id == 1)
    with sqlite_cards.session() as session:
        assert session.scalar(statement) == "number-1"
    for position in range(len(message)):
        changed = bytearray(message)
        changed[position] ^= 0x01
        sqlite_cards.overwrite(Card.number, 1, bytes(changed))
        with sqlite_cards.begin() as connection:
            with pytest.raises((DecryptionError, KeyStoreError)) as caught:
                connection.scalar(statement)
            assert caught.value.column == "number", position


@pytest.mark.parametrize("part", [0, 1, 2, 50, -17, -1])
def test_a_message_cut_short_is_refused(cards, part):
    cards.overwrite(Card.number, 1, cards.stored(Card.number, 1)[:part])
    with pytest.raises(MalformedMessageError) as caught:
        number_of(cards, 1)
    assert (caught.value.table, caught.value.column) == ("card", "number")
    assert caught.value.row == {"id": "1"}


@pytest.mark.parametrize(
    "garbage",
    [b"number-1", b":", b"::::", b"1:2", b"\x00", b"\x02\x04\x78", bytes(300), b"\xff" * 300],
)
def test_what_is_no_message_is_refused(cards, garbage):
    cards.overwrite(Card.number, 1, garbage)
    with pytest.raises(DecryptionError) as caught:
        number_of(cards, 1)
    assert caught.value.row == {"id": "1"}
    assert garbage.decode("latin-1") not in str(caught.value) or len(garbage) < 4


def test_a_message_with_something_behind_it_is_refused(cards):
    cards.overwrite(Card.number, 1, cards.stored(Card.number, 1) + b"\x00")
    with pytest.raises(DecryptionError):
        number_of(cards, 1)


def test_a_message_packed_like_a_cell_is_refused(cards):
    cards.overwrite(Card.number, 1, b"2:" + cards.stored(Card.number, 2))
    with pytest.raises(DecryptionError):
        number_of(cards, 1)


def test_null_written_by_an_attacker_reads_as_none(cards):
    cards.overwrite(Card.number, 1, None)
    assert number_of(cards, 1) is None


def test_a_message_of_the_same_place_under_another_key_store_s_key_is_refused(cards):
    engine = cards.backend.create_engine()
    store = SqlKeyStore(keyrings.local(bytes(32)), table_name="other_keys")
    attach(engine, store, create=True)
    table = Table(
        "card",
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("number", EncryptedType()),
    )
    with engine.begin() as connection:
        connection.execute(table.update().values(number="forged").where(table.c.id == 1))
    with pytest.raises(KeyStoreError) as caught:
        number_of(cards, 1)
    assert (caught.value.table, caught.value.column) == ("card", "number")


def test_the_pack_is_not_confused_by_a_key_that_looks_like_one(shop):
    with shop.session() as session:
        session.add(Seat(hall="A:1", number=1, guest="long hall"))
        session.add(Seat(hall="A", number=11, guest="short hall"))
        session.commit()
    shop.copy_cell(Seat.guest, source=("A:1", 1), target=("A", 11))
    with shop.session() as session, pytest.raises(ContextMismatchError):
        session.get(Seat, ("A", 11))


def test_an_update_over_a_moved_value_makes_the_row_whole(cards):
    cards.copy_cell(Card.number, source=2, target=1)
    with cards.begin() as connection:
        connection.execute(update(Card).values(number="again").where(Card.id == 1))
    assert number_of(cards, 1) == "again"


def test_raw_bytes_stay_readable_as_bytes(cards):
    cards.copy_cell(Card.number, source=2, target=1)
    with cards.begin() as connection:
        raw = type_coerce(Card.number, LargeBinary)
        one, two = connection.scalars(select(raw).where(Card.id < 3).order_by(Card.id))
        assert bytes(one) == bytes(two)
