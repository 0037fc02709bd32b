"""A UNION in which some SELECTs have NULL for an encrypted column is read, as one of joins is."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import (
    Column,
    ForeignKey,
    Integer,
    String,
    Table,
    case,
    cast,
    func,
    literal,
    null,
    select,
    true,
    union,
    union_all,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, aliased, mapped_column, polymorphic_union

from encfields import BlindIndex, EncryptedType, Plaintext
from encfields.errors import ContextMismatchError, UnreadableError, UnsupportedOperationError
from encfields.orm.adoption.columns import plaintext_column
from tests.database import Database
from tests.turns import databases_by_turns, on_each_database

pytestmark = databases_by_turns


class Base(DeclarativeBase):
    pass


def text() -> EncryptedType:
    return EncryptedType(String(50), index=BlindIndex(key="default"))


PEOPLE = Table(
    "people",
    Base.metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("kind", String(20)),
    Column("name", text()),
)
NURSES = Table(
    "nurses",
    Base.metadata,
    Column("id", Integer, ForeignKey("people.id"), primary_key=True, autoincrement=False),
    Column("ward", text()),
)
DOCTORS = Table(
    "doctors",
    Base.metadata,
    Column("id", Integer, ForeignKey("people.id"), primary_key=True, autoincrement=False),
    Column("field", text()),
)
OTHERS = PEOPLE.select().where(PEOPLE.c.kind == "person").subquery()
OF_JOINS = polymorphic_union(
    {"nurse": PEOPLE.join(NURSES), "doctor": PEOPLE.join(DOCTORS), "person": OTHERS}, None, "of"
)


class Person(Base):
    __table__ = PEOPLE
    __allow_unmapped__ = True
    id: Any
    name: Any
    __mapper_args__: Any = {  # noqa: RUF012
        "polymorphic_on": OF_JOINS.c.kind,
        "polymorphic_identity": "person",
        "with_polymorphic": ("*", OF_JOINS),
    }

    def told(self) -> Any:
        return self.id, self.name, getattr(self, "ward", None), getattr(self, "field", None)


class Nurse(Person):
    __table__ = NURSES
    __mapper_args__: Any = {"polymorphic_identity": "nurse"}  # noqa: RUF012


class Doctor(Person):
    __table__ = DOCTORS
    __mapper_args__: Any = {"polymorphic_identity": "doctor"}  # noqa: RUF012


class Room(Base):
    __tablename__ = "rooms"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    plain: Mapped[str] = mapped_column(String(50))


ADOPTING = Table(
    "adopting",
    Base.metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column(
        "sealed",
        EncryptedType(
            String(50), name="adopting.mail", adopts=Plaintext("mail", phase="write-both")
        ),
    ),
)


@pytest.fixture
def people(db: Database) -> Database:
    db.create(Base.metadata)
    with db.session() as session:
        session.add_all(
            [
                Person(id=1, name="Ada"),
                Nurse(id=2, name="Bob", ward="east"),
                Nurse(id=3, name="Cy", ward="west"),
                Doctor(id=4, name="Eve", field="skin"),
                Room(id=2, plain="east"),
            ]
        )
        session.commit()
    return db


def _rows(db: Database, statement: Any) -> list[Any]:
    with db.session() as session:
        return sorted(map(tuple, session.execute(statement)), key=repr)


NAMED = aliased(Person, OF_JOINS.alias())


@on_each_database
@pytest.mark.parametrize("of", [Person, aliased(Person), NAMED])
def test_a_joined_hierarchy_is_read_from_a_union_of_its_joins(of: Any, people: Database) -> None:
    with people.session() as session:
        found = session.scalars(select(of).order_by(of.id)).all()
        assert [person.told() for person in found] == [
            (1, "Ada", None, None),
            (2, "Bob", "east", None),
            (3, "Cy", "west", None),
            (4, "Eve", None, "skin"),
        ]
        assert [type(person) for person in found] == [Person, Nurse, Nurse, Doctor]


@pytest.mark.parametrize("of", [OF_JOINS, OF_JOINS.alias()])
def test_a_subclass_is_found_in_a_union_of_joins(of: Any, people: Database) -> None:
    assert _rows(people, select(of.c.id, of.c.ward).where(of.c.ward == "east")) == [(2, "east")]
    assert _rows(people, select(of.c.id).where(of.c.ward != "east")) == [(3,)]
    assert _rows(people, select(of.c.id).where(of.c.ward.is_(None))) == [(1,), (4,)]


FOUND = select(NURSES.c.id, NURSES.c.ward)
WITHOUT = {
    "null()": select(DOCTORS.c.id, null()),
    "cast": select(DOCTORS.c.id, cast(null(), NURSES.c.ward.type)),
    "attributes": select(Doctor.id, null()),
}
READ = {
    "executed": lambda united: united,
    "subquery": lambda united: select(united.subquery()),
    "alias": lambda united: select(united.subquery().alias()),
    "subquery of a subquery": lambda united: select(select(united.subquery()).subquery()),
    "CTE": lambda united: select(united.cte("both")),
}


@pytest.mark.parametrize("read", READ)
@pytest.mark.parametrize("unite", [union, union_all])
@pytest.mark.parametrize("without", WITHOUT)
def test_a_select_may_have_null_below_an_encrypted_column(
    without: str, unite: Any, read: str, people: Database
) -> None:
    rows = _rows(people, READ[read](unite(FOUND, WITHOUT[without])))
    assert rows == [(2, "east"), (3, "west"), (4, None)]


def test_a_union_of_a_column_that_some_classes_lack_is_made_once_more(people: Database) -> None:
    wards = select(OF_JOINS.c.id, OF_JOINS.c.ward)
    found = [(1, None), (2, "east"), (3, "west"), (4, None)]
    assert _rows(people, wards.union(wards)) == found
    with pytest.raises(UnsupportedOperationError, match="row's primary key"):
        _rows(people, select(OF_JOINS.c.ward).union(select(OF_JOINS.c.ward)))


def test_a_value_that_was_moved_to_another_row_of_the_union_does_not_open(people: Database) -> None:
    with people.engine.begin() as connection:
        moved = "(SELECT ward FROM (SELECT ward FROM nurses WHERE id = 2) AS other)"
        connection.exec_driver_sql(f"UPDATE nurses SET ward = {moved} WHERE id = 3")
    for statement in (select(OF_JOINS.c.ward), READ["subquery"](union_all(FOUND, WITHOUT["cast"]))):
        with pytest.raises(ContextMismatchError):
            _rows(people, statement)


other = NURSES.alias()
OF_ANOTHER_ROW = select(other.c.id, NURSES.c.ward).join(NURSES, true())


def test_a_union_with_the_key_of_another_row_is_refused(people: Database) -> None:
    with pytest.raises(UnreadableError, match="does not carry the row's key"):
        _rows(people, READ["subquery"](union_all(OF_ANOTHER_ROW, WITHOUT["cast"])))


def test_the_plaintext_of_an_adopted_column_is_not_taken_from_another_table(
    people: Database,
) -> None:
    with people.begin() as connection:
        connection.execute(ADOPTING.insert(), {"id": 2, "sealed": "mine"})
    adopted = select(ADOPTING.c.id, plaintext_column(ADOPTING.c.sealed), ADOPTING.c.sealed)
    found = union_all(adopted, select(Room.id, null(), null())).subquery()
    assert _rows(people, select(found.c.id, found.c.sealed)) == [(2, "mine"), (2, None)]
    found = union_all(adopted, select(Room.id, Room.plain, null())).subquery()
    with pytest.raises(UnreadableError):
        _rows(people, select(found.c.id, found.c.sealed))


def test_a_value_is_not_found_by_the_index_of_another_column(people: Database) -> None:
    found = union_all(
        select(NURSES.c.id, NURSES.c.ward, NURSES.c.ward_bidx),
        select(DOCTORS.c.id, null(), DOCTORS.c.field_bidx),
    ).subquery()
    with pytest.raises(UnreadableError, match="neither the column's blind index"):
        _rows(people, select(found.c.id).where(found.c.ward == "skin"))


BELOW = {
    "a function": func.lower(Room.plain),
    "a subquery": select(Room.plain).scalar_subquery(),
    "a value": literal("east"),
    "a CASE": case((Room.id == 2, "east"), else_=None),
}


@pytest.mark.parametrize("read", READ)
@pytest.mark.parametrize("below", BELOW)
def test_what_is_not_encrypted_below_an_encrypted_column_is_refused(
    below: str, read: str, people: Database
) -> None:
    united = union_all(FOUND, select(Room.id, BELOW[below]))
    with pytest.raises((UnreadableError, UnsupportedOperationError)):
        _rows(people, READ[read](united))
