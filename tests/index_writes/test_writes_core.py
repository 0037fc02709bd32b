"""Writing through Core: each form of INSERT writes the indexes along with the values."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from sqlalchemy import bindparam, delete, insert, lambda_stmt, null, select

from encfields.errors import ValueEncodingError
from tests.database import CANARY
from tests.index_writes.expected import GUEST, PATIENT, SEAT, VISIT, check_indexes, stored
from tests.index_writes.models import Guest, Patient, Seat, Visit
from tests.turns import databases_by_turns, on_each_database

pytestmark = databases_by_turns

patient: Any = Patient.__table__
guest: Any = Guest.__table__
visit: Any = Visit.__table__
seat: Any = Seat.__table__

ROWS: list[dict[str, Any]] = [
    {"id": n, "ssn": f"123-45-{n:04}", "mail": f"User{n}@X.org"} for n in (1, 2, 3)
]
TUPLES = [(row["id"], None, row["ssn"], row["mail"], None) for row in ROWS]


def numbers(rows: list[dict[str, Any]]) -> dict[Any, Any]:
    return {row["id"]: row["ssn"] for row in rows}


EXPECTED = {row["id"]: row["ssn"] for row in ROWS}

INSERTS = {
    "values by keyword": lambda c: [c.execute(insert(patient).values(**row)) for row in ROWS],
    "values by dict": lambda c: [c.execute(insert(patient).values(row)) for row in ROWS],
    "values by column": lambda c: [
        c.execute(insert(patient).values({patient.c[key]: v for key, v in row.items()}))
        for row in ROWS
    ],
    "values by tuple": lambda c: [c.execute(insert(patient).values(row)) for row in TUPLES],
    "parameters": lambda c: [c.execute(insert(patient), row) for row in ROWS],
    "executemany": lambda c: c.execute(insert(patient), ROWS),
    "executemany of one": lambda c: [c.execute(insert(patient), [row]) for row in ROWS],
    "executemany in other order": lambda c: c.execute(
        insert(patient), [dict(reversed(row.items())) for row in ROWS]
    ),
    "many values": lambda c: c.execute(insert(patient).values(ROWS)),
    "many values by tuple": lambda c: c.execute(insert(patient).values(TUPLES)),
    "many values twice": lambda c: c.execute(insert(patient).values(ROWS[:1]).values(ROWS[1:])),
    "bindparam": lambda c: c.execute(
        insert(patient).values(id=bindparam("k"), ssn=bindparam("v"), mail=bindparam("m")),
        [{"k": row["id"], "v": row["ssn"], "m": row["mail"]} for row in ROWS],
    ),
    "bindparam swapped": lambda c: c.execute(
        insert(patient).values(mail=bindparam("ssn_"), ssn=bindparam("mail_"), id=bindparam("k")),
        [{"k": row["id"], "mail_": row["ssn"], "ssn_": row["mail"]} for row in ROWS],
    ),
    "values and parameters": lambda c: [
        c.execute(insert(patient).values(ssn=row["ssn"]), {"id": row["id"]}) for row in ROWS
    ],
    "value and executemany": lambda c: c.execute(insert(patient).values(name="x"), ROWS),
    "inline": lambda c: [c.execute(insert(patient).values(**row).inline()) for row in ROWS],
    "lambda": lambda c: c.execute(lambda_stmt(lambda: insert(patient)), ROWS),
    "ORM's insert": lambda c: c.execute(insert(Patient), ROWS),
    "ORM's insert with many values": lambda c: c.execute(insert(Patient).values(ROWS)),
}


@pytest.mark.parametrize("write", INSERTS.values(), ids=INSERTS.keys())
def test_an_insert_writes_the_indexes_of_each_row(clinic, write):
    with clinic.begin() as connection:
        write(connection)
    rows = check_indexes(clinic, patient, *PATIENT)
    assert numbers(rows) == EXPECTED


def test_null_has_no_index(clinic):
    rows = [{"id": 1, "ssn": "a"}, {"id": 2, "ssn": None}, {"id": 3, "ssn": "c"}]
    with clinic.begin() as connection:
        connection.execute(insert(patient), rows)
    assert numbers(check_indexes(clinic, patient, *PATIENT)) == {1: "a", 2: None, 3: "c"}
    with clinic.begin() as connection:
        connection.execute(delete(patient))
        connection.execute(insert(patient).values(rows))
    assert numbers(check_indexes(clinic, patient, *PATIENT)) == {1: "a", 2: None, 3: "c"}
    assert stored(clinic, patient, "ssn_bidx")[2,] is None


def test_sql_null_has_no_index(clinic):
    with clinic.begin() as connection:
        connection.execute(insert(patient).values(id=1, ssn=null()))
        connection.execute(insert(patient).values([{"id": 2, "ssn": null()}]))
        connection.execute(insert(patient).values(ssn=null()), [{"id": 3}, {"id": 4}])
    assert numbers(check_indexes(clinic, patient, *PATIENT)) == dict.fromkeys((1, 2, 3, 4))


def test_a_row_that_names_no_indexed_column_has_no_index(clinic):
    with clinic.begin() as connection:
        connection.execute(insert(patient).values(id=1, name="n"))
        connection.execute(insert(patient), [{"id": 2, "notes": "x"}, {"id": 3, "notes": None}])
    assert numbers(check_indexes(clinic, patient, *PATIENT)) == dict.fromkeys((1, 2, 3))


def test_an_empty_text_is_a_value_and_has_an_index(clinic):
    with clinic.begin() as connection:
        connection.execute(insert(patient).values(id=1, ssn="", mail=""))
    check_indexes(clinic, patient, *PATIENT)
    assert len(stored(clinic, patient, "ssn_bidx")[1,] or b"") == 16


def test_equal_values_have_equal_indexes_and_others_have_not(clinic):
    with clinic.begin() as connection:
        connection.execute(insert(patient), [{"id": n, "ssn": f"v-{n % 3}"} for n in range(9)])
    held = stored(clinic, patient, "ssn_bidx")
    assert len(set(held.values())) == 3
    assert held[0,] == held[3,] == held[6,]
    check_indexes(clinic, patient, *PATIENT)


@on_each_database
def test_a_default_key_in_every_form(clinic):
    with clinic.begin() as connection:
        connection.execute(insert(guest).values(ssn="a"))
        connection.execute(insert(guest), [{"ssn": x} for x in "bc"])
        connection.execute(insert(guest).values([{"ssn": x} for x in "def"]))
        made = connection.execute(insert(guest).values(ssn="g")).inserted_primary_key
        assert made is not None
        assert isinstance(made.id, uuid.UUID)
    rows = check_indexes(clinic, guest, *GUEST)
    assert sorted(row["ssn"] for row in rows) == list("abcdefg")


def test_a_composite_key(clinic):
    with clinic.begin() as connection:
        connection.execute(insert(seat).values(hall="A", number=1, guest="A1"))
        connection.execute(
            insert(seat), [{"hall": "A", "number": n, "guest": f"A{n}"} for n in (2, 3)]
        )
        connection.execute(
            insert(seat).values([{"hall": "B", "number": n, "guest": f"B{n}"} for n in (2, 3)])
        )
    rows = check_indexes(clinic, seat, *SEAT)
    assert all(row["guest"] == f"{row['hall']}{row['number']}" for row in rows)


GENERATED = {
    "values": lambda c: [c.execute(insert(visit).values(ssn=x)) for x in "abc"],
    "parameters": lambda c: [c.execute(insert(visit), {"ssn": x}) for x in "abc"],
    "executemany": lambda c: c.execute(insert(visit), [{"ssn": x} for x in "abc"]),
    "many values": lambda c: c.execute(insert(visit).values([{"ssn": x} for x in "abc"])),
    "returning": lambda c: c.execute(insert(visit).returning(visit), [{"ssn": x} for x in "abc"]),
}


@on_each_database
@pytest.mark.parametrize("write", GENERATED.values(), ids=GENERATED.keys())
def test_a_generated_key(clinic, write):
    if write is GENERATED["returning"]:
        clinic.backend.require_returning()
    with clinic.begin() as connection:
        write(connection)
    rows = check_indexes(clinic, visit, *VISIT)
    assert sorted(row["ssn"] for row in rows) == ["a", "b", "c"]


@on_each_database
def test_a_generated_key_of_a_thousand_rows(clinic):
    with clinic.begin() as connection:
        connection.execute(insert(visit), [{"ssn": f"v-{n % 700}"} for n in range(1000)])
    assert len(check_indexes(clinic, visit, *VISIT)) == 1000


@on_each_database
def test_a_thousand_rows_in_one_insert(clinic):
    rows = [{"id": n, "ssn": f"n-{n}", "mail": None if n % 2 else "x"} for n in range(1000)]
    with clinic.begin() as connection:
        connection.execute(insert(patient), rows)
    assert len(check_indexes(clinic, patient, *PATIENT)) == 1000


@on_each_database
def test_returning_delivers_the_values_and_not_the_indexes(clinic):
    clinic.backend.require_returning()
    statement = insert(patient).returning(patient)
    with clinic.begin() as connection:
        one = connection.execute(statement.values(ROWS[0])).mappings().one()
        many = connection.execute(statement, ROWS[1:]).mappings().all()
    for row in (one, *many):
        assert list(row) == ["id", "name", "ssn", "mail", "notes"]
    assert {row["id"]: row["ssn"] for row in (one, *many)} == EXPECTED
    check_indexes(clinic, patient, *PATIENT)


def test_the_application_s_parameters_are_left_as_they_are(clinic):
    rows = [dict(row) for row in ROWS]
    statement = insert(patient).values(id=9, ssn="n-9")
    with clinic.begin() as connection:
        for _ in range(2):
            connection.execute(delete(patient))
            connection.execute(insert(patient), rows)
            connection.execute(statement)
    assert rows == ROWS
    assert numbers(check_indexes(clinic, patient, *PATIENT)) == {**EXPECTED, 9: "n-9"}


def test_the_statement_is_cached_and_each_execution_has_its_own_indexes(clinic):
    for n in range(4):
        with clinic.begin() as connection, clinic.statements() as seen:
            connection.execute(insert(patient).values(id=n, ssn=f"n-{n}"))
        assert len(seen) == 1
    assert seen[0].cache_hit.name == "CACHE_HIT"
    assert len(check_indexes(clinic, patient, *PATIENT)) == 4


def test_a_value_that_is_refused_leaves_none_of_its_rows(clinic):
    rows = [{"id": 1, "ssn": "a"}, {"id": 2, "ssn": CANARY.encode()}]
    with clinic.begin() as connection, clinic.refused(ValueEncodingError, patient) as caught:
        connection.execute(insert(patient), rows)
    assert (caught.value.table, caught.value.column) == ("patient", "ssn")


def test_no_index_column_is_selected(patients):
    with patients.begin() as connection:
        row = connection.execute(select(patient).where(patient.c.id == 1)).mappings().one()
        assert list(row) == ["id", "name", "ssn", "mail", "notes"]
        aliased = connection.execute(select(patient.alias())).mappings().first()
        assert aliased is not None
        assert list(aliased) == ["id", "name", "ssn", "mail", "notes"]
        inner = connection.execute(select(select(patient).subquery())).mappings().first()
        assert inner is not None
        assert list(inner) == ["id", "name", "ssn", "mail", "notes"]
