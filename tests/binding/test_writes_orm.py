"""Writing through the ORM: each value is sealed for its own row, and attributes stay values."""

from __future__ import annotations

import pickle
import uuid
from typing import Any

import pytest
from sqlalchemy import ForeignKey, MetaData, insert, inspect, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import DeclarativeBase, Mapped, WriteOnlyMapped, mapped_column, relationship

from encfields import BlindIndex, EncryptedType
from encfields.errors import ValueEncodingError
from tests.binding.models import Card, Purchase, Seat
from tests.database import CANARY
from tests.turns import databases_by_turns, on_each_database

pytestmark = databases_by_turns


class Albums(DeclarativeBase):
    pass


class Album(Albums):
    __tablename__ = "album"

    id: Mapped[int] = mapped_column(primary_key=True)
    tracks: WriteOnlyMapped[Track] = relationship(passive_deletes=True)


class Track(Albums):
    """Its key has its album's key in it."""

    __tablename__ = "track"

    album_id: Mapped[int] = mapped_column(ForeignKey("album.id"), primary_key=True)
    place: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(EncryptedType(index=BlindIndex()))


VALUES = ["", "x", "zażółć 🜚", "a" * 70_000]


def articles(db) -> dict[str | None, str | None]:
    """What is stored, by label."""
    with db.session() as session:
        rows = session.execute(select(Purchase.label, Purchase.article))
        return {row.label: row.article for row in rows}


def test_an_added_object_is_stored_sealed_and_read_back(shop):
    with shop.session() as session:
        for n, value in enumerate(VALUES):
            session.add(Card(id=n, number=value))
        session.commit()
        for n, value in enumerate(VALUES):
            assert session.get_one(Card, n).number == value
            assert shop.stored(Card.number, n).startswith(b"\x02\x04\x78")


def test_the_database_holds_no_plaintext(shop):
    with shop.session() as session:
        session.add(Card(id=1, number=CANARY, details={"a": CANARY}))
        session.add_all(Purchase(label=str(n), article=CANARY) for n in range(5))
        session.add(Seat(hall="A", number=1, guest=CANARY))
        session.commit()
    shop.assert_no_plaintext()


def test_no_two_messages_of_the_same_value_are_alike(shop):
    with shop.session() as session:
        session.add_all(Card(id=n, number="same") for n in range(20))
        session.commit()
    assert len({shop.stored(Card.number, n) for n in range(20)}) == 20


def test_attributes_hold_values_after_flush_commit_and_refresh(shop):
    with shop.session() as session:
        card = Card(id=1, number="n-1", pin=7)
        session.add(card)
        session.flush()
        assert (card.number, card.pin) == ("n-1", 7)
        session.commit()
        assert (card.number, card.pin) == ("n-1", 7)
        session.refresh(card)
        assert (card.number, card.pin) == ("n-1", 7)


def test_add_all_of_many_rows_binds_each_to_its_own(shop):
    with shop.session() as session:
        session.add_all(Purchase(label=str(n), article=f"article {n}") for n in range(1200))
        session.commit()
    assert articles(shop) == {str(n): f"article {n}" for n in range(1200)}


def test_rows_with_and_without_a_value_can_be_mixed(shop):
    with shop.session() as session:
        session.add_all(Card(id=n, number=None if n % 2 else f"n-{n}") for n in range(30))
        session.commit()
        for n in range(30):
            assert session.get_one(Card, n).number == (None if n % 2 else f"n-{n}")


def test_a_default_key_and_an_explicit_key_both_bind(shop):
    given = uuid.uuid4()
    with shop.session() as session:
        session.add_all([Purchase(id=given, article="given"), Purchase(article="made")])
        session.commit()
        assert session.get_one(Purchase, given).article == "given"
        assert session.scalars(select(Purchase.article)).all().count("made") == 1


@pytest.mark.parametrize("key", [0, -1, -(2**31), 2**31 - 1])
def test_any_integer_key_binds(shop, key):
    with shop.session() as session:
        session.add(Card(id=key, number="n"))
        session.commit()
        assert session.get_one(Card, key).number == "n"


def test_a_composite_key_binds(shop):
    with shop.session() as session:
        session.add_all(Seat(hall=h, number=n, guest=f"{h}{n}") for h in "AB" for n in (1, 2))
        session.commit()
        for seat in session.scalars(select(Seat)):
            assert seat.guest == f"{seat.hall}{seat.number}"


def test_an_update_of_an_attribute_is_sealed(cards):
    with cards.session() as session:
        session.get_one(Card, 2).number = CANARY
        session.commit()
    with cards.session() as session:
        assert session.get_one(Card, 2).number == CANARY
        assert session.get_one(Card, 1).number == "number-1"
    cards.assert_no_plaintext()


def test_updates_of_many_rows_in_one_flush_are_sealed_for_each(cards):
    with cards.session() as session:
        for card in session.scalars(select(Card)):
            card.number = f"new-{card.id}"
        session.commit()
    with cards.session() as session:
        assert session.scalars(select(Card.number).order_by(Card.id)).all() == [
            "new-1",
            "new-2",
            "new-3",
        ]


def test_setting_none_stores_null(cards):
    with cards.session() as session:
        session.get_one(Card, 1).number = None
        session.commit()
    assert cards.stored(Card.number, 1) is None


def test_an_unchanged_value_is_not_written_again(cards):
    before = cards.stored(Card.number, 1)
    with cards.session() as session, cards.statements() as seen:
        card = session.get_one(Card, 1)
        card.number = "number-1"
        card.details = {"n": 1}
        session.commit()
        assert not any(context.isupdate for context in seen)
    assert cards.stored(Card.number, 1) == before


def test_writing_another_column_leaves_the_message_alone(cards):
    before = cards.stored(Card.number, 1)
    with cards.session() as session:
        session.get_one(Card, 1).holder = "someone"
        session.commit()
    assert cards.stored(Card.number, 1) == before


def test_a_change_inside_a_mutable_value_is_written(cards):
    with cards.session() as session:
        card = session.get_one(Card, 1)
        card.details["more"] = [1, 2]
        session.commit()
    with cards.session() as session:
        assert session.get_one(Card, 1).details == {"n": 1, "more": [1, 2]}
        assert session.get_one(Card, 2).details == {"n": 2}


def test_merge_inserts_and_updates(cards):
    with cards.session() as session:
        session.merge(Card(id=1, number="merged"))
        session.merge(Card(id=9, number="new"))
        session.commit()
    with cards.session() as session:
        assert session.get_one(Card, 1).number == "merged"
        assert session.get_one(Card, 9).number == "new"


def test_a_row_that_is_deleted_and_added_again_in_one_flush_is_sealed_again(cards):
    with cards.session() as session:
        session.delete(session.get_one(Card, 1))
        session.add(Card(id=1, holder="again", number="again"))
        session.commit()
    with cards.session() as session:
        assert session.get_one(Card, 1).number == "again"


def test_a_deleted_object_is_gone(cards):
    with cards.session() as session:
        session.delete(session.get_one(Card, 1))
        session.commit()
        assert session.get(Card, 1) is None


def test_a_savepoint_that_is_rolled_back_takes_its_values_along(cards):
    with cards.session() as session:
        session.get_one(Card, 1).number = "kept"
        with session.begin_nested() as savepoint:
            session.get_one(Card, 2).number = "lost"
            session.add(Card(id=9, number="lost"))
            session.flush()
            savepoint.rollback()
        session.commit()
        assert session.get_one(Card, 1).number == "kept"
        assert session.get_one(Card, 2).number == "number-2"
        assert session.get(Card, 9) is None


def test_a_rolled_back_transaction_stores_nothing(shop):
    with shop.session() as session:
        session.add(Card(id=1, number="lost"))
        session.flush()
        session.rollback()
    assert shop.rows(Card.__table__) == []


def test_a_value_of_the_wrong_type_is_refused_and_nothing_of_the_flush_is_stored(shop):
    with shop.session() as session:
        session.add_all([Card(id=1, number="fine"), Card(id=2, number=CANARY, pin="x" + CANARY)])
        with shop.refused(ValueEncodingError, Card.__table__) as caught:
            session.commit()
    assert (caught.value.table, caught.value.column) == ("card", "pin")
    assert caught.value.row == {"id": "2"}
    assert shop.rows(Card.__table__) == []


def test_an_error_of_the_database_leaves_the_session_usable(cards):
    with cards.session() as session:
        session.add(Card(id=1, number=CANARY))
        with pytest.raises(IntegrityError):
            session.flush()
        session.rollback()
        session.add(Card(id=9, number="n-9"))
        session.commit()
        assert session.get_one(Card, 9).number == "n-9"


# -- bulk --------------------------------------------------------------------------------------


def rows_of(count: int) -> list[dict[str, object]]:
    return [{"id": n, "holder": f"h-{n}", "number": f"n-{n}"} for n in range(count)]


def read(db) -> list[tuple[int, str | None]]:
    with db.session() as session:
        return [tuple(r) for r in session.execute(select(Card.id, Card.number).order_by(Card.id))]


EXPECTED = [(n, f"n-{n}") for n in range(1500)]


def test_bulk_insert_mappings(shop):
    with shop.session() as session:
        session.bulk_insert_mappings(inspect(Card), rows_of(1500))
        session.commit()
    assert read(shop) == EXPECTED


def test_bulk_save_objects(shop):
    with shop.session() as session:
        session.bulk_save_objects([Card(**row) for row in rows_of(1500)])
        session.commit()
    assert read(shop) == EXPECTED


def test_insert_of_a_model_with_a_list(shop):
    with shop.session() as session:
        session.execute(insert(Card), rows_of(1500))
        session.commit()
    assert read(shop) == EXPECTED


@on_each_database
def test_insert_of_a_model_with_a_list_returning_entities(shop):
    shop.backend.require_returning()
    with shop.session() as session:
        statement = insert(Card).returning(Card, sort_by_parameter_order=True)
        made = session.scalars(statement, rows_of(1500)).all()
        assert [(card.id, card.number) for card in made] == EXPECTED
        session.commit()
    assert read(shop) == EXPECTED


@on_each_database
def test_insert_of_a_model_returning_a_column(shop):
    shop.backend.require_returning()
    with shop.session() as session:
        statement = insert(Card).returning(Card.id, Card.number)
        assert [tuple(r) for r in session.execute(statement, rows_of(3))] == EXPECTED[:3]


def test_insert_of_rows_that_differ_in_their_columns(shop):
    with shop.session() as session:
        session.execute(insert(Card), [{"id": 0, "number": "n-0"}, {"id": 1}, *rows_of(4)[2:]])
        session.commit()
    assert read(shop) == [(0, "n-0"), (1, None), (2, "n-2"), (3, "n-3")]


def test_insert_into_a_write_only_collection_whose_parent_is_part_of_the_key(sqlite_db):
    """The ORM gives the parent's key as a bind without a name, for all rows at once."""
    sqlite_db.create(Album.metadata)
    rows = [{"place": 1, "title": "one"}, {"place": 2, "title": "two"}]
    with sqlite_db.session() as session:
        album = Album(id=7)
        session.add(album)
        session.flush()
        session.execute(album.tracks.insert(), rows)
        session.execute(album.tracks.insert().values(place=3, title="three"))
        session.commit()
        stored = session.scalars(album.tracks.select().order_by(Track.place)).all()
        assert [(t.album_id, t.title) for t in stored] == [(7, "one"), (7, "two"), (7, "three")]


def test_bulk_update_mappings(cards):
    with cards.session() as session:
        session.bulk_update_mappings(
            inspect(Card), [{"id": n, "number": f"new-{n}"} for n in (1, 2)]
        )
        session.commit()
    assert read(cards) == [(1, "new-1"), (2, "new-2"), (3, "number-3")]


def test_update_of_a_model_with_a_list(cards):
    with cards.session() as session:
        session.execute(update(Card), [{"id": n, "number": f"new-{n}"} for n in (1, 2, 3)])
        session.commit()
    assert read(cards) == [(n, f"new-{n}") for n in (1, 2, 3)]


def test_bulk_save_of_changed_objects(cards):
    with cards.session() as session:
        changed = session.scalars(select(Card)).all()
        for card in changed:
            card.number = f"new-{card.id}"
        session.bulk_save_objects(changed)
        session.commit()
    assert read(cards) == [(n, f"new-{n}") for n in (1, 2, 3)]


# -- what else Python does with models ---------------------------------------------------------


def test_an_instance_survives_pickling(cards):
    with cards.session() as session:
        card = session.get_one(Card, 1)
        session.expunge(card)
    copy = pickle.loads(pickle.dumps(card))
    copy.number = "from the pickle"
    with cards.session() as session:
        session.merge(copy)
        session.commit()
    assert read(cards)[0] == (1, "from the pickle")


def test_types_tables_and_metadata_survive_pickling(cards):
    metadata = MetaData()
    table: Any = Card.__table__
    table.to_metadata(metadata)
    metadata = pickle.loads(pickle.dumps(metadata))
    table = metadata.tables["card"]
    assert repr(table.c.number.type) == repr(Card.__table__.c.number.type)
    with cards.begin() as connection:
        connection.execute(insert(table).values(id=9, number="n-9"))
        assert connection.scalar(select(table.c.number).where(table.c.id == 9)) == "n-9"
        assert connection.scalar(select(table.c.number).where(table.c.id == 1)) == "number-1"
