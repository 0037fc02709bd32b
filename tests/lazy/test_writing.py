"""Writing a lazy column: plain values, a value back where it was read, and none anywhere else."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import delete, insert, update

from encfields import Sealed
from encfields.errors import CiphertextCopyError, EncFieldsError
from encfields.orm.engine_encryption import attachment_of
from tests.database import CANARY
from tests.lazy.model import Person
from tests.turns import databases_by_turns, on_each_database

pytestmark = databases_by_turns


def test_what_is_assigned_is_a_sealed_value_at_once(db):
    with db.session() as session:
        person: Any = Person(id=3, name="Cy", ssn="ssn-3", notes={"n": 3})
        assert person.ssn.reveal() == "ssn-3"
        session.add(person)
        session.flush()
        assert person.level.reveal() == "public"
        assert "ssn-3" not in repr(vars(person))
        person.ssn = Sealed.of("ssn-4")
        person.notes = None
        session.commit()
        assert person.ssn.reveal() == "ssn-4"
        assert person.notes is None


@on_each_database
def test_to_assign_what_was_read_from_the_row_is_no_change(db):
    before = db.stored(Person.ssn, 1)
    with db.session() as session:
        person = session.get_one(Person, 1)
        person.ssn = person.ssn
        read_before = person.ssn
        session.expire(person)
        assert person.name == "Ada"
        person.ssn = read_before
        assert person not in session.dirty or not session.is_modified(person)
        session.commit()
    assert db.stored(Person.ssn, 1) == before


def test_merge_of_what_was_read_is_no_change_and_of_a_new_value_is_one(db):
    with db.session() as session:
        person = session.get_one(Person, 1)
        session.expunge(person)
    before = db.stored(Person.ssn, 1)
    with db.session() as session:
        session.merge(person)
        session.commit()
    assert db.stored(Person.ssn, 1) == before
    person.ssn = "new"
    with db.session() as session:
        session.merge(person)
        session.commit()
        assert session.get_one(Person, 1).ssn.reveal() == "new"


def test_a_statement_that_writes_it_back_seals_it_again_with_its_index(db):
    with db.session() as session:
        value, before = session.get_one(Person, 1).ssn, db.stored(Person.ssn, 1)
        session.execute(update(Person).where(Person.id == 1).values(ssn=value))
        session.execute(update(Person), [{"id": 1, "ssn": value}])
        session.commit()
        assert db.stored(Person.ssn, 1) != before
        found = session.query(Person).where(Person.ssn == "ssn-1").one()
        assert found.ssn.reveal() == "ssn-1"


def test_a_value_of_another_row_or_column_is_refused(db):
    before = db.stored(Person.ssn, 1), db.stored(Person.level, 1)
    with db.session() as session:
        one, two = session.get_one(Person, 1), session.get_one(Person, 2)
        for target, name, value in ((one, "ssn", two.ssn), (one, "level", one.ssn)):
            setattr(target, name, value)
            with pytest.raises(CiphertextCopyError, match="reveal"):
                session.flush()
            session.rollback()
        for statement in (
            update(Person).where(Person.id == 1).values(ssn=two.ssn),
            insert(Person).values(id=3, name="Cy", ssn=two.ssn),
            insert(Person).values(name="Cy", ssn=two.ssn),
        ):
            with pytest.raises(CiphertextCopyError):
                session.execute(statement)
            session.rollback()
        one.ssn = two.ssn.reveal()
        session.rollback()
    assert (db.stored(Person.ssn, 1), db.stored(Person.level, 1)) == before


def test_a_row_that_changes_its_key_keeps_its_values(db):
    with db.session() as session:
        person = session.get_one(Person, 1)
        person.id = 7
        person.ssn = person.ssn
        session.commit()
    with db.session() as session:
        person = session.get_one(Person, 7)
        assert (person.ssn.reveal(), person.notes.reveal()) == ("ssn-1", {"n": 1})


def test_an_altered_value_is_not_written_back(db):
    with db.session() as session:
        stored = bytearray(db.stored(Person.ssn, 1))
        stored[-1] ^= 1
        db.overwrite(Person.ssn, 1, bytes(stored))
        value = session.get_one(Person, 1).ssn
        with pytest.raises(EncFieldsError):
            session.execute(update(Person).where(Person.id == 1).values(ssn=value))
        session.rollback()
    assert db.stored(Person.ssn, 1) == bytes(stored)


def test_the_value_of_a_destroyed_key_is_not_written_back(sqlite_db):
    attachment_of(sqlite_db.engine.dialect).require().destroyed = None
    with sqlite_db.session() as session:
        value, before = session.get_one(Person, 1).ssn, sqlite_db.stored(Person.ssn, 1)
        sqlite_db.encryption.keys.destroy("default", confirm="default", specs=None, at_once=True)
        assert value.reveal() is None
        with pytest.raises(EncFieldsError):
            session.execute(update(Person).where(Person.id == 1).values(ssn=value))
        session.rollback()
    assert sqlite_db.stored(Person.ssn, 1) == before


@pytest.mark.parametrize("how", ["auto", "evaluate", "fetch"])
def test_what_an_update_writes_into_a_loaded_object_is_sealed_too(sqlite_db, how):
    with sqlite_db.session() as session:
        person = session.get_one(Person, 1)
        statement = update(Person).where(Person.id == 1).values(ssn=CANARY)
        session.execute(statement, execution_options={"synchronize_session": how})
        assert isinstance(person.ssn, Sealed)
        assert CANARY not in repr(vars(person))
        assert person.ssn.reveal() == CANARY


def test_an_update_or_delete_by_a_lazy_column_finds_the_objects_in_the_database(sqlite_db):
    with sqlite_db.session() as session:
        ada, bob = session.get_one(Person, 1), session.get_one(Person, 2)
        session.execute(update(Person).where(Person.ssn == "ssn-1").values(name="Ida"))
        assert (ada.name, bob.name) == ("Ida", "Bob")
        session.execute(delete(Person).where(Person.ssn.in_(["ssn-2"])))
        assert bob not in session
        assert ada in session
