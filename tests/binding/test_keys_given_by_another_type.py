"""What identifies a row may be given by a type of its own, as ``literal(5)`` is an integer.

Then the database stores, or compares, what that type makes of it, and not what the column's does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Integer, String, bindparam, delete, insert, literal, select
from sqlalchemy import update as update_of
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from encfields import BlindIndex, EncryptedType
from tests.database import Database
from tests.raised import Raised
from tests.turns import databases_by_turns

pytestmark = databases_by_turns


class Base(DeclarativeBase):
    pass


class Floor(Base):
    __tablename__ = "floor"
    id: Mapped[int] = mapped_column(Raised, primary_key=True, autoincrement=False)
    tenant: Mapped[int] = mapped_column(Raised)
    plain: Mapped[str] = mapped_column(String(9))
    sealed: Mapped[str] = mapped_column(
        EncryptedType(String(9), key="tenant/{tenant}", index=BlindIndex())
    )


class Ground(Base):
    """Of a key and a tenant that no type converts."""

    __tablename__ = "ground"
    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    tenant: Mapped[int]
    sealed: Mapped[str] = mapped_column(EncryptedType(String(9), key="tenant/{tenant}"))


TENANTS = (1, 2, 3)

GIVEN: dict[str, Callable[[int], Any]] = {
    "a literal": literal,
    "a bind with a value": lambda value: bindparam("given", value),
    "a literal of the column's type": lambda value: literal(value - 1, Raised()),
}
"""Each is stored as it is here, so that the column reads one less."""


@pytest.fixture(params=GIVEN)
def given(request: Any) -> Callable[[int], Any]:
    return GIVEN[request.param]


@pytest.fixture
def floors(db: Database) -> Database:
    db.create(Base.metadata)
    for tenant in (*TENANTS, 4):  # the stored form names the key
        db.create_key(f"tenant/{tenant}")
    with db.session() as session:
        session.add_all(Floor(id=n, tenant=n, plain="a", sealed="a") for n in TENANTS)
        session.commit()
    return db


def _read(db: Database) -> list[tuple[int, str]]:
    with db.session() as session:
        rows = session.execute(select(Floor.id, Floor.sealed).order_by(Floor.id))
        return [(row.id, row.sealed) for row in rows]


def test_a_value_is_sealed_for_the_row_that_is_updated(floors: Database, given: Any) -> None:
    with floors.session() as session:
        session.execute(
            update_of(Floor).where(Floor.id == given(3), Floor.tenant == 2).values(sealed="new"),
            execution_options={"synchronize_session": False},
        )
        session.commit()
    assert _read(floors) == [(1, "a"), (2, "new"), (3, "a")]


def test_a_value_is_sealed_for_the_row_that_is_inserted(floors: Database, given: Any) -> None:
    with floors.begin() as connection:
        connection.execute(insert(Floor).values(id=given(9), tenant=1, plain="b", sealed="b"))
    assert _read(floors) == [(1, "a"), (2, "a"), (3, "a"), (8, "b")]


def test_a_tenant_is_looked_up_as_it_is_compared(floors: Database, given: Any) -> None:
    of_tenant = given(3) == Floor.tenant
    with floors.session() as session:
        for column in (Floor.plain, Floor.sealed):
            assert session.scalars(select(Floor.id).where(of_tenant, column == "a")).all() == [2]
            assert session.scalars(select(Floor.id).where(of_tenant, column != "a")).all() == []
            others: Any = session.execute(
                delete(Floor).where(of_tenant, column != "a"),
                execution_options={"synchronize_session": False},
            )
            assert others.rowcount == 0


def test_a_type_that_converts_it_may_be_given_to_a_column_of_none(floors: Database) -> None:
    with floors.begin() as connection:
        connection.execute(
            insert(Ground).values(id=literal(6, Raised()), tenant=literal(2, Raised()), sealed="c")
        )
        assert connection.execute(select(Ground.id, Ground.sealed)).all() == [(7, "c")]
