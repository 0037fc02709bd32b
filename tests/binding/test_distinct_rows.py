"""DISTINCT and GROUP BY beside the row's key answer what they answer of plaintext.

Every row has a ciphertext of its own, so they are right only where each row is a group by itself:
with the key of the row beside, or with what it follows from.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import ForeignKey, Integer, String, distinct, func, select
from sqlalchemy.orm import aliased, declarative_base, mapped_column, with_polymorphic

from encfields import EncryptedType
from encfields.errors import UnsupportedOperationError
from tests.database import Database


class Twin:
    """A joined hierarchy, and a table of several tenants; plaintext or encrypted."""

    def __init__(self, prefix: str, secret: Callable[[str], Any]) -> None:
        base: Any = declarative_base()
        self.metadata = base.metadata

        class Animal(base):  # type: ignore[misc]
            __tablename__ = f"{prefix}_animal"
            id = mapped_column(Integer, primary_key=True, autoincrement=False)
            kind = mapped_column(String(9))
            name = mapped_column(secret("default"))
            __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "animal"}  # noqa: RUF012

        class Dog(Animal):
            __tablename__ = f"{prefix}_dog"
            id = mapped_column(ForeignKey(Animal.id), primary_key=True)
            chip = mapped_column(secret("default"))
            __mapper_args__ = {"polymorphic_identity": "dog"}  # noqa: RUF012

        class Puppy(Dog):
            __tablename__ = f"{prefix}_puppy"
            id = mapped_column(ForeignKey(Dog.id), primary_key=True)
            __mapper_args__ = {"polymorphic_identity": "puppy"}  # noqa: RUF012

        class Note(base):  # type: ignore[misc]
            __tablename__ = f"{prefix}_note"
            id = mapped_column(Integer, primary_key=True, autoincrement=False)
            tenant = mapped_column(Integer)
            about = mapped_column(ForeignKey(Animal.id))
            text = mapped_column(secret("tenant/{tenant}"))

        self.Animal, self.Dog, self.Puppy, self.Note = Animal, Dog, Puppy, Note

    def fill(self, db: Database) -> None:
        db.create(self.metadata)
        with db.session() as session:
            session.add_all(
                [
                    *(self.Animal(id=n, name="same") for n in (1, 4)),
                    self.Dog(id=2, name="same", chip="c"),
                    self.Puppy(id=3, name="same", chip="c"),
                ]
            )
            session.commit()
            session.add_all(self.Note(id=n, tenant=1 + n % 2, about=2, text="t") for n in (1, 2, 3))
            session.commit()


def _union(t: Twin) -> Any:
    one = select(t.Note.id, t.Note.text)
    return one.where(t.Note.id < 3).union(one.where(t.Note.id > 1))


def _dogs_of_notes(t: Twin) -> Any:
    joined = select(t.Note.id, t.Dog.id, t.Dog.name).outerjoin(t.Dog, t.Note.about == t.Dog.id)
    return joined.distinct()


def _named_key(t: Twin) -> Any:
    return select(t.Note.id.label("number"), t.Note.text.label("words")).distinct()


def _polymorphic(t: Twin) -> Any:
    every = with_polymorphic(t.Animal, [t.Dog])
    return select(every.id, every.Dog.chip).distinct()


def _alias_of_dog(t: Twin) -> Any:
    dog = aliased(t.Dog)
    return select(dog.id, dog.name).distinct()


def _flat_alias_of_dog(t: Twin) -> Any:
    dog = aliased(t.Dog, flat=True)
    return select(dog.id, dog.name, func.count()).group_by(dog.id, dog.name)


def _subquery(t: Twin) -> Any:
    inner = select(t.Note.id, t.Note.tenant, t.Note.text).subquery()
    return select(inner.c.id, inner.c.text, func.count()).group_by(inner.c.id, inner.c.text)


ANSWERED: dict[str, Callable[[Twin], Any]] = {
    "a tenant's rows": lambda t: select(t.Note.id, t.Note.text).distinct(),
    "grouped rows of a tenant": lambda t: select(t.Note.id, t.Note.text, func.count()).group_by(
        t.Note.id, t.Note.text
    ),
    "UNION of a tenant's rows": _union,
    "a joined subclass": lambda t: select(t.Dog.id, t.Dog.name).distinct(),
    "both tables of a joined subclass": lambda t: select(
        t.Dog.id, t.Dog.name, t.Dog.chip
    ).distinct(),
    "a joined subclass of a joined subclass": lambda t: select(
        t.Puppy.id, t.Puppy.name, t.Puppy.chip
    ).distinct(),
    "a grouped joined subclass": lambda t: select(t.Dog.id, t.Dog.name, func.count()).group_by(
        t.Dog.id, t.Dog.name
    ),
    "a grouped subclass of a subclass": lambda t: select(
        t.Puppy.id, t.Puppy.chip, t.Puppy.name, func.count()
    ).group_by(t.Puppy.id, t.Puppy.chip, t.Puppy.name),
    "an alias of a joined subclass": _alias_of_dog,
    "a flat alias of a joined subclass": _flat_alias_of_dog,
    "an outer join's other side": _dogs_of_notes,
    "names of their own": _named_key,
    "with_polymorphic": _polymorphic,
    "a grouped subquery of a tenant's rows": _subquery,
    "columns that WHERE sets equal": lambda t: (
        select(t.Note.id, t.Note.about, t.Animal.name).where(t.Note.about == t.Animal.id).distinct()
    ),
}


@pytest.fixture
def twins(db: Database) -> tuple[Twin, Twin]:
    """A plaintext twin and an encrypted one, of the same rows."""
    for tenant in (1, 2):
        db.create_key(f"tenant/{tenant}")
    made = Twin("plain", lambda key: String(20)), Twin("enc", lambda key: EncryptedType(key=key))
    for one in made:
        one.fill(db)
    return made


def test_each_answers_what_its_plaintext_twin_answers(db, twins):
    with db.session() as session:
        for what, statement in ANSWERED.items():
            plain, encrypted = (
                sorted(map(tuple, session.execute(statement(one))), key=repr) for one in twins
            )
            assert plain, what
            assert encrypted == plain, what


def test_a_model_is_grouped_by_as_a_whole(db, twins):
    def of(twin: Twin, model: Any) -> list[Any]:
        found = select(model, func.count()).join(twin.Note, twin.Note.about == model.id)
        rows = session.execute(found.group_by(model)).all()
        return sorted((type(one).__name__, one.id, one.name, count) for one, count in rows)

    plain, encrypted = twins
    with db.session() as session:
        assert of(encrypted, encrypted.Dog) == of(plain, plain.Dog) == [("Dog", 2, "same", 3)]
        assert of(encrypted, encrypted.Animal) == of(plain, plain.Animal)


def _other_alias(t: Twin) -> Any:
    note, other = t.Note, aliased(t.Note)
    joined = select(other.id, note.text, func.count()).join(other, note.about == other.about)
    return joined.group_by(other.id, note.text)


REFUSED: dict[str, Callable[[Twin], Any]] = {
    "no key": lambda t: select(t.Note.text).distinct(),
    "a tenant alone": lambda t: select(t.Note.tenant, t.Note.text).distinct(),
    "the other side of an outer join": lambda t: (
        select(t.Note.about, t.Animal.name).outerjoin(t.Note, t.Note.about == t.Animal.id)
    ).distinct(),
    "both sides of a full join": lambda t: (
        select(t.Note.about, t.Animal.name).join(t.Note, t.Note.about == t.Animal.id, full=True)
    ).distinct(),
    "a condition that is one of two": lambda t: (
        select(t.Note.about, t.Animal.name)
        .where((t.Note.about == t.Animal.id) | (t.Note.id == 1))
        .distinct()
    ),
    "another alias of the table": _other_alias,
    "a model of another row": lambda t: select(t.Animal.name, func.count()).group_by(
        t.Note, t.Animal.name
    ),
    "count of the distinct": lambda t: select(func.count(distinct(t.Dog.name))),
}


@pytest.mark.parametrize("statement", REFUSED.values(), ids=REFUSED.keys())
def test_what_leaves_the_row_open_is_refused_unsent(sqlite_db, statement):
    twin = Twin("enc", lambda key: EncryptedType(key=key))
    sqlite_db.create(twin.metadata)
    with sqlite_db.session() as session, sqlite_db.statements() as seen:
        with pytest.raises(UnsupportedOperationError):
            session.execute(statement(twin))
        assert seen == []
