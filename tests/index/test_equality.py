"""A look-up finds what equals the value, no more and no less: as in a plain column."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import (
    Boolean,
    Column,
    Date,
    DateTime,
    Enum,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    String,
    Table,
    Uuid,
    bindparam,
    delete,
    func,
    insert,
    literal,
    select,
    tuple_,
    update,
)
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.types import TypeDecorator, TypeEngine

from encfields import BlindIndex, EncryptedType
from encfields.index.transforms import first

UTC = dt.UTC
PLUS_ONE = dt.timezone(dt.timedelta(hours=1))
NOON = dt.datetime(2020, 1, 1, 12, tzinfo=UTC)


class Ward(enum.Enum):
    SURGERY = "s"


class Percent(TypeDecorator[Decimal]):
    """A user's own number."""

    impl = Numeric(5, 2)
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return value


def twins(
    db: Any, kind: TypeEngine[Any], plain: TypeEngine[Any], index: BlindIndex | None = None
) -> Table:
    """A table with a plain and an encrypted column of one type."""
    table = Table(
        "twins",
        MetaData(),
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("plain", plain),
        Column("secret", EncryptedType(kind, index=index or BlindIndex())),
    )
    db.create(table.metadata)
    return table


ASKED = [Decimal(text) for text in ("1.5", "1.50", "1.500", "1.501", "1.4951", "1.495", "-0", "0")]


@pytest.mark.parametrize("kind", [Numeric(10, 2), Percent()], ids=["Numeric", "TypeDecorator"])
def test_a_number_is_not_rounded_to_what_the_column_keeps(db, kind):
    if db.engine.driver == "pg8000":
        pytest.skip("SQLAlchemy has a plain column's parameter rounded by a cast")
    table = twins(db, kind, Numeric(10, 2))
    stored = [Decimal("1.50"), Decimal("1.00"), Decimal("0"), None]
    with db.engine.begin() as connection:
        rows = [{"id": i, "plain": v, "secret": v} for i, v in enumerate(stored)]
        connection.execute(insert(table), rows)
        for asked in ASKED:
            for of in (
                lambda column, asked=asked: column == asked,
                lambda column, asked=asked: column != asked,
                lambda column, asked=asked: column.in_([asked, Decimal("7.777")]),
                lambda column, asked=asked: column.not_in([asked, Decimal("7.777")]),
            ):
                found = [
                    set(connection.execute(select(table.c.id).where(of(column))).scalars())
                    for column in (table.c.plain, table.c.secret)
                ]
                assert found[0] == found[1], asked


def test_a_delete_takes_no_row_that_only_rounding_finds(db):
    table = twins(db, Numeric(10, 2), Numeric(10, 2))
    with db.engine.begin() as connection:
        connection.execute(insert(table), {"id": 1, "plain": 1.5, "secret": Decimal("1.50")})
        gone = connection.execute(delete(table).where(table.c.secret == Decimal("1.501")))
        assert gone.rowcount == 0
        gone = connection.execute(delete(table).where(table.c.secret == Decimal("1.5")))
        assert gone.rowcount == 1


def test_a_truncated_index_does_not_round_either(db):
    table = Table(
        "rough",
        MetaData(),
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("amount", EncryptedType(Numeric(10, 2), index=BlindIndex(bits=8))),
    )
    db.create(table.metadata)
    with db.engine.begin() as connection:
        connection.execute(insert(table), {"id": 1, "amount": Decimal("1.50")})
        for asked, found in ((Decimal("1.5"), [1]), (Decimal("1.501"), [])):
            rows = connection.execute(select(table).where(table.c.amount == asked))
            assert [row.id for row in rows] == found


EQUALS: dict[str, tuple[TypeEngine[Any], Any, Any]] = {
    "a number written with more zeros": (Numeric(), Decimal("1.50"), Decimal("1.5")),
    "a whole number": (Numeric(), Decimal("2"), Decimal("2.000")),
    "negative zero": (Float(), 0.0, -0.0),
    "zero": (Float(), -0.0, 0.0),
    "one moment in two zones": (
        DateTime(timezone=True),
        NOON,
        NOON.astimezone(PLUS_ONE),
    ),
    "a moment of the first day": (
        DateTime(timezone=True),
        dt.datetime(1, 1, 1, 0, 30, tzinfo=PLUS_ONE),
        dt.datetime(1, 1, 1, 1, 0, tzinfo=dt.timezone(dt.timedelta(hours=1, minutes=30))),
    ),
    "a number given as a float": (Numeric(10, 2), Decimal("1.10"), 1.1),
    "a number in a list of floats": (Numeric(), Decimal("0.1"), [0.1, 7.0]),
    "a float given as a number": (Float(), 0.1, Decimal("0.1")),
    "a UUID's text": (Uuid(), uuid.UUID(int=7), str(uuid.UUID(int=7))),
    "a UUID of a column of texts": (Uuid(as_uuid=False), str(uuid.UUID(int=7)), uuid.UUID(int=7)),
    "a whole number given as a float": (Integer(), 7, 7.0),
    "a whole number given as a number": (Integer(), 7, Decimal("7.00")),
    "one, given as a bool": (Integer(), 1, True),
    "a truth value given as a number": (Boolean(), True, 1.0),
    "a day's midnight": (DateTime(), NOON.replace(hour=0, tzinfo=None), NOON.date()),
    "days' midnights": (DateTime(), NOON.replace(hour=0, tzinfo=None), [NOON.date(), NOON]),
    "an enum's name": (Enum(Ward), Ward.SURGERY, "SURGERY"),
}
IN_SQLITE_ANOTHER_TEXT = ("a day's midnight", "days' midnights")

DIFFERS: dict[str, tuple[TypeEngine[Any], Any, Any]] = {
    "a number with another digit": (Numeric(), Decimal("1.50"), Decimal("1.501")),
    "a number of another size": (Numeric(), Decimal("100"), Decimal("1")),
    "a float of another exponent": (Float(), 1e100, 1e10),
    "another moment": (DateTime(timezone=True), NOON, NOON.replace(tzinfo=PLUS_ONE)),
    "a time without a zone": (DateTime(timezone=True), NOON, NOON.replace(tzinfo=None)),
    "a text that looks like a number": (String(9), "1.50", "1.5"),
    "a padded text": (String(9), "a", "a "),
    "a moment of the day": (Date(), NOON.date(), NOON.replace(tzinfo=None)),
    "a fraction": (Integer(), 1, 1.5),
    "a number beyond all": (Integer(), 1, 1e300),
    "a day": (DateTime(), NOON.replace(tzinfo=None), NOON.date()),
    "no UUID": (Uuid(), uuid.UUID(int=7), uuid.UUID(int=8)),
    "padded bytes": (LargeBinary(9), b"a", b"a\x00"),
}
PAIRS = {**EQUALS, **DIFFERS}


@pytest.mark.parametrize("name", PAIRS)
def test_the_session_and_the_database_agree_on_what_a_statement_changes(db, name):
    kind, stored, asked = PAIRS[name]
    equals = name in EQUALS and not (db.name == "sqlite" and name in IN_SQLITE_ANOTHER_TEXT)

    class Base(DeclarativeBase):
        pass

    class Door(Base):
        __tablename__ = "door"

        id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
        state: Mapped[str] = mapped_column(String(9))
        code: Mapped[Any] = mapped_column(
            EncryptedType(kind, index=BlindIndex(accept_leakage="a test"))
        )

    equal = Door.code.in_(asked) if isinstance(asked, list) else Door.code == asked
    db.create(Base.metadata)
    with Session(db.engine) as session:
        session.add(Door(id=1, state="open", code=stored))
        session.commit()
        door = session.get_one(Door, 1)
        shut: Any = session.execute(update(Door).where(equal).values(state="shut"))
        held = session.scalar(select(func.max(Door.state)))
        assert door.state == held == ("shut" if equals else "open")
        assert shut.rowcount == equals
        session.execute(delete(Door).where(equal))
        assert (door in session) != equals


def test_a_date_column_takes_and_finds_the_date_of_a_datetime(db):
    table = twins(db, Date(), Date())
    moment = dt.datetime(2024, 2, 29, 12, 30)
    with db.engine.begin() as connection:
        connection.execute(insert(table), {"id": 1, "plain": moment.date(), "secret": moment})
        assert connection.scalar(select(table.c.secret)) == dt.date(2024, 2, 29)
        found = select(table.c.id).where(table.c.secret == dt.date(2024, 2, 29))
        assert connection.execute(found).scalars().all() == [1]


def test_a_date_is_compared_with_a_datetime_as_the_database_does(db):
    table = twins(db, Date(), Date())
    with db.engine.begin() as connection:
        day = dt.date(2024, 2, 29)
        connection.execute(insert(table), {"id": 1, "plain": day, "secret": day})
        for asked in (dt.datetime(2024, 2, 29), dt.datetime(2024, 2, 29, 0, 0, 1), day):
            for wanted in (
                lambda column, asked=asked: column == asked,
                lambda column, asked=asked: column.not_in([asked]),
            ):
                plain, secret = (
                    connection.scalars(select(table.c.id).where(wanted(column))).all()
                    for column in (table.c.plain, table.c.secret)
                )
                assert plain == secret, asked


BOUND_AS_DATE = {
    "a name": lambda column, asked: (column == bindparam("day"), asked),
    "a name and a type": lambda column, asked: (column == bindparam("day", type_=Date), asked),
    "a list": lambda column, asked: (column.in_(bindparam("day", expanding=True)), [asked]),
    "a type": lambda column, asked: (column == literal(asked, Date), None),
    "rows": lambda column, asked: (
        tuple_(column, column.table.c.id).in_(bindparam("day", expanding=True)),
        [(asked, 9)],
    ),
}


@pytest.mark.parametrize("index", [BlindIndex(), BlindIndex(bits=4)], ids=["whole", "cut"])
def test_a_datetime_bound_as_a_date_is_compared_as_the_driver_sends_it(db, index):
    table = twins(db, Date(), Date(), index)
    with db.engine.begin() as connection:
        days = [dt.date(2024, 2, day) for day in range(1, 29)]
        connection.execute(insert(table), [{"id": d.day, "plain": d, "secret": d} for d in days])
        for asked in (dt.datetime(2024, 2, 9), dt.datetime(2024, 2, 9, 0, 0, 1), days[8]):
            for name, bound in BOUND_AS_DATE.items():
                if name == "rows" and index.bits == 4:
                    continue  # refused: rows are not looked at again
                found = []
                for column in (table.c.plain, table.c.secret):
                    condition, day = bound(column, asked)
                    statement = select(table.c.id, column).where(condition)
                    found.append(connection.execute(statement, {"day": day} if day else {}).all())
                assert found[0] == found[1], (name, asked)


def test_an_index_of_a_part_is_asked_as_before(db):
    table = Table(
        "part",
        MetaData(),
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("name", EncryptedType(String(20), index=BlindIndex(first(1)))),
    )
    db.create(table.metadata)
    with db.engine.begin() as connection:
        connection.execute(insert(table), [{"id": 1, "name": "Ada"}, {"id": 2, "name": "Al"}])
        by_part = select(table.c.id).where(table.c.name.blind("first1") == "A")
        assert set(connection.execute(by_part).scalars()) == {1, 2}


DISTINCT = {
    "is_distinct_from": lambda c: c.is_distinct_from("x"),
    "is_not_distinct_from": lambda c: c.is_not_distinct_from("x"),
    "not is_distinct_from": lambda c: ~c.is_distinct_from("x"),
    "not is_not_distinct_from": lambda c: ~c.is_not_distinct_from("x"),
    "is_distinct_from NULL": lambda c: c.is_distinct_from(None),
    "is_not_distinct_from NULL": lambda c: c.is_not_distinct_from(None),
}


@pytest.mark.parametrize("name", DISTINCT)
def test_null_is_distinct_from_a_value_and_not_from_null(db, name):
    table = twins(db, String(20), String(20))
    with db.begin() as connection:
        rows = [(1, "x"), (2, "y"), (3, None)]
        connection.execute(insert(table), [{"id": key, "plain": v, "secret": v} for key, v in rows])
        for column in (table.c.secret, table.c.plain):
            column_is = DISTINCT[name](column)
            shown = select(table.c.id, column_is.label("told")).order_by(table.c.id)
            found = select(table.c.id, column).where(column_is).order_by(table.c.id)
            answers = [
                [repr(told) for _, told in connection.execute(shown)],
                connection.execute(found).all(),
                connection.scalars(select(table.c.id).where(column_is).order_by(table.c.id)).all(),
            ]
            if column is table.c.secret:
                expected = answers
        assert answers == expected


def test_two_columns_are_distinct_as_plain_ones_are(db):
    def pair(name: str, type_: Any) -> Table:
        columns = [Column(key, type_) for key in ("one", "other")]
        return Table(name, MetaData(), Column("id", Integer, primary_key=True), *columns)

    sealed = EncryptedType(String(20), index=BlindIndex(domain="pair"))
    values = [("x", "x"), ("x", "y"), ("x", None), (None, "x"), (None, None)]
    answers = []
    for table in (pair("plain_pair", String(20)), pair("sealed_pair", sealed)):
        db.create(table.metadata)
        one, other = table.c.one, table.c.other
        asked = [one.is_distinct_from(other), one.is_not_distinct_from(other)]
        asked += [~condition for condition in asked]
        with db.begin() as connection:
            rows = [{"id": n, "one": a, "other": b} for n, (a, b) in enumerate(values, 1)]
            connection.execute(insert(table), rows)
            told = select(table.c.id, *(c.label(f"c{n}") for n, c in enumerate(asked)))
            answers.append(connection.execute(told.order_by(table.c.id)).all())
    assert [repr(tuple(row)) for row in answers[0]] == [repr(tuple(row)) for row in answers[1]]


@pytest.mark.parametrize("name", DISTINCT)
def test_the_session_sees_which_rows_are_distinct(sqlite_db, name):
    class Twin(DeclarativeBase):
        pass

    class Seen(Twin):
        __tablename__ = "seen"

        id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
        secret: Mapped[str | None] = mapped_column(EncryptedType(index=BlindIndex()))
        was_found: Mapped[bool] = mapped_column(default=False)

    sqlite_db.create(Twin.metadata)
    criterion = DISTINCT[name](Seen.secret)
    with sqlite_db.session() as session:
        session.add_all([Seen(id=1, secret="x"), Seen(id=2, secret="y"), Seen(id=3)])
        session.commit()
        seen = session.scalars(select(Seen).order_by(Seen.id)).all()
        found = session.scalars(select(Seen.id).where(criterion)).all()
        statement = update(Seen).where(criterion).values(was_found=True)
        with pytest.raises(InvalidRequestError, match="Could not evaluate"):  # as a plain column's
            session.execute(statement, execution_options={"synchronize_session": "evaluate"})
        session.execute(statement)
        assert [one.id for one in seen if one.was_found] == sorted(found)
