"""A SELECT may name a class in a condition alone, and has its subclass's condition from there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Boolean, Integer, String, case, cast, exists, func, not_, or_, select, true
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from encfields import BlindIndex, EncryptedType
from tests.database import Database
from tests.turns import databases_by_turns

pytestmark = databases_by_turns


class Base(DeclarativeBase):
    pass


class Animal(Base):
    """Its columns are there twice, encrypted and not."""

    __tablename__ = "animal"
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "animal"}  # noqa: RUF012

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    kind: Mapped[str] = mapped_column(String(10))
    chip: Mapped[str | None] = mapped_column(EncryptedType(index=BlindIndex(domain="chip")))
    tag: Mapped[str | None] = mapped_column(EncryptedType(index=BlindIndex(domain="chip")))
    fed: Mapped[bool | None] = mapped_column(
        EncryptedType(Boolean(), index=BlindIndex(accept_leakage="a test"))
    )
    plain_chip: Mapped[str | None] = mapped_column(String(20))
    plain_tag: Mapped[str | None] = mapped_column(String(20))
    plain_fed: Mapped[bool | None]


class Dog(Animal):
    __mapper_args__ = {"polymorphic_identity": "dog"}  # noqa: RUF012


def _fill(db: Database) -> None:
    rows: list[Any] = [
        (Animal, "a", "a", True),
        (Animal, "b", "a", False),
        (Animal, None, "c", None),
    ]
    rows += [(Dog, "a", "b", True), (Dog, None, None, False)]
    with db.session() as session:
        for made, chip, tag, fed in rows:
            plain = {"plain_chip": chip, "plain_tag": tag, "plain_fed": fed}
            session.add(made(chip=chip, tag=tag, fed=fed, **plain))
        session.commit()


@pytest.fixture
def animals(shared_tables: None, db: Database) -> Database:
    db.share(Base.metadata, fill=_fill)
    return db


ASKED: dict[str, Callable[[Any, Any, Any], Any]] = {
    "equal": lambda chip, tag, fed: chip == "a",
    "not equal": lambda chip, tag, fed: chip != "a",
    "none of": lambda chip, tag, fed: chip.not_in(["a"]),
    "distinct": lambda chip, tag, fed: chip.is_distinct_from("a"),
    "not distinct": lambda chip, tag, fed: chip.is_not_distinct_from("a"),
    "distinct from NULL": lambda chip, tag, fed: chip.is_distinct_from(None),
    "not distinct from NULL": lambda chip, tag, fed: chip.is_not_distinct_from(None),
    "distinct columns": lambda chip, tag, fed: chip.is_distinct_from(tag),
    "one of columns": lambda chip, tag, fed: chip.in_([tag, "b"]),
    "none of columns": lambda chip, tag, fed: chip.not_in([tag, "c"]),
    "is true": lambda chip, tag, fed: fed.is_(True),
    "is not true": lambda chip, tag, fed: fed.is_not(true()),
    "is false": lambda chip, tag, fed: fed.is_(False),
    "inverted": lambda chip, tag, fed: ~fed,
    "and": lambda chip, tag, fed: fed & fed,
    "or": lambda chip, tag, fed: or_(chip == "a", fed.is_(True)),
}
PLACES: dict[str, Callable[[Any], Any]] = {
    "where": lambda asked: select(func.count()).where(asked),
    "case": lambda asked: select(func.count(case((asked, 1)))),
    "exists": lambda asked: select(exists().where(asked)),
    "value": lambda asked: select(func.sum(func.coalesce(cast(asked, Integer), 2))),
}


@pytest.mark.parametrize("is_negated", [False, True], ids=["as it is", "negated"])
@pytest.mark.parametrize("asked", ASKED)
def test_it_finds_what_one_of_a_plain_column_finds(animals, asked, is_negated):
    answers = []
    for made in (Animal, Dog):
        plain = (made.plain_chip, made.plain_tag, made.plain_fed)
        for columns in (plain, (made.chip, made.tag, made.fed)):
            condition = ASKED[asked](*columns)
            condition = not_(condition) if is_negated else condition
            with animals.session() as session:
                answers.append({n: session.scalar(put(condition)) for n, put in PLACES.items()})
    assert answers[0::2] == answers[1::2]
