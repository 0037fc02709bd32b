"""A look-up among rows whose tenant is NULL, which have no value, finds what it finds of a plain
column."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Integer, String, and_, case, delete, func, not_, or_, select, update
from sqlalchemy.orm import DeclarativeBase, Mapped, aliased, mapped_column

from encfields import BlindIndex, EncryptedType
from encfields.errors import UnsupportedOperationError
from encfields.index.transforms import last
from tests.database import Database
from tests.turns import databases_by_turns, on_each_database

pytestmark = databases_by_turns


class Base(DeclarativeBase):
    pass


class Note(Base):
    """Some are of a tenant; those of all tenants have nothing that is encrypted."""

    __tablename__ = "note"
    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    tenant: Mapped[int | None]
    plain: Mapped[str | None] = mapped_column(String(20))
    sealed: Mapped[str | None] = mapped_column(
        EncryptedType(
            String(20),
            key="tenant/{tenant}",
            bind_to=["id", "tenant"],
            index=[BlindIndex(), BlindIndex(last(1), bits=8)],
        )
    )


def _fill(db: Database) -> None:
    with db.session() as session:
        texts = {1: (1, "a"), 2: (1, "b"), 3: (2, "a"), 4: (None, None), 5: (1, None)}
        session.add_all(
            Note(id=key, tenant=tenant, plain=one, sealed=one)
            for key, (tenant, one) in texts.items()
        )
        session.commit()


@pytest.fixture
def notes(shared_tables: None, db: Database) -> Database:
    db.share(Base.metadata, keys=("tenant/1", "tenant/2"), fill=_fill)
    return db


CONDITIONS: dict[str, Any] = {
    "== None": lambda c: (Note.tenant == None) & (c == "a"),  # noqa: E711
    "is_": lambda c: Note.tenant.is_(None) & (c == "a"),
    "is_not_distinct_from": lambda c: Note.tenant.is_not_distinct_from(None) & (c == "a"),
    "!=": lambda c: Note.tenant.is_(None) & (c != "a"),
    "in_": lambda c: Note.tenant.is_(None) & c.in_(["a", "b"]),
    "not_in": lambda c: Note.tenant.is_(None) & c.not_in(["a", "b"]),
    "is_distinct_from": lambda c: Note.tenant.is_(None) & c.is_distinct_from("a"),
    "IS NULL": lambda c: Note.tenant.is_(None) & c.is_(None),
    "not": lambda c: not_(and_(Note.tenant.is_(None), c == "a")),
    "or another tenant": lambda c: or_(
        and_(Note.tenant == 1, c == "a"), and_(Note.tenant.is_(None), c == "a")
    ),
    "a tenant or none": lambda c: and_(or_(Note.tenant == 1, Note.tenant.is_(None)), c == "a"),
    "none or tenants": lambda c: and_(
        or_(Note.tenant.is_(None), Note.tenant == 1, Note.tenant == 2), c != "a"
    ),
    "an OR of look-ups": lambda c: and_(
        or_(Note.tenant == None, Note.tenant == 2),  # noqa: E711
        or_(c == "a", Note.id == 4),
    ),
}


@on_each_database
@pytest.mark.parametrize("condition", CONDITIONS.values(), ids=CONDITIONS.keys())
def test_it_answers_as_of_a_plain_column(notes, condition):
    with notes.session() as session:
        plain, sealed = map(condition, (Note.plain, Note.sealed))
        found = session.scalars(select(Note.id).where(plain).order_by(Note.id)).all()
        assert session.scalars(select(Note.id).where(sealed).order_by(Note.id)).all() == found
        loaded = session.scalars(select(Note).where(sealed).order_by(Note.id))
        assert [note.id for note in loaded] == found
        count = select(func.count()).select_from(Note).where(sealed)
        assert session.scalar(count) == len(found)


def test_it_stands_in_subqueries_and_other_statements(notes):
    other = aliased(Note)
    asked = and_(other.tenant.is_(None), other.sealed == "a")
    with notes.session() as session:
        assert (
            session.scalars(select(Note.id).where(Note.id.in_(select(other.id).where(asked)))).all()
            == []
        )
        told = case((and_(Note.tenant.is_(None), Note.sealed == "a"), 1), else_=0)
        assert set(session.scalars(select(told))) == {0}
        none = Note.tenant.is_(None), Note.sealed == "a"
        assert session.execute(update(Note).where(*none).values(plain="x")).rowcount == 0
        assert session.execute(delete(Note).where(*none)).rowcount == 0


def test_a_part_of_the_value_is_not_found_either(notes):
    with notes.session() as session:
        found = select(Note).where(Note.tenant.is_(None), Note.sealed.blind("last1") == "a")
        assert session.scalars(found).all() == []


def test_a_tenant_that_is_null_elsewhere_names_none(notes):
    other = aliased(Note)
    for condition in (
        or_(Note.tenant.is_(None), Note.sealed == "a"),
        and_(Note.tenant.is_not(None), Note.sealed == "a"),
        and_(other.tenant.is_(None), other.id == Note.id, Note.sealed == "a"),
    ):
        with notes.session() as session, pytest.raises(UnsupportedOperationError):
            session.scalars(select(Note.id).where(condition)).all()
