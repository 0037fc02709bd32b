"""Copies of ciphertext: whole rows with their indexes, or nothing."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from sqlalchemy import (
    MetaData,
    String,
    column,
    delete,
    func,
    insert,
    literal,
    null,
    select,
    text,
    update,
)

from encfields.errors import BindingError, CiphertextCopyError
from tests.database import CANARY
from tests.index_writes.expected import PATIENT, PERSON, check_indexes, stored
from tests.index_writes.models import Patient, Person
from tests.turns import databases_by_turns

pytestmark = databases_by_turns

patient: Any = Patient.__table__
person: Any = Person.__table__
RAW = {"encfields_raw_copy": True}
BEFORE = {n: f"123-45-{n:04}" for n in (1, 2, 3)}
EVERY = [column.key for column in patient.c]


@pytest.fixture
def kept(patients):
    """The patients' rows in a second table, and none in the first."""
    with patients.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE kept AS SELECT * FROM patient")
        connection.execute(delete(patient))
    table = patient.to_metadata(MetaData(), name="kept")
    yield patients, table
    with patients.plain.begin() as connection:
        connection.exec_driver_sql("DROP TABLE kept")


def copying(table: Any, keys: list[str]) -> Any:
    return insert(patient).from_select(keys, select(*(table.c[key] for key in keys)))


def test_rows_of_a_union_or_of_raw_sql_are_inserted_without_the_encrypted_columns(clinic):
    with clinic.begin() as connection:
        connection.execute(insert(patient).values(id=1, name="a", ssn="x"))
        found = select(patient.c.id + 10, patient.c.name).where(patient.c.ssn == "x")
        rows = found.union_all(select(patient.c.id + 20, patient.c.name))
        connection.execute(insert(patient).from_select(["id", "name"], rows))
        raw = text("SELECT 31 AS id, 'c' AS name").columns(column("id"), column("name"))
        connection.execute(insert(patient).from_select(["id", "name"], raw))
        found = connection.scalars(select(patient.c.id).order_by(patient.c.id))
        assert found.all() == [1, 11, 21, 31]
        assert connection.scalars(select(patient.c.ssn).where(patient.c.id > 9)).all() == [None] * 3
        with pytest.raises(CiphertextCopyError):
            connection.execute(insert(patient).from_select(["id", "ssn"], raw))


def test_whole_rows_are_copied_on_request_and_found(kept):
    db, table = kept
    with db.begin() as connection:
        with pytest.raises(CiphertextCopyError, match="encfields_raw_copy"):
            connection.execute(copying(table, EVERY))
        connection.execute(copying(table, EVERY), execution_options=RAW)
    rows = check_indexes(db, patient, *PATIENT)
    assert {row["id"]: row["ssn"] for row in rows} == BEFORE


def test_rows_may_be_copied_without_a_value_and_without_its_index(kept):
    db, table = kept
    keys = [key for key in EVERY if not key.startswith("mail")]
    with db.begin() as connection:
        connection.execute(copying(table, keys), execution_options=RAW)
    rows = check_indexes(db, patient, *PATIENT)
    assert {row["id"]: row["ssn"] for row in rows} == BEFORE
    assert {row["mail"] for row in rows} == {None}


def test_null_is_selected_for_a_value(kept):
    """As a migration may that fills a table: there is nothing to seal, and nothing to index."""
    db, table = kept
    source = select(table.c.id, table.c.name, null(), null().label("mail"))
    with db.begin() as connection:
        connection.execute(insert(patient).from_select(["id", "name", "ssn", "mail"], source))
    rows = check_indexes(db, patient, *PATIENT)
    assert {(row["name"], row["ssn"], row["mail"]) for row in rows} == {
        (f"name-{n}", None, None) for n in BEFORE
    }


def test_null_beside_a_copied_value_lets_nothing_through(kept):
    db, table = kept
    source = select(table.c.id, table.c.ssn, null())
    for options in ({}, RAW):
        with db.begin() as connection, db.refused(CiphertextCopyError, patient):
            copied = insert(patient).from_select(["id", "ssn", "mail"], source)
            connection.execute(copied, execution_options=options)


HALVES = {
    "a value without its indexes": ["id", "ssn"],
    "a value without one of its indexes": ["id", "ssn", "ssn_bidx"],
    "an index without its value": ["id", "ssn_bidx"],
    "every index and no value": ["id", *(key for key in EVERY if key.endswith("_bidx"))],
    "every value and no index": [key for key in EVERY if not key.endswith("_bidx")],
}


@pytest.mark.parametrize("keys", HALVES.values(), ids=HALVES.keys())
@pytest.mark.parametrize("options", [{}, RAW], ids=["plain", "raw"])
def test_half_a_row_is_refused_even_on_request(kept, keys, options):
    db, table = kept
    with db.begin() as connection, db.refused(CiphertextCopyError, patient) as caught:
        connection.execute(copying(table, keys), execution_options=options)
    assert "blind index" in str(caught.value)


def test_a_copy_of_other_columns_has_no_index(kept):
    db, table = kept
    with db.begin() as connection:
        connection.execute(copying(table, ["id", "name"]))
    rows = check_indexes(db, patient, *PATIENT)
    assert {row["name"] for row in rows} == {"name-1", "name-2", "name-3"}
    assert set(stored(db, patient, "ssn_bidx").values()) == {None}


def test_a_copy_without_defaults_has_no_index_either(kept):
    db, table = kept
    source = select(table.c.id, table.c.name)
    with db.begin() as connection:
        connection.execute(
            insert(patient).from_select(["id", "name"], source, include_defaults=False)
        )
    check_indexes(db, patient, *PATIENT)


def test_an_update_copies_no_value_even_with_its_indexes(kept):
    """Which row of the other table meets which of this one, its WHERE decides."""
    db, table = kept
    with db.begin() as connection:
        connection.execute(insert(patient), [{"id": n, "name": "new"} for n in BEFORE])
    keys = ("ssn", "ssn_bidx", "ssn_last4_bidx")
    whole = update(patient).values({key: table.c[key] for key in keys})
    whole = whole.where(patient.c.id == table.c.id)
    for options in ({}, RAW):
        with db.begin() as connection, pytest.raises(BindingError):
            connection.execute(whole, execution_options=options)
    assert set(stored(db, patient, "ssn").values()) == {None}


UPDATES = {
    "a value alone": lambda: update(patient).values(ssn=patient.c.mail),
    "an index alone": lambda: update(patient).values(ssn_bidx=patient.c.ssn_last4_bidx),
    "an index alone, to NULL": lambda: update(patient).values(ssn_bidx=null()),
    "a value and NULL": lambda: update(patient).values(ssn=patient.c.mail, ssn_bidx=null()),
    "a plaintext and a copied index": lambda: (
        update(patient)
        .values(ssn=CANARY, ssn_bidx=patient.c.ssn_bidx, ssn_last4_bidx=patient.c.ssn_bidx)
        .where(patient.c.id == 1)
    ),
    "a typed literal": lambda: (
        update(patient).values(ssn=literal(CANARY, String)).where(patient.c.id == 1)
    ),
    "a literal of an index": lambda: (
        update(patient).values(ssn_bidx=literal(b"x")).where(patient.c.id == 1)
    ),
    "a literal in an INSERT": lambda: insert(patient).values(
        id=9, ssn=literal(CANARY), notes=func.lower(CANARY)
    ),
}


@pytest.mark.parametrize("statement", UPDATES.values(), ids=UPDATES.keys())
def test_the_request_lifts_no_other_refusal(patients, statement):
    with patients.begin() as connection, patients.refused(BindingError, patient):
        connection.execute(statement(), execution_options=RAW)


def test_a_compound_index_is_copied_with_all_its_columns(clinic):
    with clinic.session() as session:
        session.add(Person(id=1, last="Lovelace", born=dt.date(1815, 12, 10)))
        session.commit()
    every = [column.key for column in person.c]
    with clinic.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE kept AS SELECT * FROM person")
        connection.execute(delete(person))
    kept = person.to_metadata(MetaData(), name="kept")
    try:
        for left_out in ("born", "who_bidx", "last_name"):
            keys = [key for key in every if key != left_out]
            half = insert(person).from_select(keys, select(*(kept.c[key] for key in keys)))
            with clinic.begin() as connection, clinic.refused(CiphertextCopyError, person):
                connection.execute(half, execution_options=RAW)
        keys = ["id", "last_name"]
        part = insert(person).from_select(keys, select(*(kept.c[key] for key in keys)))
        with clinic.begin() as connection:
            connection.execute(part, execution_options=RAW)
            check = connection.scalars(select(person.c.last_name)).all()
            assert check == ["Lovelace"]
            connection.execute(delete(person))
            whole = insert(person).from_select(every, select(*(kept.c[key] for key in every)))
            connection.execute(whole, execution_options=RAW)
        check_indexes(clinic, person, *PERSON)
    finally:
        with clinic.plain.begin() as connection:
            connection.exec_driver_sql("DROP TABLE kept")
