"""Attributes that Python computes of encrypted values hinder no write, as with plain columns."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import JSON, Integer, String, delete, func, insert, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.ext.indexable import index_property
from sqlalchemy.orm import DeclarativeBase, Session, mapped_column

from encfields import EncryptedType
from encfields.errors import UnsupportedOperationError
from tests.turns import databases_by_turns

pytestmark = databases_by_turns


class Base(DeclarativeBase):
    pass


class Person(Base):
    __tablename__ = "person"

    id = mapped_column(Integer, primary_key=True, autoincrement=False)
    first = mapped_column(EncryptedType(String(50)))
    last = mapped_column(EncryptedType(String(50)))
    age = mapped_column(EncryptedType(Integer))
    more = mapped_column(EncryptedType(JSON))
    colour = index_property("more", "colour", default=None)

    @hybrid_property
    def name(self) -> Any:
        return self.first + " " + self.last

    @hybrid_property
    def greeting(self) -> Any:
        return "Dr. " + self.last

    @hybrid_property
    def is_adult(self) -> Any:
        return self.age >= 18

    @hybrid_property
    def is_called_ada(self) -> Any:
        return self.first == "Ada"


ADA = {"id": 1, "first": "Ada", "last": "Byron", "age": 36, "more": {"colour": "red"}}
BOB = {"id": 2, "first": "Bob", "last": "Doe", "age": 7, "more": {}}
WRITES = {
    "bulk insert": lambda session: session.execute(insert(Person), [ADA, BOB]),
    "insert mappings": lambda session: session.bulk_insert_mappings(Person, [ADA, BOB]),
    "bulk update": lambda session: session.execute(update(Person), [ADA, BOB]),
    "update mappings": lambda session: session.bulk_update_mappings(Person, [ADA, BOB]),
}


@pytest.mark.parametrize("way", WRITES)
def test_a_bulk_write_of_a_class_with_hybrids_over_encrypted_columns_works(way, db):
    db.create(Base.metadata)
    with db.session() as session:
        if "update" in way:
            session.add_all([Person(id=1, first="x"), Person(id=2, first="y")])
            session.commit()
        WRITES[way](session)
        session.commit()
        ada, bob = session.scalars(select(Person).order_by(Person.id))
        assert (ada.name, ada.greeting, ada.is_adult, ada.is_called_ada, ada.colour) == (
            "Ada Byron", "Dr. Byron", True, True, "red",
        )  # fmt: skip
        assert (bob.name, bob.is_adult, bob.is_called_ada, bob.colour) == (
            "Bob Doe", False, False, None,
        )  # fmt: skip


USES: dict[str, Callable[[Any], Any]] = {
    "selected": select,
    "a condition": lambda hybrid: select(Person.id).where(hybrid == "x"),
    "sorted by": lambda hybrid: select(Person.id).order_by(hybrid.desc()),
    "in a function": lambda hybrid: select(func.lower(hybrid)),
    "deleted by": lambda hybrid: delete(Person).where(hybrid.in_(["x"])),
    "assigned": lambda hybrid: update(Person).values(last=hybrid),
}


@pytest.mark.parametrize("name", ["name", "greeting", "is_adult", "is_called_ada", "colour"])
@pytest.mark.parametrize("use", USES)
def test_whoever_uses_a_hybrid_that_ciphertext_cannot_answer_is_told_why(use, name, db):
    db.create(Base.metadata)
    refused = pytest.raises(UnsupportedOperationError, match=r"person\.\w+: the database holds")
    with db.session() as session, refused:
        session.execute(USES[use](getattr(Person, name)))


def test_a_condition_that_states_such_a_hybrid_is_refused_with_the_reason(db):
    db.create(Base.metadata)
    with db.session() as session:
        stated = [
            lambda: select(Person).filter_by(name="Ada Byron"),
            lambda: update(Person).filter_by(name="Ada Byron"),
            lambda: session.query(Person).filter_by(is_adult=True),
            lambda: session.query(Person.id).filter_by(greeting="Dr. Byron").delete(),
        ]
        for state in stated:
            with pytest.raises(UnsupportedOperationError, match="cannot answer") as refused:
                state()
            assert refused.value.column in ("first", "last", "age")


def test_a_refused_operator_is_the_same_error_after_pickling():
    with pytest.raises(UnsupportedOperationError) as refused:
        Person.first + "x"
    again = pickle.loads(pickle.dumps(refused.value))
    assert type(again) is UnsupportedOperationError
    assert (str(again), again.column) == (str(refused.value), "first")
    assert type(refused.value).__name__ == "UnsupportedOperationError"


def _twins(kind: Any) -> tuple[type[DeclarativeBase], Any]:
    """A class with hybrids that are written, over plain or encrypted columns."""

    class TwinBase(DeclarativeBase):
        pass

    class Twin(TwinBase):
        __tablename__ = "twin"
        id = mapped_column(Integer, primary_key=True, autoincrement=False)
        first = mapped_column(kind(String(50)))
        last = mapped_column(kind(String(50)))

        @hybrid_property
        def name(self) -> Any:
            return self.first + " " + self.last

        @name.inplace.setter
        def _set_name(self, name: str) -> None:
            self.first, self.last = name.split(" ")

        @name.inplace.update_expression
        def _assign_name(cls: Any, value: Any) -> Any:
            return list(zip((cls.first, cls.last), value.split(" "), strict=True))

        @hybrid_property
        def greeting(self) -> Any:
            return "Dr. " + self.last

    return TwinBase, Twin


def _added(twin: Any, session: Session) -> None:
    session.add(twin(id=1, name="Ada Byron"))
    session.flush()


def _updated(values: Any) -> Any:
    def update_it(twin: Any, session: Session) -> None:
        session.execute(insert(twin), {"id": 1, "first": "Bob", "last": "Doe"})
        session.execute(update(twin).where(twin.id == 1).values(values(twin)))

    return update_it


def _inserted(key: str, rows: int) -> Any:
    def insert_them(twin: Any, session: Session) -> None:
        given = [{"id": n, "first": "a", "last": "b", key: "Ada Byron"} for n in range(rows)]
        session.execute(insert(twin), given)

    return insert_them


HYBRID_WRITES: dict[str, Callable[[Any, Session], Any]] = {
    "a constructor": _added,
    "an UPDATE that names it": _updated(lambda twin: {"name": "Ada Byron"}),
    "an UPDATE with the attribute": _updated(lambda twin: {twin.name: "Ada Byron"}),
    "one row": _inserted("name", 1),
    "several rows": _inserted("name", 2),
    "a key without a setter": _inserted("greeting", 2),
    "a key that the class lacks": _inserted("nonsense", 2),
    "mappings": lambda twin, session: session.bulk_insert_mappings(
        twin, [{"id": 1, "first": "a", "last": "b", "name": "Ada Byron"}]
    ),
}


@pytest.mark.parametrize("way", HYBRID_WRITES)
def test_a_hybrid_is_written_or_refused_as_over_plain_columns(way, db):
    outcomes: list[list[Any]] = []
    for kind in (lambda type_: type_, EncryptedType):
        base, twin = _twins(kind)
        db.create(base.metadata)
        with db.session() as session:
            try:
                HYBRID_WRITES[way](twin, session)
                found = select(twin).order_by(twin.id).execution_options(populate_existing=True)
                outcomes.append([(one.id, one.name) for one in session.scalars(found)])
            except SQLAlchemyError as error:
                outcomes.append([type(error).__name__])
        with db.engine.begin() as connection:
            base.metadata.drop_all(connection)
    assert outcomes[0] == outcomes[1]
