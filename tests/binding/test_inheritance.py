"""Inheritance: a value is bound to the row of the table that holds its column."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import ForeignKey, String, insert, inspect, select, union, update
from sqlalchemy.exc import NoSuchColumnError
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    aliased,
    mapped_column,
    selectin_polymorphic,
    with_polymorphic,
)

from encfields import EncryptedType
from encfields.errors import ContextMismatchError, UnreadableError, UnsupportedOperationError
from tests.turns import databases_by_turns

pytestmark = databases_by_turns


class Base(DeclarativeBase):
    pass


class Person(Base):
    """Joined to its own table; the key is generated."""

    __tablename__ = "person"

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(20))
    name: Mapped[str | None] = mapped_column(EncryptedType())
    __mapper_args__: Any = {"polymorphic_on": "kind", "polymorphic_identity": "person"}  # noqa: RUF012


class Doctor(Person):
    __tablename__ = "doctor"

    id: Mapped[int] = mapped_column(ForeignKey("person.id"), primary_key=True)
    licence: Mapped[str | None] = mapped_column(EncryptedType())
    __mapper_args__: Any = {"polymorphic_identity": "doctor"}  # noqa: RUF012


class Surgeon(Doctor):
    __tablename__ = "surgeon"

    doctor_id: Mapped[int] = mapped_column(ForeignKey("doctor.id"), primary_key=True)
    ward: Mapped[str | None] = mapped_column(EncryptedType())
    __mapper_args__: Any = {"polymorphic_identity": "surgeon"}  # noqa: RUF012


class Nurse(Person):
    """In its parent's table."""

    badge: Mapped[str | None] = mapped_column(EncryptedType())
    __mapper_args__: Any = {"polymorphic_identity": "nurse"}  # noqa: RUF012


@pytest.fixture
def clinic(db):
    db.create(Base.metadata)
    with db.session() as session:
        session.add_all(
            [
                Person(name="p"),
                Doctor(name="d", licence="d-licence"),
                Surgeon(name="s", licence="s-licence", ward="s-ward"),
                Nurse(name="n", badge="n-badge"),
                Surgeon(name="s2", licence="s2-licence", ward="s2-ward"),
            ]
        )
        session.commit()
    return db


def told(person: Person) -> list[str | None]:
    attributes = inspect(type(person)).column_attrs
    named = ("name", "licence", "ward", "badge")
    return [getattr(person, key) for key in named if key in attributes]


def expected(name: str) -> list[str]:
    return {
        "p": ["p"],
        "d": ["d", "d-licence"],
        "s": ["s", "s-licence", "s-ward"],
        "n": ["n", "n-badge"],
        "s2": ["s2", "s2-licence", "s2-ward"],
    }[name]


READS = {
    "polymorphic": lambda: select(Person),
    "with_polymorphic": lambda: select(with_polymorphic(Person, "*")),
    "aliased": lambda: select(with_polymorphic(Person, "*", aliased=True)),
    "flat": lambda: select(with_polymorphic(Person, "*", flat=True)),
    "select-in": lambda: select(Person).options(
        selectin_polymorphic(Person, [Doctor, Surgeon, Nurse])
    ),
}


@pytest.mark.parametrize("statement", READS.values(), ids=READS.keys())
def test_every_polymorphic_read(clinic, statement):
    with clinic.session() as session:
        people = session.scalars(statement()).all()
        assert sorted(str(p.name) for p in people) == ["d", "n", "p", "s", "s2"]
        for person in people:
            assert told(person) == expected(str(person.name))


def test_a_child_is_read_by_itself(clinic):
    with clinic.session() as session:
        surgeons = session.scalars(select(Surgeon).order_by(Surgeon.id)).all()
        assert [told(one) for one in surgeons] == [expected("s"), expected("s2")]
        assert session.scalars(select(Surgeon.ward).order_by(Surgeon.id)).all() == [
            "s-ward",
            "s2-ward",
        ]
        assert session.scalars(select(Nurse.badge)).all() == ["n-badge"]


@pytest.mark.parametrize("column", [Person.name, Doctor.licence, Surgeon.ward])
def test_a_value_moved_in_any_of_the_tables_is_refused(clinic, column):
    with clinic.session() as session:
        one, two = session.scalars(select(Surgeon.id).order_by(Surgeon.id))
    owner = {"name": Person, "licence": Doctor, "ward": Surgeon}[column.key]
    table = inspect(owner).local_table
    clinic.copy_cell(table.c[column.key], source=two, target=one)
    with clinic.session() as session, pytest.raises(ContextMismatchError):
        session.scalars(select(Surgeon)).all()


def test_children_are_changed_in_each_of_their_tables(clinic):
    with clinic.session() as session:
        one = session.scalars(select(Surgeon).order_by(Surgeon.id)).first()
        assert one is not None
        key = one.id
        one.name, one.licence, one.ward = "new", "new-licence", "new-ward"
        session.commit()
    with clinic.session() as session:
        assert told(session.get_one(Surgeon, key)) == ["new", "new-licence", "new-ward"]


def test_bulk_inserts_of_a_child(clinic):
    with clinic.session() as session:
        session.execute(
            insert(Surgeon),
            [
                {"id": n, "doctor_id": n, "name": "x", "licence": f"l-{n}", "ward": f"w-{n}"}
                for n in (50, 51)
            ],
        )
        session.execute(update(Nurse), [{"id": 4, "badge": "bulk"}])
        session.commit()
        assert told(session.get_one(Surgeon, 51)) == ["x", "l-51", "w-51"]
        assert told(session.get_one(Nurse, 4)) == ["n", "bulk"]


def test_bulk_inserts_of_a_child_whose_rows_differ_in_their_columns(clinic):
    """The ORM executes an INSERT for each run of rows that are alike, and joins the results."""
    named = [{"name": f"n-{n}", "licence": f"l-{n}"} for n in (1, 2)]
    with clinic.session() as session:
        session.execute(insert(Doctor), [*named, {"licence": "l-3"}, {"licence": "l-4"}, *named])
        found = session.execute(select(Doctor.name, Doctor.licence).order_by(Doctor.id)).all()
    told_of = [("n-1", "l-1"), ("n-2", "l-2")]
    assert [tuple(r) for r in found[-6:]] == [*told_of, (None, "l-3"), (None, "l-4"), *told_of]


def test_all_rows_of_a_child_are_given_one_value_under_a_trigger(sqlite_db):
    """Which has each table's INSERT rehearsed by itself, as on MariaDB and MySQL without one."""
    sqlite_db.create(Base.metadata)
    sqlite_db.execute_plain("CREATE TRIGGER tr AFTER INSERT ON person BEGIN SELECT 1; END")
    with sqlite_db.session() as session:
        session.execute(insert(Doctor).values(licence="l"), [{"name": "a"}, {"name": "b"}])
        session.execute(insert(Doctor).values(name="c"), [{"licence": "m"}])
        found = session.execute(select(Doctor.name, Doctor.licence).order_by(Doctor.id)).all()
    assert [tuple(row) for row in found] == [("a", "l"), ("b", "l"), ("c", "m")]


def test_a_changed_key_of_a_child_takes_all_its_values_along(sqlite_db):
    sqlite_db.create(Base.metadata)
    with sqlite_db.session() as session:
        session.add(Nurse(id=1, name="n", badge="b"))
        session.commit()
        session.get_one(Nurse, 1).id = 9
        session.commit()
    with sqlite_db.session() as session:
        assert told(session.get_one(Nurse, 9)) == ["n", "b"]


def test_a_given_key_is_kept_by_a_subclass_whose_column_of_it_has_another_name(sqlite_db):
    class Local(DeclarativeBase):
        pass

    class Device(Local):
        __tablename__ = "device"
        id: Mapped[int] = mapped_column("device_id", primary_key=True)
        kind: Mapped[str] = mapped_column(String(20))
        __mapper_args__: Any = {"polymorphic_on": "kind", "polymorphic_identity": "device"}  # noqa: RUF012

    class Phone(Device):
        __tablename__ = "phone"
        id: Mapped[int] = mapped_column(ForeignKey(Device.id), primary_key=True)
        pin: Mapped[str | None] = mapped_column(EncryptedType())
        __mapper_args__: Any = {"polymorphic_identity": "phone"}  # noqa: RUF012

    sqlite_db.create(Local.metadata)
    with sqlite_db.session() as session:
        session.execute(insert(Phone), [{"id": 30, "pin": "1"}, {"id": 31, "pin": None}])
        found = session.scalars(select(Phone).order_by(Phone.id)).all()
    assert [(phone.id, phone.pin) for phone in found] == [(30, "1"), (31, None)]


BY_THE_SUBCLASS_S_KEY = {
    "a subquery": lambda one: one.subquery(),
    "a CTE": lambda one: one.cte(),
    "a subquery of a subquery": lambda one: select(one.limit(9).subquery()).subquery(),
    "a UNION of the same": lambda one: union(one, one.where(Surgeon.id > 0)).subquery(),
}


@pytest.mark.parametrize("way", BY_THE_SUBCLASS_S_KEY)
def test_a_parent_s_value_is_read_beside_the_subclass_s_own_key(clinic, way):
    """``Surgeon.id`` is a column of another table, which the JOIN sets equal to the parent's."""
    some = BY_THE_SUBCLASS_S_KEY[way](select(Surgeon.id, Surgeon.name, Surgeon.licence))
    with clinic.session() as session:
        found = session.execute(select(some.c.name, some.c.licence).order_by(some.c.id)).all()
    assert [tuple(row) for row in found] == [("s", "s-licence"), ("s2", "s2-licence")]


def test_of_an_optional_side_the_key_of_the_other_is_enough(clinic):
    poly = with_polymorphic(Person, [Doctor])
    some = select(poly.id, poly.Doctor.licence).subquery()
    with clinic.session() as session:
        found = session.scalars(select(some.c.licence).order_by(some.c.id)).all()
    assert found == [None, "d-licence", "s-licence", None, "s2-licence"]


def test_but_a_key_that_may_be_null_stands_for_no_other(clinic):
    poly = with_polymorphic(Person, [Doctor])
    some = select(poly.Doctor.id, poly.name).subquery()
    with clinic.session() as session, pytest.raises(UnreadableError):
        session.scalars(select(some.c.name)).all()


def test_nor_does_the_key_of_another_row(clinic):
    other = aliased(Surgeon, flat=True)
    some = select(other.id, Surgeon.name).where(other.id != Surgeon.id).subquery()
    with clinic.session() as session, pytest.raises(UnreadableError):
        session.scalars(select(some.c.name)).all()


def test_sqlite_is_not_asked_to_return_a_column_of_another_table(sqlite_db):
    """It would return the written table's column of that name, or the quoted name as a text."""
    sqlite_db.create(Base.metadata)
    with sqlite_db.session() as session:
        session.add(Doctor(name="d", licence="d-licence"))
        session.commit()
        changed = update(Person).values(name="other").where(Person.id == 1)
        # Early releases of SQLAlchemy 2.0 miss the column themselves, and do not ask for it with an
        # entity at all.
        refused = (UnsupportedOperationError, NoSuchColumnError)
        with pytest.raises(refused, match=r"doctor\.licence"):
            session.execute(changed.returning(Person.name, Doctor.licence)).all()
        session.rollback()
        if not sqlalchemy.__version__.startswith("2.0.2"):
            with pytest.raises(UnsupportedOperationError, match=r"doctor\.licence.*separate"):
                session.execute(changed.returning(Doctor))
            session.rollback()
            fetched = changed.execution_options(synchronize_session="fetch")
            with pytest.raises(UnsupportedOperationError, match=r"doctor\.licence.*separate"):
                session.execute(fetched.returning(Doctor))
            session.rollback()
        assert session.scalars(changed.returning(Person.name)).all() == ["other"]
