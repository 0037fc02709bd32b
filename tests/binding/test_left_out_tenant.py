"""A tenant's column that a query leaves out is looked up by the row's primary key."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import ForeignKey, Integer, String, func, select, text
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    aliased,
    defer,
    joinedload,
    load_only,
    mapped_column,
    relationship,
)

from encfields import EncryptedType
from encfields.errors import ContextMismatchError, UnreadableError
from tests.turns import databases_by_turns

pytestmark = databases_by_turns


class Base(DeclarativeBase):
    pass


class Doc(Base):
    """Its key has two columns; the tenant's is not among them."""

    __tablename__ = "doc"

    shelf: Mapped[str] = mapped_column(String(9), primary_key=True)
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant: Mapped[int]
    title: Mapped[str | None] = mapped_column(EncryptedType(key="tenant/{tenant}"))
    copies: Mapped[list[Copy]] = relationship(
        primaryjoin="Doc.id == foreign(Copy.doc)", viewonly=True
    )


class Copy(Base):
    __tablename__ = "copy"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    doc: Mapped[int] = mapped_column(Integer)
    tenant: Mapped[int]
    owner: Mapped[int | None] = mapped_column(ForeignKey("copy.id"))
    place: Mapped[str | None] = mapped_column(EncryptedType(key="tenant/{tenant}"))


@pytest.fixture
def docs(db):
    """Documents 1 to 3, of tenant 1 and 2 in turn, with two copies each."""
    db.create(Base.metadata)
    for tenant in (1, 2):
        db.create_key(f"tenant/{tenant}")
    with db.session() as session:
        for n in (1, 2, 3):
            session.add(Doc(shelf="a", id=n, tenant=1 + n % 2, title=f"t{n}"))
            session.add_all(Copy(id=n * 10 + k, doc=n, tenant=1, place="p") for k in (1, 2))
        session.commit()
    return db


OPTIONS: dict[str, list[Any]] = {
    "load_only": [load_only(Doc.title), joinedload(Doc.copies)],
    "defer": [defer(Doc.tenant), joinedload(Doc.copies)],
    "load_only of both": [load_only(Doc.title), joinedload(Doc.copies).load_only(Copy.place)],
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_a_limited_query_with_a_joined_relationship(docs, options):
    limited = select(Doc).options(*options).order_by(Doc.id).limit(2)
    with docs.session() as session:
        found = session.scalars(limited).unique().all()
        assert [one.title for one in found] == ["t1", "t2"]
        assert [copy.place for one in found for copy in one.copies] == ["p"] * 4
        assert [one.tenant for one in found] == [2, 1]


def test_a_subquery_and_what_is_selected_from_it(docs):
    chosen = select(Doc.shelf, Doc.id, Doc.title).where(Doc.id < 3).subquery()
    outer = select(Copy.id, chosen.c.title).outerjoin(chosen, chosen.c.id == Copy.doc)
    grouped = select(chosen.c.title, func.count()).group_by(
        chosen.c.shelf, chosen.c.id, chosen.c.title
    )
    raw = text("SELECT shelf, id, title FROM doc").columns(Doc.shelf, Doc.id, Doc.title).subquery()
    with docs.session() as session:
        assert session.scalars(select(chosen.c.title).order_by(chosen.c.id)).all() == ["t1", "t2"]
        titles = [title for _, title in session.execute(outer.order_by(Copy.id))]
        assert titles == ["t1", "t1", "t2", "t2", None, None]
        assert sorted(map(tuple, session.execute(grouped))) == [("t1", 1), ("t2", 1)]
        of_raw = aliased(Doc, raw)
        assert session.scalars(select(of_raw.title).order_by(of_raw.id)).all() == ["t1", "t2", "t3"]


def test_without_the_whole_primary_key_it_is_refused(docs):
    part = select(Doc.id, Doc.title).subquery()
    with docs.session() as session, pytest.raises(UnreadableError):
        session.execute(select(part.c.title))


def test_a_row_that_was_moved_to_another_tenant_is_refused(docs):
    with docs.plain.begin() as connection:
        connection.execute(text("UPDATE doc SET tenant = 1 WHERE id = 1"))
    limited = select(Doc).options(*OPTIONS["load_only"]).order_by(Doc.id).limit(2)
    with docs.session() as session, pytest.raises(ContextMismatchError):
        session.scalars(limited).unique().all()
