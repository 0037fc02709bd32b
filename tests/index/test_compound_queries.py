"""An index over several columns is asked for all of them at once."""

from __future__ import annotations

import datetime as dt
import operator
from typing import Any

import pytest
from sqlalchemy import Date, Integer, String, bindparam, delete, func, literal, or_, select
from sqlalchemy.orm import DeclarativeBase, Mapped, aliased, mapped_column

from encfields import CompoundBlindIndex, EncryptedType, blind
from encfields.errors import UnsupportedOperationError, ValueEncodingError
from encfields.index.transforms import casefold, first, year
from encfields.testing import assert_absent
from tests.database import CANARY, Database
from tests.index.clinic import ids, sent
from tests.turns import databases_by_turns

pytestmark = databases_by_turns


class Base(DeclarativeBase):
    pass


class Guest(Base):
    """The column of `surname` has another name than its attribute."""

    __tablename__ = "guest"
    __table_args__ = (
        CompoundBlindIndex("who", ("last_name", casefold), ("born", year), domain="who"),
        CompoundBlindIndex("rough", ("first_name", first(1)), ("born", year), bits=4),
        CompoundBlindIndex("full", "first_name", "last_name"),
    )

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    given: Mapped[str | None] = mapped_column("first_name", EncryptedType(String(20)))
    surname: Mapped[str | None] = mapped_column("last_name", EncryptedType(String(20)))
    born: Mapped[dt.date | None] = mapped_column(EncryptedType(Date))


class Visitor(Base):
    __tablename__ = "visitor"
    __table_args__ = (CompoundBlindIndex("who", ("name", casefold), ("born", year), domain="who"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    name: Mapped[str | None] = mapped_column(EncryptedType(String(20)))
    born: Mapped[dt.date | None] = mapped_column(EncryptedType(Date))


guest: Any = Guest.__table__
ADA = dt.date(1815, 12, 10)


@pytest.fixture
def house(shared_tables: None, db: Database) -> Database:
    """Ada, two more of her name, and people who lack a name or a day."""
    db.share(Base.metadata, fill=_fill)
    return db


@pytest.fixture
def sqlite_house(shared_tables: None, sqlite_db: Database) -> Database:
    sqlite_db.share(Base.metadata, fill=_fill)
    return sqlite_db


def _fill(db: Database) -> None:
    with db.session() as session:
        session.add_all(
            [
                Guest(id=1, given="Ada", surname="Lovelace", born=ADA),
                Guest(id=2, given="Ada", surname="LOVELACE", born=ADA.replace(month=1)),
                Guest(id=3, given="Eva", surname="Lovelace", born=ADA.replace(year=1816)),
                Guest(id=4, given="Ada", surname="Lovelace", born=None),
                Guest(id=5, given="Ada", surname=None, born=ADA),
            ]
        )
        session.add_all(
            Guest(id=n, given=f"{chr(65 + n % 20)}-{n}", surname=f"s-{n}", born=dt.date(1900, 1, 1))
            for n in range(10, 60)
        )
        session.add_all([Visitor(id=1, name="LoveLace", born=ADA), Visitor(id=2, name="x")])
        session.commit()


def test_all_its_values_are_asked_for_whole_or_transformed(house):
    who = blind(Guest, "who")
    for asked in (ADA, 1815, dt.date(1815, 1, 1)):
        found = select(Guest.id).where(who.matches(surname="lovelace", born=asked))
        assert ids(house, found) == [1, 2]
    assert ids(house, select(Guest.id).where(who.matches(surname="lovelace", born=1817))) == []
    full = blind(Guest, "full")
    for given, surname, expected in (("Ada", "Lovelace", [1, 4]), ("Lovelace", "Ada", [])):
        found = select(Guest.id).where(full.matches(given=given, surname=surname))
        assert ids(house, found) == expected


def test_a_row_that_lacks_a_value_is_not_in_it(house):
    full = blind(Guest, "full")
    for given, surname in (("Ada", None), (None, "Lovelace"), (None, None)):
        found = select(Guest.id).where(full.matches(given=given, surname=surname))
        assert ids(house, found) == []
    differs = ~blind(Guest, "who").matches(surname="x", born=1)
    assert ids(house, select(Guest.id).where(differs, Guest.id < 10)) == [1, 2, 3]
    assert ids(house, select(Guest.id).where(blind(Guest, "who").value.is_(None))) == [4, 5]


def test_tables_and_aliases_are_asked(house):
    other, table = aliased(Guest), guest.alias("g")
    matches = blind(other, "who").matches(surname="Lovelace", born=1816)
    assert ids(house, select(other.id).where(matches)) == [3]
    matches = blind(guest, "who").matches(last_name="Lovelace", born=1816)
    assert ids(house, select(guest.c.id).where(matches)) == [3]
    matches = blind(table, "who").matches(last_name="Lovelace", born=1816)
    assert ids(house, select(table.c.id).where(matches)) == [3]


def test_it_stands_in_any_criterion(house):
    who = blind(Guest, "who").matches(surname="Lovelace", born=1815)
    assert ids(house, select(Guest.id).where(or_(who, Guest.id == 3))) == [1, 2, 3]
    assert ids(house, select(Guest.id).where(~who, Guest.id < 10)) == [3]
    counted = select(func.count()).select_from(Guest).where(who)
    assert ids(house, counted) == [2]
    with house.session() as session:
        assert session.execute(delete(Guest).where(who)).rowcount == 2


def test_equal_indexes_are_joined(house):
    here, there = blind(Guest, "who").value, blind(Visitor, "who").value
    found = select(Guest.id).join(Visitor, here == there)
    assert ids(house, found) == [1, 2]
    assert ids(house, select(Guest.id).where(here.in_(select(there)))) == [1, 2]


def test_its_values_are_counted_and_grouped_by(house):
    who = blind(Guest, "who").value
    with house.session() as session:
        many = select(who).group_by(who).having(func.count(who) > 1)
        assert len(session.scalars(many).all()) == 1
        assert session.scalar(select(func.count(who.distinct()))) == 52


def test_rows_that_only_look_alike_are_taken_out(house):
    with house.session() as session:
        for letter in "ABCDEFGHIJKLMNOPQRST":
            matches = blind(Guest, "rough").matches(given=letter, born=1900)
            found = session.scalars(select(Guest).where(matches)).all()
            expected = [n for n in range(10, 60) if chr(65 + n % 20) == letter]
            assert sorted(g.id for g in found) == expected
    with house.session() as session, pytest.raises(UnsupportedOperationError, match="born is not"):
        session.execute(select(Guest.given).where(matches))


def test_no_value_is_told_to_the_database(house):
    with sent(house):
        found = blind(Guest, "full").matches(given=CANARY, surname=CANARY)
        assert ids(house, select(Guest.id).where(found)) == []


def test_a_value_of_another_type_is_refused_without_being_shown(sqlite_house):
    found = blind(Guest, "who").matches(surname="x", born=CANARY)
    with sqlite_house.session() as session, pytest.raises(ValueEncodingError) as caught:
        session.scalars(select(Guest.id).where(found)).all()
    assert_absent(CANARY, caught.value)
    assert caught.value.column == "born"


def test_a_value_too_long_for_its_column_is_no_row(sqlite_house):
    full = blind(Guest, "full")
    found = select(Guest.id).where(full.matches(given="Ada", surname="x" * 30))
    assert ids(sqlite_house, found) == []


def test_it_is_asked_for_all_of_its_columns_and_no_other():
    who = blind(Guest, "who")
    for values in ({}, {"born": 1}, {"surname": "x", "born": 1, "given": "y"}, {"last_name": "x"}):
        with pytest.raises(UnsupportedOperationError, match="a value for each of surname, born"):
            who.matches(**values)


@pytest.mark.parametrize(
    "given", [bindparam("asked"), literal(CANARY), Guest.surname, func.lower(CANARY)]
)
def test_it_is_asked_for_values_and_not_for_sql(given):
    for entity in (Guest, aliased(Guest)):
        with pytest.raises(UnsupportedOperationError, match="surname is given an SQL") as caught:
            blind(entity, "who").matches(surname=given, born=1815)
        assert_absent(CANARY, caught.value)


def test_it_is_not_compared_as_a_python_object():
    who = blind(Guest, "who")
    for compare in (operator.eq, operator.ne):
        with pytest.raises(UnsupportedOperationError, match=r"matches\(surname=\.\.\., born"):
            compare(who, (CANARY, ADA))


def test_one_value_is_no_value_of_it(sqlite_house):
    with (
        sqlite_house.session() as session,
        pytest.raises(UnsupportedOperationError, match=r"matches\(\.\.\.\)") as caught,
    ):
        session.scalars(select(Guest.id).where(blind(Guest, "who").value == CANARY)).all()
    assert_absent(CANARY, caught.value)


def test_an_index_that_is_not_there_is_named():
    for entity in (Guest, aliased(Guest), guest, guest.alias(), Visitor, select(guest).subquery()):
        with pytest.raises(UnsupportedOperationError, match="no compound blind index 'nope'"):
            blind(entity, "nope")
    for entity in (None, "guest", Base):
        with pytest.raises(UnsupportedOperationError, match="no compound blind index 'who'"):
            blind(entity, "who")


def test_a_class_that_leaves_a_column_out_asks_by_its_table(house):
    class Base(DeclarativeBase):
        pass

    class Nameless(Base):
        id: Mapped[int]
        __table__ = guest
        __mapper_args__ = {"exclude_properties": ["first_name"]}  # noqa: RUF012

    with pytest.raises(UnsupportedOperationError, match=r"Nameless leaves out .* 'first_name'"):
        blind(Nameless, "full")
    with house.session() as session:
        found = blind(Nameless.__table__, "full").matches(first_name="Ada", last_name="Lovelace")
        assert sorted(session.scalars(select(Nameless.id).where(found))) == [1, 4]


def test_it_orders_nothing():
    with pytest.raises(UnsupportedOperationError, match="no order"):
        blind(Guest, "who").value < "x"  # noqa: B015
