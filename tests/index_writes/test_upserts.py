"""Upserts: the index follows the value that was inserted, or nothing is written."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from sqlalchemy import and_, case, func, literal, literal_column, null, select, text
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from encfields.errors import BindingError, IdentityChangeError, UnsupportedOperationError
from tests.database import CANARY, Database
from tests.index_writes.expected import PATIENT, PERSON, check_indexes, stored
from tests.index_writes.models import Base, Member, Patient, Person

patient: Any = Patient.__table__
person: Any = Person.__table__
member: Any = Member.__table__
BEFORE = {n: f"123-45-{n:04}" for n in (1, 2, 3)}


@pytest.fixture(params=["sqlite", "postgresql"])
def db_with_upsert(request):
    """Three patients on a database with ON CONFLICT, and its ``insert``."""
    database = Database(request.getfixturevalue(request.param))
    database.create(Base.metadata)
    with database.session() as session:
        session.add_all(
            Patient(id=n, name=f"n-{n}", ssn=ssn, mail="m") for n, ssn in BEFORE.items()
        )
        session.commit()
    return database, {"sqlite": sqlite, "postgresql": postgresql}[request.param].insert


def numbers(db) -> dict[int, str | None]:
    return {row["id"]: row["ssn"] for row in check_indexes(db, patient, *PATIENT)}


def upsert(insert: Any, set_: Any, model: Any = patient, **target: Any) -> Any:
    statement = insert(model)
    target.setdefault("index_elements", ["id"])
    return statement.on_conflict_do_update(set_=set_(statement.excluded), **target)


EXCLUDED = {
    "by name": lambda insert: upsert(insert, lambda e: {"ssn": e.ssn}),
    "by column": lambda insert: upsert(insert, lambda e: {patient.c.ssn: e.ssn}),
    "by attribute": lambda insert: upsert(insert, lambda e: {Patient.ssn: e.ssn}, Patient),
    "ORM by name": lambda insert: upsert(insert, lambda e: {"ssn": e.ssn}, Patient),
    "with others": lambda insert: upsert(
        insert, lambda e: {"ssn": e.ssn, "name": "x", "mail": e.mail, "notes": e.notes}
    ),
    "with its index": lambda insert: upsert(
        insert,
        lambda e: {"ssn": e.ssn, "ssn_bidx": e.ssn_bidx, "ssn_last4_bidx": e.ssn_last4_bidx},
    ),
}


@pytest.mark.parametrize("make", EXCLUDED.values(), ids=EXCLUDED.keys())
def test_excluded_takes_its_indexes_along(db_with_upsert, make):
    db, insert = db_with_upsert
    statement = make(insert)
    with db.begin() as connection:
        connection.execute(statement.values(id=1, ssn="one"))
        connection.execute(statement, [{"id": n, "ssn": f"new-{n}"} for n in (2, 7)])
        connection.execute(statement.values([{"id": 3, "ssn": "three"}, {"id": 8, "ssn": None}]))
    assert numbers(db) == {1: "one", 2: "new-2", 3: "three", 7: "new-7", 8: None}


def test_excluded_through_the_orm_with_returning(db_with_upsert):
    db, insert = db_with_upsert
    statement = upsert(insert, lambda e: {"ssn": e.ssn}, Patient).returning(Patient)
    with db.session() as session:
        rows = [{"id": n, "ssn": f"n-{n}"} for n in (3, 4)]
        made = session.scalars(statement, rows).all()
        assert sorted((one.id, one.ssn) for one in made) == [(3, "n-3"), (4, "n-4")]
        session.commit()
    assert numbers(db) == {**BEFORE, 3: "n-3", 4: "n-4"}


def test_excluded_under_a_condition(db_with_upsert):
    db, insert = db_with_upsert
    statement = upsert(insert, lambda e: {"ssn": e.ssn}, where=patient.c.name == "n-2")
    with db.begin() as connection:
        connection.execute(statement, [{"id": n, "ssn": "new"} for n in (1, 2)])
    assert numbers(db) == {**BEFORE, 2: "new"}


def test_do_nothing_leaves_the_row_and_its_indexes_alone(db_with_upsert):
    db, insert = db_with_upsert
    rows = [{"id": 1, "ssn": "lost"}, {"id": 7, "ssn": "n-7"}]
    with db.begin() as connection:
        connection.execute(insert(patient).on_conflict_do_nothing(), rows)
    assert numbers(db) == {**BEFORE, 7: "n-7"}


def test_other_columns_only_leave_the_indexes_alone(db_with_upsert):
    db, insert = db_with_upsert
    before = stored(db, patient, "ssn_bidx")
    with db.begin() as connection, db.statements() as seen:
        connection.execute(
            upsert(insert, lambda e: {"name": e.name}).values(id=1, name="x", ssn="lost")
        )
    assert "bidx = excluded" not in seen[0].statement
    assert stored(db, patient, "ssn_bidx") == before
    assert numbers(db) == BEFORE


TARGETS = {
    "by name": lambda insert: {"index_elements": ["iban"]},
    "by column": lambda insert: {"index_elements": [member.c.iban]},
    "by attribute": lambda insert: {"index_elements": [Member.iban]},
}


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS.keys())
def test_a_unique_value_is_the_target_of_a_conflict(db_with_upsert, target):
    db, insert = db_with_upsert
    first = {"id": 1, "tenant_id": 1, "title": "a", "iban": "DE1"}
    again = {**first, "id": 2, "title": "b"}
    of_another_tenant = {**again, "id": 3, "tenant_id": 2, "title": "c"}
    statement = upsert(insert, lambda e: {"title": e.title}, member, **target(insert))
    with db.begin() as connection:
        connection.execute(statement, [first, again, of_another_tenant])
        connection.execute(insert(member).on_conflict_do_nothing(**target(insert)).values(again))
    read = select(member.c.id, member.c.title, member.c.iban).order_by(member.c.id)
    with db.begin() as connection:
        rows = [tuple(row) for row in connection.execute(read)]
    assert rows == [(1, "b", "DE1"), (3, "c", "DE1")]


def test_only_rows_whose_value_changes_are_updated(db_with_upsert):
    db, insert = db_with_upsert
    changes = patient.c.ssn.is_distinct_from(insert(patient).excluded.ssn)
    statement = upsert(insert, lambda e: {"ssn": e.ssn, "name": e.name}, where=changes)
    rows = [(1, BEFORE[1]), (2, None), (3, "new")]
    with db.begin() as connection:
        given = [{"id": n, "ssn": ssn, "name": "changed"} for n, ssn in rows]
        connection.execute(statement.values(given))
        named = connection.execute(select(patient.c.name).order_by(patient.c.id)).scalars().all()
    assert named == ["n-1", "changed", "changed"]
    assert numbers(db) == dict(rows)


CHOSEN = {
    "the inserted value first": (lambda e: func.coalesce(e.ssn, patient.c.ssn), ["new", "n-2"]),
    "the row's own first": (lambda e: func.coalesce(patient.c.ssn, e.ssn), ["n-1", "n-2"]),
    "by a condition": (
        lambda e: case((patient.c.name == "n-1", e.ssn), else_=patient.c.ssn),
        ["new", "n-2"],
    ),
}


@pytest.mark.parametrize("choice, expected", CHOSEN.values(), ids=CHOSEN.keys())
def test_the_index_is_that_of_the_value_that_is_chosen(db_with_upsert, choice, expected):
    db, insert = db_with_upsert
    statement = upsert(insert, lambda e: {"ssn": choice(e)})
    with db.begin() as connection:
        connection.execute(statement, [{"id": 1, "ssn": "new"}, {"id": 2, "ssn": None}])
    own = {"n-1": BEFORE[1], "n-2": BEFORE[2]}
    found = numbers(db)
    assert [found[1], found[2]] == [own.get(value, value) for value in expected]


CHANGING = {
    "a function": lambda: func.random() > 0,
    "in a subquery": lambda: select(func.random()).scalar_subquery() > 0,
    "in raw SQL": lambda: text("random() > 0"),
    "in a column of raw SQL": lambda: literal_column("random()") > 0,
}


@pytest.mark.parametrize("condition", CHANGING.values(), ids=CHANGING.keys())
def test_no_condition_that_may_choose_another_index_than_value(sqlite, condition):
    """The index has a CASE of its own, in which the database would ask the condition again."""
    db = Database(sqlite)
    db.create(Base.metadata)
    for when in (condition(), and_(patient.c.name == "a", condition())):
        statement = upsert(
            sqlite_insert, lambda e, when=when: {"ssn": case((when, e.ssn), else_=patient.c.ssn)}
        )
        with db.begin() as connection, db.refused(UnsupportedOperationError, patient) as refused:
            connection.execute(statement.values(id=1, ssn=CANARY))
        assert "random" in str(refused.value)


def test_a_function_whose_answer_stays_may_choose(db_with_upsert):
    db, insert = db_with_upsert
    longer = func.length(func.coalesce(patient.c.name, "")) > 9
    statement = upsert(insert, lambda e: {"ssn": case((longer, e.ssn), else_=patient.c.ssn)})
    with db.begin() as connection:
        connection.execute(statement.values(id=1, ssn="new"))
    assert numbers(db) == BEFORE


def test_a_row_that_gets_another_key_may_not_keep_its_value(db_with_upsert):
    db, insert = db_with_upsert
    inserted = insert(member).excluded
    set_ = {"id": inserted.id, "iban": func.coalesce(inserted.iban, member.c.iban)}
    with db.begin() as connection:
        first = {"id": 1, "tenant_id": 1, "iban": "DE1"}
        connection.execute(insert(member).values(first))
    statement = insert(member).on_conflict_do_update(index_elements=["iban"], set_=set_)
    with db.begin() as connection, db.refused(IdentityChangeError, member):
        connection.execute(statement.values(id=2, tenant_id=1, iban="DE1"))


def test_a_value_that_is_not_unique_is_no_target(db_with_upsert):
    db, insert = db_with_upsert
    statement = insert(patient).on_conflict_do_nothing(index_elements=["notes"])
    with db.begin() as connection, db.refused(UnsupportedOperationError, patient) as refused:
        connection.execute(statement.values(id=9, notes=CANARY))
    assert "BlindIndex(unique=True)" in str(refused.value)


NULLS = {
    "NULL": lambda e: {"ssn": null()},
    "NULL with its index": lambda e: {"ssn": null(), "ssn_bidx": null()},
}


@pytest.mark.parametrize("set_", NULLS.values(), ids=NULLS.keys())
def test_null_takes_the_indexes_away(db_with_upsert, set_):
    db, insert = db_with_upsert
    with db.begin() as connection:
        connection.execute(upsert(insert, set_).values(id=1, ssn="n"))
    assert numbers(db) == {**BEFORE, 1: None}
    assert stored(db, patient, "ssn_bidx")[1,] is None


REFUSED = {
    "an index alone": lambda e: {"ssn_bidx": e.ssn_bidx},
    "an index of bytes": lambda e: {"ssn": e.ssn, "ssn_bidx": b"sixteen bytes..."},
    "an index of a literal": lambda e: {"ssn": e.ssn, "ssn_bidx": literal(b"sixteen bytes...")},
    "an index of a literal alone": lambda e: {"ssn_bidx": literal(b"sixteen bytes...")},
    "an index to NULL": lambda e: {"ssn_bidx": null()},
    "an index to NULL and a value": lambda e: {"ssn": e.ssn, "ssn_bidx": null()},
    "a value to NULL and not its index": lambda e: {"ssn": null(), "ssn_bidx": e.ssn_bidx},
    "another index": lambda e: {"ssn": e.ssn, "ssn_bidx": e.mail_casefold_bidx},
    "the index as it was": lambda e: {"ssn": e.ssn, "ssn_bidx": patient.c.ssn_bidx},
    "a function": lambda e: {"ssn": e.ssn, "ssn_bidx": func.coalesce(e.ssn_bidx)},
    "another value": lambda e: {"ssn": e.mail},
    "by column": lambda e: {patient.c.ssn_bidx: e.ssn_bidx},
}


@pytest.mark.parametrize("set_", REFUSED.values(), ids=REFUSED.keys())
def test_any_other_upsert_is_refused(db_with_upsert, set_):
    db, insert = db_with_upsert
    with db.begin() as connection, db.refused(BindingError, patient):
        connection.execute(upsert(insert, set_).values(id=1, ssn=CANARY))
    rows = [{"id": n, "ssn": CANARY} for n in (1, 2)]
    with db.begin() as connection, db.refused(BindingError, patient):
        connection.execute(upsert(insert, set_), rows)


def test_the_statement_is_left_as_it_is_and_cached(db_with_upsert):
    db, insert = db_with_upsert
    statement = upsert(insert, lambda e: {"ssn": e.ssn})
    printed = str(statement.compile(db.engine))
    with db.begin() as connection, db.statements() as seen:
        for n in (1, 2, 3):
            connection.execute(statement, {"id": n, "ssn": f"new-{n}"})
    if statement._generate_cache_key() is not None:  # SQLAlchemy 2.0 caches no upsert
        assert [context.cache_hit.name for context in seen][1:] == ["CACHE_HIT", "CACHE_HIT"]
    assert str(statement.compile(db.engine)) == printed
    assert numbers(db) == {n: f"new-{n}" for n in (1, 2, 3)}


# -- an index over several columns -------------------------------------------------------------


@pytest.fixture
def people(db_with_upsert):
    db, insert = db_with_upsert
    with db.session() as session:
        session.add(Person(id=1, last="Lovelace", born=dt.date(1815, 12, 10)))
        session.commit()
    values = {"id": 1, "last_name": "Byron", "born": dt.date(1788, 1, 22)}
    return db, insert, values


def test_a_compound_index_follows_when_all_its_columns_are_set(people):
    db, insert, values = people
    statement = upsert(insert, lambda e: {"last_name": e.last_name, "born": e.born}, person)
    with db.begin() as connection:
        connection.execute(statement.values(values))
    assert check_indexes(db, person, *PERSON)[0]["last_name"] == "Byron"


def test_a_compound_index_of_which_one_column_is_set_is_refused(people):
    db, insert, values = people
    statement = upsert(insert, lambda e: {"born": e.born}, person)
    with db.begin() as connection, db.refused(BindingError, person) as caught:
        connection.execute(statement.values(values))
    assert "who" in str(caught.value)


def test_a_compound_index_of_which_one_column_is_set_to_null_is_null(people):
    db, insert, values = people
    statement = upsert(insert, lambda e: {"born": null()}, person)
    with db.begin() as connection:
        connection.execute(statement.values(values))
    rows = check_indexes(db, person, *PERSON)
    assert (rows[0]["last_name"], rows[0]["born"]) == ("Lovelace", None)


# -- MySQL and MariaDB -------------------------------------------------------------------------


@pytest.fixture
def mariadb_patients(mariadb_db):
    mariadb_db.create(Base.metadata)
    with mariadb_db.session() as session:
        session.add_all(Patient(id=n, name=f"n-{n}", ssn=ssn) for n, ssn in BEFORE.items())
        session.commit()
    return mariadb_db


def test_on_duplicate_key_of_other_columns_does_not_change_the_indexes(mariadb_patients):
    statement = mysql.insert(patient)
    statement = statement.on_duplicate_key_update(name=statement.inserted.name)
    with mariadb_patients.begin() as connection:
        connection.execute(
            statement,
            [{"id": 1, "name": "changed", "ssn": "lost"}, {"id": 7, "name": "new", "ssn": "n-7"}],
        )
        assert connection.scalar(select(patient.c.name).where(patient.c.id == 1)) == "changed"
    assert numbers(mariadb_patients) == {**BEFORE, 7: "n-7"}


def test_on_duplicate_key_to_null_takes_the_indexes_away(mariadb_patients):
    for set_ in ({"ssn": null()}, [("ssn", null()), ("name", "x")]):
        statement = mysql.insert(patient).on_duplicate_key_update(set_)
        with mariadb_patients.begin() as connection:
            connection.execute(statement.values(id=1, ssn="lost"))
        assert numbers(mariadb_patients) == {**BEFORE, 1: None}
        assert stored(mariadb_patients, patient, "ssn_bidx")[1,] is None


def test_on_duplicate_key_may_not_write_an_index(mariadb_patients):
    inserted = mysql.insert(patient).inserted
    for set_ in (
        {"ssn_bidx": inserted.ssn_bidx},
        {"ssn_bidx": b"sixteen bytes..."},
        {"ssn_bidx": literal(b"sixteen bytes...")},
        {"ssn_bidx": null()},
        {"ssn": null(), "ssn_bidx": inserted.ssn_bidx},
    ):
        statement = mysql.insert(patient).on_duplicate_key_update(set_)
        with (
            mariadb_patients.begin() as connection,
            mariadb_patients.refused(BindingError, patient),
        ):
            connection.execute(statement.values(id=1, ssn=CANARY))


def test_insert_ignore_and_or_replace_write_the_indexes(clinic):
    prefix = {"sqlite": "OR REPLACE", "mariadb": "IGNORE"}.get(clinic.backend.family)
    statement = patient.insert().prefix_with(prefix) if prefix else patient.insert()
    with clinic.begin() as connection:
        connection.execute(statement, [{"id": n, "ssn": ssn} for n, ssn in BEFORE.items()])
    assert numbers(clinic) == BEFORE
