"""A date beside a datetime: whether they are equal depends on the database and the bind's type."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Date,
    DateTime,
    Integer,
    MetaData,
    String,
    Table,
    bindparam,
    delete,
    insert,
    literal,
    select,
    text,
    type_coerce,
    update,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.types import TypeDecorator, TypeEngine

from encfields import BlindIndex, EncryptedType
from encfields.index.transforms import year

DAY = dt.date(2024, 2, 9)
MIDNIGHT = dt.datetime(2024, 2, 9)
MORNING = dt.datetime(2024, 2, 9, 8)


class Day(TypeDecorator[dt.date]):
    """An application's own date."""

    impl = Date
    cache_ok = True


class Moment(TypeDecorator[dt.datetime]):
    """An application's own time."""

    impl = DateTime
    cache_ok = True


CONDITIONS: dict[str, Callable[[Any, Any], Any]] = {
    "==": lambda column, asked: column == asked,
    "!=": lambda column, asked: column != asked,
    "in_": lambda column, asked: column.in_([asked]),
    "not_in": lambda column, asked: column.not_in([asked]),
    "a name": lambda column, asked: column == bindparam("q"),
    "a name with a value": lambda column, asked: column == bindparam("q", asked),
    "a name of a list with values": lambda column, asked: column.in_(
        bindparam("list", [asked], expanding=True)
    ),
    "a name of a Date": lambda column, asked: column == bindparam("q", type_=Date),
    "a literal": lambda column, asked: column == literal(asked),
    "a literal DateTime": lambda column, asked: column == literal(asked, DateTime),
}


@pytest.mark.parametrize("index", [BlindIndex(), BlindIndex(bits=4)], ids=["whole", "cut"])
@pytest.mark.parametrize("type_", [Date(), DateTime()], ids=["Date", "DateTime"])
def test_a_day_is_compared_with_a_moment_as_in_a_plain_column(db, type_, index):
    table = _twins(db, type_, index)
    for asked in (DAY, MIDNIGHT, MORNING):
        for name, condition in CONDITIONS.items():
            if index.bits == 4 and name in ("!=", "not_in"):
                continue  # refused
            if isinstance(type_, DateTime) and name == "a name of a Date":
                continue
            if isinstance(type_, Date) and asked == DAY and name == "a literal DateTime":
                continue
            assert _found(db, table, condition, asked) == [True, True], (name, asked)


@pytest.mark.parametrize("type_", [Day(), Moment()], ids=["Day", "Moment"])
def test_a_type_of_the_applications_own_converts_what_is_asked_of_it(db, type_):
    table = _twins(db, type_, BlindIndex())
    for asked in (DAY, MIDNIGHT, MORNING):
        for name in ("==", "!=", "in_", "not_in"):
            assert _found(db, table, CONDITIONS[name], asked) == [True, True], (name, asked)


STATED: dict[str, Callable[[Any, Any], Any]] = {
    "a literal": lambda column, asked: column == literal(asked),
    "a literal DateTime": lambda column, asked: column == literal(asked, DateTime),
    "a literal Date": lambda column, asked: column == literal(asked, Date),
    "a literal of text": lambda column, asked: column == literal(asked, String),
    "a coerced DateTime": lambda column, asked: column == type_coerce(asked, DateTime),
    "a name of a DateTime": lambda column, asked: column == bindparam("q", asked, DateTime),
    "a name of a Date": lambda column, asked: column == bindparam("q", type_=Date),
    "a literal in a list": lambda column, asked: column.in_([literal(asked)]),
    "not a literal": lambda column, asked: column != literal(asked, DateTime),
}


@pytest.mark.parametrize("index", [BlindIndex(), BlindIndex(bits=4)], ids=["whole", "cut"])
@pytest.mark.parametrize("type_", [Day(), Moment()], ids=["Day", "Moment"])
def test_a_type_of_the_applications_own_converts_nothing_that_has_another_type(db, type_, index):
    table = _twins(db, type_, index)
    for asked in (DAY, MIDNIGHT, MORNING):
        for name, condition in STATED.items():
            is_refused = index.bits == 4 and name == "not a literal"
            if is_refused or (db.name == "postgresql" and name == "a literal of text"):
                continue  # no twin: PostgreSQL itself compares no date with text
            if db.name == "sqlite" and name == "a literal of text" and isinstance(type_, Moment):
                continue
            assert _found(db, table, condition, asked) == [True, True], (name, asked)


@pytest.mark.parametrize("asked", [1984, MORNING], ids=["a year", "a moment"])
def test_a_part_of_a_date_is_asked_with_a_literal_as_with_a_value(db, asked):
    table = _twins(db, Day(), BlindIndex(year))
    part = table.c.secret.blind("year")
    with db.engine.connect() as connection:
        for given in (asked, literal(asked)):
            found = connection.scalars(select(table.c.id).where(part == given)).all()
            assert sorted(found) == ([] if asked == 1984 else [0, 1, 2])


LISTS: dict[str, Callable[[Any, Any], Any]] = {
    "in_": lambda column, asked: column.in_(asked),
    "not_in": lambda column, asked: column.not_in(asked),
    "a list given later": lambda column, asked: column.in_(bindparam("q", expanding=True)),
    "a name with values": lambda column, asked: column.in_(
        bindparam("list", list(asked), expanding=True)
    ),
}


@pytest.mark.parametrize("index", [BlindIndex(), BlindIndex(bits=4)], ids=["whole", "cut"])
@pytest.mark.parametrize("type_", [Date(), DateTime()], ids=["Date", "DateTime"])
def test_a_list_of_days_and_moments_is_compared_as_its_first_value_is(db, type_, index):
    table = _twins(db, type_, index)
    next_day = dt.date(2024, 2, 10)
    for asked in (
        *itertools.permutations([DAY, MIDNIGHT, MORNING, next_day], 2),
        [None, DAY, MORNING],
        [None, MORNING, next_day],
        [MORNING, None, next_day],
    ):
        for name, condition in LISTS.items():
            if (index.bits == 4 and name == "not_in") or (None in asked and name != "in_"):
                continue
            assert _found(db, table, condition, asked) == [True, True], (name, asked)


class Base(DeclarativeBase):
    pass


class Visit(Base):
    __tablename__ = "visit"
    id: Mapped[int] = mapped_column(primary_key=True)
    state: Mapped[str] = mapped_column(String(9))
    at: Mapped[dt.datetime] = mapped_column(EncryptedType(DateTime, index=BlindIndex()))


@pytest.mark.parametrize("strategy", ["auto", "evaluate"])
def test_the_session_and_the_database_agree_which_moments_equal_a_day(db, strategy):
    db.create(Base.metadata)
    options = {"synchronize_session": strategy}
    for asked in (Visit.at == DAY, Visit.at.in_([DAY]), Visit.at == bindparam("q", DAY)):
        with Session(db.engine) as session:
            visit = Visit(id=1, state="open", at=MIDNIGHT)
            session.add(visit)
            session.flush()
            session.execute(
                update(Visit).where(asked).values(state="done"), execution_options=options
            )
            held = session.scalar(text("SELECT state FROM visit"))
            assert visit.state == held
            gone: Any = session.execute(delete(Visit).where(asked), execution_options=options)
            assert (visit not in session) == (gone.rowcount == 1) == (held == "done")


def _twins(db: Any, type_: TypeEngine[Any], index: BlindIndex) -> Table:
    table = Table(
        "twins",
        MetaData(),
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("plain", type_),
        Column("secret", EncryptedType(type_, index=index)),
    )
    db.create(table.metadata)
    with db.engine.begin() as connection:
        for number, value in enumerate((MIDNIGHT, MORNING, dt.datetime(2024, 2, 10))):
            stored = value.date() if isinstance(type_, Date | Day) else value
            row = {"id": number, "plain": stored, "secret": stored}
            connection.execute(insert(table), row)
    return table


def _found(db: Any, table: Table, condition: Callable[[Any, Any], Any], asked: Any) -> list[bool]:
    """Whether the encrypted column answers as the plain one, with and without its value."""
    answers = []
    for delivers in (True, False):
        plain, secret = (
            select(table.c.id, *([column] if delivers or column.name == "secret" else []))
            .where(condition(column, asked))
            .order_by(table.c.id)
            for column in (table.c.plain, table.c.secret)
        )
        with db.engine.connect() as connection:
            given = {"q": asked}
            answers.append(
                connection.scalars(plain, given).all() == connection.scalars(secret, given).all()
            )
    return answers
