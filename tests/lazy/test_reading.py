"""Reading a lazy column opens nothing; revealing opens a value once."""

from __future__ import annotations

import pytest
from sqlalchemy import insert, select, text, union_all
from sqlalchemy.orm import aliased

from encfields import Reveal, Sealed
from encfields.errors import EncFieldsError
from encfields.orm.engine_encryption import attachment_of
from tests.lazy.model import Member, Person
from tests.turns import databases_by_turns, on_each_database

pytestmark = databases_by_turns


def test_to_load_rows_opens_nothing_and_asks_for_no_key(db):
    opened = db.encryption.stats.opened
    db.encryption._cache.clear()
    fetched = db.encryption.stats.keys.store_calls
    with db.session() as session:
        people = session.scalars(select(Person).order_by(Person.id)).all()
        assert [type(one.ssn) for one in people] == [Sealed, Sealed]
        assert people[1].notes is None
        assert db.encryption.stats.opened == opened
        assert db.encryption.stats.keys.store_calls == fetched
        assert [one.ssn.reveal() for one in people] == ["ssn-1", "ssn-2"]
        assert [one.ssn.reveal() for one in people] == ["ssn-1", "ssn-2"]
        assert people[0].notes.reveal() == {"n": 1}
        assert people[0].level.reveal() == "public"
        assert db.encryption.stats.opened == opened + 4


@on_each_database
def test_raw_sql_delivers_it_closed(db):
    raw = text("SELECT * FROM lazy_person WHERE id = 1")
    opened = db.encryption.stats.opened
    with db.session() as session:
        person = session.scalars(select(Person).from_statement(raw)).one()
        assert db.encryption.stats.opened == opened
        assert (person.ssn.reveal(), person.notes.reveal()) == ("ssn-1", {"n": 1})


@on_each_database
def test_every_way_to_a_row_delivers_it_closed(db):
    with db.session() as session:
        other = aliased(Person)
        inner = select(Person.id, Person.ssn).subquery()
        ways = [
            select(Person.ssn).where(Person.id == 1),
            select(other.ssn).where(other.id == 1),
            select(inner.c.ssn).where(inner.c.id == 1),
            select(Person.ssn).where(Person.ssn == "ssn-1"),
            select(Person.ssn).where(Person.ssn.in_(["ssn-1", "no"])),
        ]
        for statement in ways:
            assert session.scalars(statement).one().reveal() == "ssn-1"
        both = union_all(
            select(Person.id, Person.ssn).where(Person.id == 1),
            select(Person.id, Person.ssn).where(Person.id == 2),
        )
        found = session.execute(both).all()
        assert sorted(value.reveal() for _, value in found) == ["ssn-1", "ssn-2"]


def test_a_look_up_delivers_it_closed(db):
    with db.session() as session:
        person = session.scalars(select(Person).where(Person.ssn == "ssn-2")).one()
        assert isinstance(person.ssn, Sealed)
        assert person.ssn.reveal() == "ssn-2"
        assert session.scalars(select(Person).where(Person.ssn == "ssn-3")).all() == []


def test_a_look_up_by_another_spelling_delivers_it_closed(sqlite_db):
    wanted = Person.ssn.blind("casefold") == "SSN-1"
    with sqlite_db.session() as session:
        found = session.scalars(select(Person).where(wanted)).one()
        opened = sqlite_db.encryption.stats.opened
        assert found.ssn.reveal() == "ssn-1"
        assert sqlite_db.encryption.stats.opened == opened + 1


def test_refresh_and_expiry_deliver_what_is_stored_then(db):
    with db.session() as session, db.session() as other:
        person = session.get_one(Person, 1)
        before = person.ssn
        other.get_one(Person, 1).ssn = "new"
        other.commit()
        session.rollback()
        session.refresh(person)
        assert person.ssn.reveal() == "new"
        assert before.reveal() == "ssn-1"
        session.expire(person)
        assert person.ssn.reveal() == "new"


@on_each_database
def test_returning_delivers_it_closed(db):
    db.backend.require_returning()
    statement = insert(Person).returning(Person.ssn)
    with db.session() as session:
        value = session.scalars(statement, [{"id": 3, "name": "Cy", "ssn": "ssn-3"}]).one()
        assert isinstance(value, Sealed)
        assert value.reveal() == "ssn-3"


def test_a_tenants_value_opens_under_its_key_alone(db):
    db.create_key("lazy/1")
    db.create_key("lazy/2")
    with db.session() as session:
        session.add_all([Member(id=n, tenant=n, code=Sealed.of(f"code-{n}")) for n in (1, 2)])
        session.commit()
        members = session.scalars(select(Member).order_by(Member.id)).all()
        assert [one.code.reveal() for one in members] == ["code-1", "code-2"]
    with db.plain.begin() as connection:
        connection.execute(text("UPDATE lazy_member SET tenant = 2 WHERE id = 1"))
    with db.session() as session:
        moved = session.get_one(Member, 1)
        with pytest.raises(EncFieldsError) as caught:
            moved.code.reveal()
        assert caught.value.row == {"id": "1", "tenant": "2"}


def test_who_reveals_what_and_why_is_told_before_it_is_shown(sqlite_db):
    told: list[Reveal] = []
    attachment_of(sqlite_db.engine.dialect).require().on_reveal = told.append
    with sqlite_db.session() as session:
        person = session.scalars(select(Person).where(Person.ssn == "ssn-1")).one()
        person.ssn = person.ssn
        session.flush()
        assert told == []
        person.ssn.reveal(purpose="support call 7")
        person.ssn.reveal()
        Sealed.of("written").reveal()
    assert told == [
        Reveal("lazy_person", "ssn", {"id": "1"}, "support call 7"),
        Reveal("lazy_person", "ssn", {"id": "1"}, None),
    ]
    assert "ssn-1" not in repr(told)


def test_who_is_told_may_refuse(sqlite_db):
    def refuse(reveal: Reveal) -> None:
        if reveal.purpose is None:
            raise PermissionError("say what for")

    attachment_of(sqlite_db.engine.dialect).require().on_reveal = refuse
    opened = sqlite_db.encryption.stats.opened
    with sqlite_db.session() as session:
        value = session.get_one(Person, 1).ssn
        with pytest.raises(PermissionError):
            value.reveal()
        assert sqlite_db.encryption.stats.opened == opened
        assert value.reveal("payroll") == "ssn-1"
