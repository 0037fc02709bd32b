"""select(Model).from_statement(INSERT or UPDATE .. RETURNING) writes values and their indexes."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import String, insert, lambda_stmt, select, update
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from encfields import BlindIndex, EncryptedType
from encfields.errors import AmbiguousRowError
from tests.turns import databases_by_turns, on_each_database

pytestmark = databases_by_turns


class Base(DeclarativeBase):
    pass


class Member(Base):
    __tablename__ = "member"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    email: Mapped[str] = mapped_column(EncryptedType(index=BlindIndex()))


class Plain(Base):
    __tablename__ = "plain"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(String(20))


@pytest.fixture
def members(sqlite_db: Any) -> Any:
    """Two members; SQLite is the one that returns rows of every kind of statement."""
    sqlite_db.create(Base.metadata)
    with sqlite_db.session() as session:
        session.add_all([Member(id=1, email="a"), Member(id=2, email="b"), Plain(id=1, name="a")])
        session.commit()
    return sqlite_db


def loaded(session: Any, model: Any, statement: Any) -> list[Any]:
    wanted = select(model).from_statement(statement)
    fresh = {"populate_existing": True}
    return list(session.scalars(wanted, execution_options=fresh))


def found(members: Any, email: str) -> list[int]:
    with members.session() as session:
        return list(session.scalars(select(Member.id).where(Member.email == email)))


def test_an_update_is_loaded_and_found_by_its_new_value_only(members):
    changed = update(Member).where(Member.id == 1).values(email="new").returning(Member)
    with members.session() as session:
        assert [m.email for m in loaded(session, Member, changed)] == ["new"]
        session.commit()
    assert (found(members, "new"), found(members, "a")) == ([1], [])


@pytest.mark.parametrize("emails", [["c"], ["c", "d"]], ids=["one row", "two rows"])
def test_an_insert_is_loaded_and_found(members, emails):
    rows = [{"id": 10 + n, "email": email} for n, email in enumerate(emails)]
    values = rows if len(rows) > 1 else rows[0]
    with members.session() as session:
        statement = insert(Member).values(values).returning(Member)
        assert [m.email for m in loaded(session, Member, statement)] == emails
        session.commit()
    assert found(members, "c") == [10]


def test_an_upsert_is_loaded_and_found(members):
    statement = sqlite_insert(Member).values(id=1, email="up")
    statement = statement.on_conflict_do_update(
        index_elements=["id"], set_={"email": statement.excluded.email}
    )
    with members.session() as session:
        assert [m.email for m in loaded(session, Member, statement.returning(Member))] == ["up"]
        session.commit()
    assert (found(members, "up"), found(members, "a")) == ([1], [])


def test_an_update_of_no_single_row_is_refused(members):
    statement = update(Member).where(Member.id > 0).values(email="new").returning(Member)
    with members.session() as session, pytest.raises(AmbiguousRowError):
        loaded(session, Member, statement)


def test_a_model_without_encrypted_columns_is_left_alone(members):
    statements = [
        insert(Plain).values(id=2, name="b").returning(Plain),
        update(Plain).where(Plain.id == 2).values(name="c").returning(Plain),
    ]
    with members.session() as session:
        names = [[p.name for p in loaded(session, Plain, one)] for one in statements]
        assert names == [["b"], ["c"]]


def _set_by_lambda(session: Session, key: int, email: str) -> None:
    session.execute(lambda_stmt(lambda: update(Member).where(Member.id == key).values(email=email)))


def test_an_update_by_a_lambda_is_answered(members):
    key, name = 1, "z"
    with members.session() as session:
        session.execute(lambda_stmt(lambda: update(Plain).where(Plain.id == key).values(name=name)))
        assert session.scalar(select(Plain.name)) == "z"
        for email in ("z", "y"):
            _set_by_lambda(session, key, email)
            assert session.scalar(select(Member.id).where(Member.email == email)) == key


class Ticket(Base):
    __tablename__ = "ticket"

    id: Mapped[int] = mapped_column(primary_key=True)
    holder: Mapped[str] = mapped_column(EncryptedType(index=BlindIndex()))


@on_each_database
@pytest.mark.parametrize("holders", [["a"], ["a", "b", "c"]], ids=["one row", "three rows"])
def test_an_insert_whose_keys_the_database_generates_is_loaded_and_found(db, holders):
    db.backend.require_returning()
    db.create(Base.metadata)
    rows = [{"holder": holder} for holder in holders]
    statement = insert(Ticket).values(rows if len(rows) > 1 else rows[0]).returning(Ticket)
    with db.session() as session:
        assert sorted(t.holder for t in loaded(session, Ticket, statement)) == holders
        session.commit()
    with db.session() as session:
        assert [t.holder for t in session.scalars(select(Ticket).where(Ticket.holder == "a"))]
