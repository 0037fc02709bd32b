"""What an UPDATE by the application's own bindparam() did, the session's objects show."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import (
    BigInteger,
    Date,
    Float,
    Interval,
    String,
    TypeDecorator,
    Uuid,
    bindparam,
    delete,
    literal,
    or_,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from encfields import BlindIndex, EncryptedType
from tests.database import Database
from tests.turns import databases_by_turns, on_each_database

pytestmark = databases_by_turns


class SyncBase(DeclarativeBase):
    pass


class Lower(TypeDecorator[str]):
    """A user's own type, which stores a text in another form than it is given."""

    impl = String(20)
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return None if value is None else value.lower()


class Measured(SyncBase):
    __tablename__ = "measured"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(String(20))
    uuid: Mapped[UUID] = mapped_column(EncryptedType(Uuid, index=BlindIndex()))
    size: Mapped[float] = mapped_column(EncryptedType(Float, index=BlindIndex()))
    mail: Mapped[str] = mapped_column(EncryptedType(Lower, index=BlindIndex()), default="a@x")
    pause: Mapped[timedelta | None] = mapped_column(EncryptedType(Interval, index=BlindIndex()))
    day: Mapped[date | None] = mapped_column(EncryptedType(Date, index=BlindIndex()))
    count: Mapped[int | None] = mapped_column(EncryptedType(BigInteger, index=BlindIndex()))


ONE = UUID(int=1)
BINDS: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "a text of its own bind": (lambda: Measured.uuid == bindparam("x", str(ONE)), {}),
    "an anonymous bind": (lambda: Measured.uuid == bindparam(None, str(ONE)), {}),
    "a callable": (lambda: Measured.size == bindparam("x", callable_=lambda: Decimal("0.1")), {}),
    "a list": (lambda: Measured.size.in_(bindparam("x", [Decimal("0.1")], expanding=True)), {}),
    "a name": (lambda: Measured.uuid == bindparam("x"), {"x": str(ONE)}),
    "a name, negated": (lambda: ~(Measured.uuid != bindparam("x")), {"x": ONE}),
    "a name among others": (
        lambda: or_(Measured.size == bindparam("x"), Measured.id == 7),
        {"x": Decimal("0.1")},
    ),
    "a value that a user's own type changes": (lambda: Measured.mail == "A@X", {}),
    "such values": (lambda: or_(Measured.id == 7, Measured.mail.in_(["A@X"])), {}),
    "a name of such a value": (lambda: Measured.mail == bindparam("x"), {"x": "A@X"}),
    "a value on the left": (lambda: literal(str(ONE)) == Measured.uuid, {}),
    "a value among columns": (lambda: literal(str(ONE)).in_([Measured.uuid, Measured.uuid]), {}),
    "a row": (lambda: tuple_(Measured.id, Measured.uuid) == (1, str(ONE)), {}),
    "rows": (lambda: tuple_(Measured.id, Measured.size).in_([(1, Decimal("0.1"))]), {}),
    "a list of rows": (
        lambda: tuple_(Measured.uuid, Measured.id).in_(bindparam("x", expanding=True)),
        {"x": [(str(ONE), 1)]},
    ),
    "a name of a list": (
        lambda: Measured.uuid.in_(bindparam("x", expanding=True)),
        {"x": [str(ONE)]},
    ),
}


@pytest.mark.parametrize("criterion, given", BINDS.values(), ids=BINDS)
def test_the_session_sees_what_the_database_found(
    sqlite_db: Database, criterion: Callable[[], Any], given: Mapping[str, Any]
) -> None:
    sqlite_db.create(SyncBase.metadata)
    with sqlite_db.session() as session:
        session.add(Measured(id=1, name="old", uuid=ONE, size=0.1))
        session.commit()
        found = session.get_one(Measured, 1)
        session.execute(update(Measured).where(criterion()).values(name="new"), given)
        assert (found.name, session.scalar(text("SELECT name FROM measured"))) == ("new", "new")
        session.execute(delete(Measured).where(criterion()), given)
        assert (found in session, session.scalar(text("SELECT name FROM measured"))) == (
            False,
            None,
        )


def test_a_row_is_not_evaluated_in_python_even_on_request(sqlite_db: Database) -> None:
    sqlite_db.create(SyncBase.metadata)
    asked: Any = tuple_(Measured.id, Measured.uuid).in_([(1, str(ONE))])
    with sqlite_db.session() as session:
        session.add(Measured(id=1, name="old", uuid=ONE, size=0.1))
        session.commit()
        found = session.get_one(Measured, 1)
        session.query(Measured).where(asked).update({"name": "new"}, synchronize_session="evaluate")
        assert found.name == "new"


@on_each_database
@pytest.mark.parametrize("how", ["auto", "evaluate"])
def test_the_database_says_whether_a_day_equals_its_midnight(db: Database, how: Any) -> None:
    db.create(SyncBase.metadata, is_empty=True)
    for midnight in (datetime(2020, 1, 2), [date(2019, 1, 1), datetime(2020, 1, 2)]):
        asked = Measured.day == midnight
        if isinstance(midnight, list):
            asked = Measured.day.in_(midnight)
        with db.session() as session:
            session.add(Measured(id=1, name="old", uuid=ONE, size=0.1, day=date(2020, 1, 2)))
            session.flush()
            found = session.get_one(Measured, 1)
            session.query(Measured).where(asked).update({"name": "new"}, synchronize_session=how)
            assert found.name == session.scalar(text("SELECT name FROM measured"))


def test_an_integer_is_found_by_the_float_that_equals_it(sqlite_db: Database) -> None:
    sqlite_db.create(SyncBase.metadata)
    with sqlite_db.session() as session:
        session.add(Measured(id=1, name="old", uuid=ONE, size=0.1, count=2**60))
        session.commit()
        found = session.get_one(Measured, 1)
        session.execute(update(Measured).where(Measured.count == 2.0**60).values(name="new"))
        assert (found.name, session.scalar(text("SELECT name FROM measured"))) == ("new", "new")
        asked = select(Measured.id).where(Measured.count == 2.0**60 + 1024)
        assert session.scalars(asked).all() == []


def test_an_interval_is_evaluated_in_python_as_in_a_plain_column(sqlite_db: Database) -> None:
    """SQLAlchemy's type is a TypeDecorator, but none of the application's own."""
    sqlite_db.create(SyncBase.metadata)
    asked = Measured.pause == timedelta(hours=1)
    with sqlite_db.session() as session:
        session.add(Measured(id=1, name="old", uuid=ONE, size=0.1, pause=timedelta(hours=1)))
        session.commit()
        found = session.get_one(Measured, 1)
        with sqlite_db.statements() as sent:
            session.execute(update(Measured).where(asked).values(name="new"))
        assert found.name == "new"
    (only,) = sent
    assert "RETURNING" not in only.statement


def test_of_several_parameter_sets_sqlalchemy_says_what_to_do(sqlite_db: Database) -> None:
    """It cannot fetch for them, and was not asked to."""
    sqlite_db.create(SyncBase.metadata)
    changed = update(Measured).where(Measured.mail == bindparam("x")).values(name="new")
    advice = pytest.raises(InvalidRequestError, match="add synchronize_session=None")
    with sqlite_db.session() as session, advice:
        session.execute(changed, [{"x": "A@X"}, {"x": "B@X"}])
