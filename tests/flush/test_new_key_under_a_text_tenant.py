"""A row that gets a new primary key, with a value under its tenant's key, and one under its own."""

from __future__ import annotations

from sqlalchemy import Integer, String
from sqlalchemy.orm import DeclarativeBase, mapped_column

from encfields import EncryptedType
from tests.database import Database


class Base(DeclarativeBase):
    pass


class Note(Base):
    __tablename__ = "note"

    id = mapped_column(Integer, primary_key=True, autoincrement=False)
    tenant = mapped_column(String(40))
    body = mapped_column(EncryptedType(String, key="tenant/{tenant}"))
    title = mapped_column(EncryptedType(String))


def test_both_values_move_with_the_row_where_a_tenant_is_named_by_a_text(db: Database) -> None:
    db.create(Base.metadata)
    db.create_key("tenant/acme")
    with db.session() as session:
        session.add(Note(id=1, tenant="acme", body="kept", title="also"))
        session.commit()
        session.get_one(Note, 1).id = 50
        session.commit()
    with db.session() as session:
        moved = session.get_one(Note, 50)
        assert (moved.tenant, moved.body, moved.title) == ("acme", "kept", "also")
