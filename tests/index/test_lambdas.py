"""A lambda's variables are looked up with the value, or NULL, that each execution gives them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import String, case, lambda_stmt, not_, or_, select
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    mapped_column,
    with_loader_criteria,
)

from encfields import BlindIndex, EncryptedType
from encfields.testing import attach_locally
from tests.servers.backends import Backend
from tests.turns import databases_by_turns

pytestmark = databases_by_turns


class Base(DeclarativeBase):
    pass


class Guest(Base):
    __tablename__ = "guest"
    id: Mapped[int] = mapped_column(primary_key=True)
    plain: Mapped[str | None] = mapped_column(String(9))
    sealed: Mapped[str | None] = mapped_column(EncryptedType(String(9), index=BlindIndex()))


@pytest.fixture
def session(backend: Backend) -> Any:
    engine = backend.create_engine()
    Base.metadata.create_all(engine)
    attach_locally(engine)
    with Session(engine) as session:
        session.add_all(Guest(plain=one, sealed=one) for one in ["a", "b", None, "c"])
        session.commit()
        yield session


Asked = Callable[[Any, Any], Any]

CONDITIONS: dict[str, Asked] = {
    "equal": lambda c, v: lambda_stmt(lambda: select(Guest.id).where(c == v)),
    "unequal": lambda c, v: lambda_stmt(lambda: select(Guest.id).where(c != v)),
    "distinct": lambda c, v: lambda_stmt(lambda: select(Guest.id).where(c.is_distinct_from(v))),
    "not distinct": lambda c, v: lambda_stmt(
        lambda: select(Guest.id).where(c.is_not_distinct_from(v))
    ),
    "the negation": lambda c, v: lambda_stmt(
        lambda: select(Guest.id).where(not_(c.is_distinct_from(v)))
    ),
    "an alternative": lambda c, v: lambda_stmt(
        lambda: select(Guest.id).where(or_(c.is_not_distinct_from(v), Guest.id == 4))
    ),
    "a CASE": lambda c, v: lambda_stmt(
        lambda: select(Guest.id + case((c.is_distinct_from(v), 100), else_=0))
    ),
    "criteria added": lambda c, v: (
        lambda_stmt(lambda: select(Guest.id)) + (lambda s: s.where(c.is_distinct_from(v)))
    ),
    "a WHERE alone": lambda c, v: select(Guest.id).where(lambda: c.is_distinct_from(v)),
}
ORDERS = [["a", None, "b", None], [None, "a", None, "b"]]


@pytest.mark.parametrize("name", list(CONDITIONS))
def test_each_execution_answers_for_its_own_value(session: Session, name: str) -> None:
    for values in ORDERS:
        for value in values:
            plain, sealed = (
                sorted(session.scalars(CONDITIONS[name](column, value)))
                for column in (Guest.plain, Guest.sealed)
            )
            assert sealed == plain


def test_a_loaders_criteria_answer_for_each_value(session: Session) -> None:
    def criteria(name: str, value: Any) -> Any:
        if name == "plain":
            return with_loader_criteria(Guest, lambda of: of.plain.is_distinct_from(value))
        return with_loader_criteria(Guest, lambda of: of.sealed.is_distinct_from(value))

    for value in itertools.chain(*ORDERS):
        plain, sealed = (
            sorted(session.scalars(select(Guest.id).options(criteria(name, value))))
            for name in ("plain", "sealed")
        )
        assert sealed == plain
