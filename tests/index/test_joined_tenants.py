"""Rows of one tenant are compared with each other by their indexes, whose key is the same."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Integer, String, and_, exists, func, or_, select
from sqlalchemy.orm import DeclarativeBase, Mapped, aliased, joinedload, mapped_column, relationship

from encfields import BlindIndex, EncryptedType
from encfields.errors import UnsupportedOperationError
from tests.database import Database


class Base(DeclarativeBase):
    pass


class Spelt(DeclarativeBase):
    pass


class Card(Base):
    """Of a tenant; a card may be a copy of another."""

    __tablename__ = "card"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    tenant_id: Mapped[int]
    number: Mapped[str | None] = mapped_column(
        EncryptedType(String(20), key="tenant/{tenant_id}", index=BlindIndex())
    )
    copies: Mapped[list[Card]] = relationship(
        primaryjoin="and_(foreign(Card.number) == remote(Card.number),"
        " foreign(Card.tenant_id) == remote(Card.tenant_id))",
        order_by="Card.id",
        viewonly=True,
        uselist=True,
    )


class Badge(Spelt):
    """Of a tenant that the database finds in any case, while each spelling has a key."""

    __tablename__ = "badge"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    tenant: Mapped[str] = mapped_column(String(20, collation="NOCASE"))
    number: Mapped[str] = mapped_column(
        EncryptedType(String(20), key="tenant/{tenant}", index=BlindIndex())
    )


def _fill(db: Database) -> None:
    """Cards 1 to 4 of tenant 1, of which 4 has the number of 1; cards 11 to 13 of tenant 2 have the
    numbers of 1 to 3."""
    with db.session() as session:
        for tenant, first in ((1, 1), (2, 11)):
            for n in range(3):
                session.add(Card(id=first + n, tenant_id=tenant, number=f"card-{n}"))
        session.add(Card(id=4, tenant_id=1, number="card-0"))
        session.commit()


@pytest.fixture
def cards(shared_tables: None, db: Database) -> Database:
    db.share(Base.metadata, ("tenant/1", "tenant/2"), fill=_fill)
    return db


@pytest.fixture
def sqlite_cards(shared_tables: None, sqlite_db: Database) -> Database:
    sqlite_db.share(Base.metadata, ("tenant/1", "tenant/2"), fill=_fill)
    return sqlite_db


other: Any = aliased(Card, name="other")
third: Any = aliased(Card, name="third")
its_tenant: Any = select(Card.id, Card.tenant_id, Card.number).subquery("its_tenant")
of_one_tenant: Any = other.tenant_id == Card.tenant_id
alike: Any = and_(of_one_tenant, other.number == Card.number)

BETWEEN_ROWS: dict[str, tuple[Any, list[int]]] = {
    "JOIN": (select(Card.id).join(other, and_(alike, other.id != Card.id)), [1, 4]),
    "WHERE": (select(Card.id).where(alike, other.id == 4), [1, 4]),
    "the tenants in the WHERE": (
        select(Card.id).join(other, other.number == Card.number).where(of_one_tenant),
        [1, 1, 2, 3, 4, 4, 11, 12, 13],
    ),
    "EXISTS": (select(Card.id).where(exists().where(alike, other.id > Card.id)), [1]),
    "NOT EXISTS": (
        select(Card.id).where(~exists().where(alike, other.id != Card.id)),
        [2, 3, 11, 12, 13],
    ),
    "IN": (
        select(Card.id).where(
            Card.number.in_(select(other.number).where(of_one_tenant, other.id == 4))
        ),
        [1, 4],
    ),
    "outer JOIN": (
        select(Card.id)
        .outerjoin(other, and_(alike, other.id != Card.id))
        .where(other.id.is_(None)),
        [2, 3, 11, 12, 13],
    ),
    "!=": (
        select(Card.id).where(of_one_tenant, other.number != Card.number, other.id == 4),
        [2, 3],
    ),
    "under NOT": (select(Card.id).where(~alike, other.id == 4), [2, 3, 11, 12, 13]),
    "through a third": (
        select(Card.id).where(
            third.tenant_id == Card.tenant_id,
            other.tenant_id == third.tenant_id,
            third.id == 4,
            other.id == 1,
            other.number == Card.number,
        ),
        [1, 4],
    ),
    "a subquery": (
        select(Card.id).where(
            Card.tenant_id == its_tenant.c.tenant_id,
            Card.number == its_tenant.c.number,
            its_tenant.c.id == 4,
        ),
        [1, 4],
    ),
    "count": (
        select(func.count())
        .select_from(Card)
        .join(other, and_(alike, other.id != Card.id))
        .group_by(Card.number.blind()),
        [2],
    ),
}


@pytest.mark.parametrize("name", BETWEEN_ROWS)
def test_rows_of_one_tenant_are_compared_with_each_other(cards: Database, name: str) -> None:
    """Where the tenants are not equal the comparison's result does not matter."""
    asked, found = BETWEEN_ROWS[name]
    with cards.session() as session:
        assert sorted(session.scalars(asked)) == found


def test_a_relationship_within_a_tenant_is_joined(cards: Database) -> None:
    asked = select(Card).options(joinedload(Card.copies)).where(Card.id.in_([1, 2, 11]))
    with cards.session() as session:
        found = session.scalars(asked).unique().all()
        assert {card.id: [copy.id for copy in card.copies] for card in found} == {
            1: [1, 4],
            2: [2],
            11: [11],
        }


OF_TWO_TENANTS: dict[str, Any] = {
    "no tenant": select(Card.id).join(other, other.number == Card.number),
    "in an OR": select(Card.id).join(other, or_(of_one_tenant, other.number == Card.number)),
    "unequal": select(Card.id).where(
        other.tenant_id != Card.tenant_id, other.number == Card.number
    ),
    "in the ON of an outer JOIN": select(Card.id)
    .outerjoin(other, of_one_tenant)
    .where(or_(other.number == Card.number, other.id.is_(None))),
    "another column": select(Card.id).where(
        other.id == Card.tenant_id, other.number == Card.number
    ),
    "in another query": select(Card.id).where(
        Card.number.in_(select(other.number)), exists().where(of_one_tenant)
    ),
    "in the query around, of whose rows it is not": select(Card.id).where(
        of_one_tenant, exists(select(Card.id).where(other.number == Card.number).correlate(None))
    ),
    "a subquery without it": select(Card.id).where(
        Card.number.in_(select(select(Card.id, Card.number).subquery().c.number))
    ),
}


@pytest.mark.parametrize("name", OF_TWO_TENANTS)
def test_rows_that_may_be_of_two_tenants_are_not_compared(
    sqlite_cards: Database, name: str
) -> None:
    with (
        sqlite_cards.session() as session,
        pytest.raises(
            UnsupportedOperationError, match=r"card\.number: .*a\.tenant == b\.tenant"
        ) as caught,
    ):
        session.execute(OF_TWO_TENANTS[name])
    assert caught.value.table == "card"


def test_rows_of_a_tenant_that_may_be_spelt_in_two_ways_are_not_compared(
    sqlite_db: Database,
) -> None:
    sqlite_db.create(Spelt.metadata)
    one: Any = aliased(Badge)
    asked = select(Badge.id).where(one.tenant == Badge.tenant, one.number == Badge.number)
    with (
        sqlite_db.session() as session,
        pytest.raises(UnsupportedOperationError, match=r"a\.tenant == b\.tenant"),
    ):
        session.execute(asked)
