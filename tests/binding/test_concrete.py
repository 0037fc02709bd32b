"""Concrete inheritance: a hierarchy is read through the UNION of its tables, as a plain one is."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import String, func, literal_column, select, union_all
from sqlalchemy.ext.declarative import AbstractConcreteBase, ConcreteBase
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    aliased,
    configure_mappers,
    foreign,
    joinedload,
    mapped_column,
    relationship,
)

from encfields import BlindIndex, EncryptedType
from encfields.errors import ContextMismatchError, UnreadableError, UnsupportedOperationError
from tests.database import CANARY
from tests.turns import databases_by_turns

pytestmark = databases_by_turns


class Base(DeclarativeBase):
    pass


class Vehicle(ConcreteBase, Base):
    __tablename__ = "vehicle"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    plate: Mapped[str | None] = mapped_column(EncryptedType(index=BlindIndex()))
    __mapper_args__: Any = {"polymorphic_identity": "vehicle", "concrete": True}  # noqa: RUF012


class Bus(Vehicle):
    __tablename__ = "bus"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    plate: Mapped[str | None] = mapped_column(EncryptedType(index=BlindIndex()))
    driver: Mapped[str | None] = mapped_column(EncryptedType())
    __mapper_args__: Any = {"polymorphic_identity": "bus", "concrete": True}  # noqa: RUF012


class Case(AbstractConcreteBase, Base):
    strict_attrs = True
    tenant: Mapped[str] = mapped_column(String(20))
    summary: Mapped[str | None] = mapped_column(EncryptedType(key="tenant/{tenant}"))


class Claim(Case):
    __tablename__ = "claim"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    __mapper_args__: Any = {"polymorphic_identity": "claim", "concrete": True}  # noqa: RUF012


class Appeal(Case):
    __tablename__ = "appeal"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    __mapper_args__: Any = {"polymorphic_identity": "appeal", "concrete": True}  # noqa: RUF012


class Garage(Base):
    __tablename__ = "garage"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    holds: Mapped[int]
    vehicle: Mapped[Any] = relationship(
        Vehicle, primaryjoin=lambda: foreign(Garage.holds) == Vehicle.id, viewonly=True
    )


@pytest.fixture
def fleet(db):
    """A vehicle and a bus, of one key."""
    configure_mappers()
    db.create(Base.metadata)
    with db.session() as session:
        session.add_all([Vehicle(id=1, plate="v"), Bus(id=1, plate="b", driver=CANARY)])
        session.commit()
    return db


def test_every_class_is_read_with_its_own_columns(fleet):
    with fleet.session() as session:
        found = session.scalars(select(Vehicle).order_by(Vehicle.plate.is_(None))).all()
        assert sorted((type(v).__name__, v.plate) for v in found) == [
            ("Bus", "b"),
            ("Vehicle", "v"),
        ]
        (bus,) = (v for v in found if isinstance(v, Bus))
        assert bus.driver == CANARY


def test_columns_and_aliases_of_the_base_are_read(fleet):
    some = aliased(Vehicle)
    with fleet.session() as session:
        assert sorted(session.scalars(select(Vehicle.plate))) == ["b", "v"]
        assert sorted(v.plate for v in session.scalars(select(some).limit(5))) == ["b", "v"]
        assert session.scalar(select(func.count(Vehicle.plate))) == 2


def test_a_subquery_of_the_base_s_columns_is_refused_and_one_of_the_class_is_read(fleet):
    some = select(Vehicle.id, Vehicle.plate).subquery()
    whole, of_last = select(Vehicle).subquery(), select(Bus.id, Bus.plate).subquery()
    with fleet.session() as session:
        for one in (some, select(some).limit(9).cte()):
            with pytest.raises(UnreadableError, match="concrete hierarchy"):
                session.scalars(select(one.c.plate)).all()
        assert sorted(session.scalars(select(whole.c.plate))) == ["b", "v"]
        assert session.scalars(select(of_last.c.plate)).all() == ["b"]


def test_the_base_is_distinct_and_grouped_by_as_a_plain_one_is(fleet):
    pairs = select(Vehicle, func.count(Garage.id)).outerjoin(Garage, Garage.holds == Vehicle.id)
    base: Any = Vehicle  # SQLAlchemy takes a class, which its annotations leave out
    with fleet.session() as session:
        session.add_all([Garage(id=1, holds=1), Garage(id=2, holds=1)])
        session.flush()
        twice = select(Vehicle).join(Garage, Garage.holds == Vehicle.id)
        assert sorted(v.plate for v in session.scalars(twice)) == ["b", "b", "v", "v"]
        assert sorted(v.plate for v in session.scalars(twice.distinct())) == ["b", "v"]
        counted = session.execute(pairs.group_by(base)).all()
        assert sorted((v.plate, count) for v, count in counted) == [("b", 2), ("v", 2)]


def test_the_base_is_not_distinct_by_a_key_that_two_tables_have(fleet):
    with (
        fleet.session() as session,
        pytest.raises(UnsupportedOperationError, match="DISTINCT"),
    ):
        session.execute(select(Vehicle.id, Vehicle.plate).distinct()).all()


def test_a_relationship_to_the_base_is_loaded(fleet):
    with fleet.session() as session:
        session.add_all([Garage(id=1, holds=3), Vehicle(id=3, plate="w")])
        session.flush()
        (garage,) = session.scalars(select(Garage).options(joinedload(Garage.vehicle))).unique()
        assert garage.vehicle.plate == "w"


def test_a_value_of_another_class_s_row_does_not_open(fleet):
    stored = fleet.stored(Vehicle.plate, 1)
    with fleet.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE bus SET plate = (SELECT plate FROM vehicle)")
    assert fleet.stored(Bus.plate, 1) == stored
    with fleet.session() as session, pytest.raises(ContextMismatchError, match="bus"):
        session.scalars(select(Vehicle)).all()


def test_rows_of_many_tenants_are_read_through_an_abstract_base(db):
    configure_mappers()
    db.create(Base.metadata)
    for tenant in ("a", "b"):
        db.encryption.keys.create(f"tenant/{tenant}")
    with db.session() as session:
        session.add_all([Claim(id=1, tenant="a", summary="c"), Appeal(id=1, tenant="b")])
        session.add(Appeal(id=2, tenant="b", summary="d"))
        session.commit()
    with db.session() as session:
        found = [(type(c).__name__, c.summary) for c in session.scalars(select(Case))]
    assert sorted(found, key=str) == [("Appeal", "d"), ("Appeal", None), ("Claim", "c")]


def test_a_look_up_through_the_base_is_refused_and_one_of_a_class_works(fleet):
    with fleet.session() as session:
        assert session.scalars(select(Bus).where(Bus.plate == "b")).one().driver == CANARY
        with pytest.raises(UnreadableError, match="by itself"):
            session.scalars(select(Vehicle).where(Vehicle.plate == "b")).all()


def test_a_union_whose_branches_do_not_say_which_they_are_is_refused(fleet):
    for constant in ("'one'", "'ONE'", "now()"):
        both = union_all(
            select(Vehicle.__table__.c.id, Vehicle.__table__.c.plate, literal_column("'one'")),
            select(Bus.__table__.c.id, Bus.__table__.c.plate, literal_column(constant)),
        ).subquery()
        with fleet.session() as session, pytest.raises(UnreadableError, match="UNION"):
            session.execute(select(both.c.plate)).all()
