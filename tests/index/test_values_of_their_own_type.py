"""A value that is compared by a type of its own, and not by the type of the application that the
column has, answers what it answers of a plain column, or is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import (
    ARRAY,
    Integer,
    any_,
    bindparam,
    case,
    delete,
    literal,
    null,
    select,
    tuple_,
    type_coerce,
    update,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from encfields import BlindIndex, EncryptedType
from encfields.errors import UnsupportedOperationError
from encfields.testing import attach_locally
from tests.database import Database
from tests.raised import Raised
from tests.servers.backends import Backend


class Base(DeclarativeBase):
    pass


class Step(Base):
    __tablename__ = "step"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    other: Mapped[int | None] = mapped_column(Raised)
    plain: Mapped[int | None] = mapped_column(Raised)
    sealed: Mapped[int | None] = mapped_column(EncryptedType(Raised, index=BlindIndex()))


VALUES = (4, 5, 6, None)


def _steps() -> list[Step]:
    return [
        Step(id=n, other=value, plain=value, sealed=value)
        for n, value in enumerate(VALUES, start=1)
    ]


@pytest.fixture
def steps(db: Database) -> Any:
    db.create(Base.metadata)
    with db.session() as session:
        session.add_all(_steps())
        session.flush()
        yield session


Condition = Callable[[Any], Any]

AS_OF_A_PLAIN_ONE: dict[str, Condition] = {
    "a value": lambda c: c == 5,
    "a value of the column's type": lambda c: literal(5, Raised()) == c,
    "a bind of the column's type": lambda c: c == bindparam("q", 5, Raised()),
    "a value in columns": lambda c: literal(5, Raised()).in_([c, Step.other]),
    "another value in a column of that type": lambda c: (
        tuple_(Step.other, c) == tuple_(literal(5), literal(4, Raised()))
    ),
    "a row of values": lambda c: tuple_(Step.other, c) == (5, 5),
    "rows of values": lambda c: tuple_(Step.other, c).in_([(5, 5), (6, 6)]),
    "a row of NULLs": lambda c: tuple_(Step.other, c) == tuple_(null(), null()),
    "a row with NULL": lambda c: tuple_(Step.other, c) != tuple_(null(), literal(5, Raised())),
}


@pytest.mark.parametrize("name", AS_OF_A_PLAIN_ONE)
def test_it_finds_what_it_finds_of_a_plain_column(steps: Session, name: str) -> None:
    condition = AS_OF_A_PLAIN_ONE[name]
    of_plain, of_sealed = (
        steps.scalars(select(Step.id).where(condition(c)).order_by(Step.id)).all()
        for c in (Step.plain, Step.sealed)
    )
    assert of_sealed == of_plain


REFUSED: dict[str, Condition] = {
    "first": lambda c: literal(5) == c,
    "first, differing": lambda c: ~(literal(5) == c),
    "second": lambda c: c == literal(5),
    "a NULL, whose statement is kept for values": lambda c: c == literal(None, Integer),
    "a bind": lambda c: c == bindparam("q", 5),
    "a coerced value": lambda c: c == type_coerce(5, Integer),
    "in a list": lambda c: c.in_([literal(5)]),
    "in a list of one bind": lambda c: c.in_(bindparam("q", [5], expanding=True)),
    "among columns": lambda c: literal(5).in_([c, Step.other]),
    "in a row": lambda c: tuple_(Step.id, c) == tuple_(1, 5),
    "told apart": lambda c: c.is_distinct_from(literal(5)),
    "any of a list": lambda c: any_(literal([5], ARRAY(Integer))) == c,
    "of an index": lambda c: c.blind() == literal(5),
    "in a subquery": lambda c: Step.id.in_(select(Step.id).where(literal(5) == c)),
    "in a CASE": lambda c: case((literal(5) == c, True), else_=False),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_value_that_a_plain_column_would_not_convert_is_refused(
    sqlite_db: Database, name: str
) -> None:
    sqlite_db.create(Base.metadata)
    with sqlite_db.session() as session:
        for statement in (select(Step.id), delete(Step)):
            with pytest.raises(UnsupportedOperationError, match="the type Raised") as caught:
                session.execute(statement.where(REFUSED[name](Step.sealed)))
            assert caught.value.column == "sealed"


LISTS: dict[str, Condition] = {
    "any of it": lambda c: any_(literal([5, 6], ARRAY(Raised))) == c,
    "in it": lambda c: c.in_([5, 6]),
    "rows, in a CASE": lambda c: case((tuple_(c, Step.id).in_([(5, 5)]), 1), else_=0) == 1,
}


@pytest.mark.parametrize("name", LISTS)
def test_a_list_is_refused_for_several_parameter_sets(postgresql: Backend, name: str) -> None:
    engine = postgresql.create_engine()
    Base.metadata.create_all(engine)
    attach_locally(engine)
    table: Any = Step.__table__
    listed = LISTS[name](table.c.sealed)
    changed = update(table).where(listed, table.c.id == bindparam("n")).values(other=1)
    upserted = _upsert(table, listed)
    with engine.begin() as connection:
        connection.execute(changed, {"n": 1})
        connection.execute(upserted, {"id": 1, "other": 1})
        with pytest.raises(UnsupportedOperationError, match="several parameter sets"):
            connection.execute(changed, [{"n": 1}, {"n": 2}])
        with pytest.raises(UnsupportedOperationError, match="several parameter sets"):
            connection.execute(upserted, [{"id": 1, "other": 1}, {"id": 2, "other": 1}])


def _upsert(table: Any, condition: Any) -> Any:
    return postgresql.insert(table).on_conflict_do_update(
        index_elements=["id"], set_={"other": 7}, where=condition
    )
