"""Writing through the ORM: a flush, and each bulk operation, writes the indexes along."""

from __future__ import annotations

import pickle
import uuid
from typing import Any

import pytest
from sqlalchemy import func, insert, inspect, null, select, update
from sqlalchemy.exc import IntegrityError

from encfields.errors import UnknownIdentityError, ValueEncodingError
from tests.database import CANARY
from tests.index_writes.expected import (
    GUEST,
    MEMBER,
    PATIENT,
    SEAT,
    VISIT,
    check_indexes,
    stored,
)
from tests.index_writes.models import Guest, Member, Patient, Seat, Visit
from tests.turns import databases_by_turns, on_each_database

pytestmark = databases_by_turns


def numbers(db) -> dict[int, str | None]:
    return {row["id"]: row["ssn"] for row in check_indexes(db, Patient, *PATIENT)}


BEFORE = {n: f"123-45-{n:04}" for n in (1, 2, 3)}


def rows_of(count: int) -> list[dict[str, Any]]:
    return [{"id": n, "ssn": f"v-{n % 40}", "mail": f"M{n}@x"} for n in range(count)]


def expected(count: int) -> dict[int, str]:
    return {n: f"v-{n % 40}" for n in range(count)}


# -- a flush -----------------------------------------------------------------------------------


def test_an_added_object_is_indexed(clinic):
    with clinic.session() as session:
        for n, value in enumerate(["", "x", "zażółć 🜚", "a" * 70_000]):
            session.add(Patient(id=n, ssn=value, mail="Straße@X.org"))
        session.commit()
    assert len(numbers(clinic)) == 4


def test_many_objects_with_and_without_values(clinic):
    with clinic.session() as session:
        session.add_all(
            Patient(id=n, ssn=None if n % 3 else f"s-{n}", mail=f"M{n}@x" if n % 2 else None)
            for n in range(60)
        )
        session.commit()
    assert len(numbers(clinic)) == 60


@on_each_database
def test_a_uuid_key(clinic):
    given = uuid.uuid4()
    with clinic.session() as session:
        session.add_all([Guest(id=given, ssn="given"), Guest(ssn="made"), Guest(ssn=None)])
        session.commit()
        assert session.scalars(select(Guest.id).where(Guest.ssn == "given")).all() == [given]
    assert len(check_indexes(clinic, Guest, *GUEST)) == 3


@on_each_database
def test_a_generated_key(clinic):
    with clinic.session() as session:
        one = Visit(ssn="one")
        session.add(one)
        session.flush()
        assert session.scalars(select(Visit).where(Visit.ssn == "one")).one() is one
        session.add_all(Visit(place="p", ssn=f"v-{n % 50}" if n % 3 else None) for n in range(200))
        session.commit()
    assert len(check_indexes(clinic, Visit, *VISIT)) == 201


@on_each_database
def test_a_generated_key_and_a_given_one_can_be_mixed(clinic):
    with clinic.session() as session:
        session.add_all([Visit(id=100, ssn="given"), Visit(ssn="made"), Visit(id=200, ssn="given")])
        session.commit()
    rows = check_indexes(clinic, Visit, *VISIT)
    assert sorted(row["ssn"] for row in rows) == ["given", "given", "made"]


@on_each_database
def test_a_generated_key_that_is_an_sql_expression(clinic):
    with clinic.session() as session:
        session.add(Visit(id=func.abs(-50), ssn="v"))
        session.commit()
    assert check_indexes(clinic, Visit, *VISIT)[0]["id"] == 50


def test_a_composite_key(clinic):
    with clinic.session() as session:
        session.add_all(Seat(hall=h, number=n, guest=f"{h}{n}") for h in "AB" for n in (1, 2))
        session.commit()
        session.get_one(Seat, ("A", 1)).guest = "new"
        session.commit()
    assert len(check_indexes(clinic, Seat, *SEAT)) == 4


def test_an_update_of_an_attribute(patients):
    with patients.session() as session:
        session.get_one(Patient, 2).ssn = "new"
        session.commit()
        assert session.scalars(select(Patient.id).where(Patient.ssn == "new")).all() == [2]
        assert session.scalars(select(Patient.id).where(Patient.ssn == BEFORE[2])).all() == []
    assert numbers(patients) == {**BEFORE, 2: "new"}


def test_updates_of_many_rows_in_one_flush(patients):
    with patients.session() as session:
        for one in session.scalars(select(Patient)):
            one.ssn, one.mail = f"new-{one.id}", None
        session.commit()
    assert numbers(patients) == {n: f"new-{n}" for n in (1, 2, 3)}


def test_updates_of_different_columns_in_one_flush(patients):
    with patients.session() as session:
        session.get_one(Patient, 1).ssn = "new"
        session.get_one(Patient, 2).mail = "new"
        session.get_one(Patient, 3).name = "new"
        session.commit()
    assert numbers(patients) == {**BEFORE, 1: "new"}


@pytest.mark.parametrize("nothing", [None, null()], ids=["None", "NULL"])
def test_setting_null_takes_the_index_away(patients, nothing):
    with patients.session() as session:
        session.get_one(Patient, 1).ssn = nothing
        session.commit()
    assert numbers(patients) == {**BEFORE, 1: None}
    assert stored(patients, Patient.__table__, "ssn_bidx")[1,] is None


def test_an_unchanged_value_is_not_written_again(patients):
    with patients.session() as session, patients.statements() as seen:
        session.get_one(Patient, 1).ssn = BEFORE[1]
        session.commit()
        assert not any(context.isupdate for context in seen)


def test_another_attribute_leaves_the_indexes_out_of_the_statement(patients):
    with patients.session() as session, patients.statements() as seen:
        session.get_one(Patient, 1).name = "new"
        session.get_one(Patient, 2).notes = "new"
        session.commit()
        updates = [context.statement for context in seen if context.isupdate]
    assert len(updates) == 2
    assert not any("bidx" in statement for statement in updates)
    assert numbers(patients) == BEFORE


def test_a_changed_value_is_one_statement(patients):
    with patients.session() as session, patients.statements() as seen:
        session.get_one(Patient, 1).ssn = "new"
        session.commit()
        assert sum(context.isupdate for context in seen) == 1


def test_a_new_key_takes_the_indexes_along(patients):
    with patients.session() as session:
        session.get_one(Patient, 1).id = 77
        session.commit()
    assert numbers(patients) == {2: BEFORE[2], 3: BEFORE[3], 77: BEFORE[1]}


def test_merge_inserts_and_updates(patients):
    with patients.session() as session:
        session.merge(Patient(id=1, ssn="merged"))
        session.merge(Patient(id=9, ssn="new"))
        session.commit()
    assert numbers(patients) == {**BEFORE, 1: "merged", 9: "new"}


def test_a_row_that_is_deleted_and_added_again_in_one_flush(patients):
    with patients.session() as session:
        session.delete(session.get_one(Patient, 1))
        session.add(Patient(id=1, ssn="again"))
        session.commit()
    assert numbers(patients) == {**BEFORE, 1: "again"}


def test_a_savepoint_that_is_rolled_back(patients):
    with patients.session() as session:
        session.get_one(Patient, 1).ssn = "kept"
        with session.begin_nested() as savepoint:
            session.get_one(Patient, 2).ssn = "lost"
            session.flush()
            savepoint.rollback()
        session.commit()
    assert numbers(patients) == {**BEFORE, 1: "kept"}


def test_an_instance_survives_pickling(patients):
    with patients.session() as session:
        one = session.get_one(Patient, 1)
        session.expunge(one)
    copy = pickle.loads(pickle.dumps(one))
    copy.ssn = "from the pickle"
    with patients.session() as session:
        session.merge(copy)
        session.commit()
    assert numbers(patients) == {**BEFORE, 1: "from the pickle"}


def test_a_refused_value_leaves_nothing(clinic):
    with clinic.session() as session, clinic.refused(ValueEncodingError, Patient.__table__):
        session.add_all([Patient(id=1, ssn="a"), Patient(id=2, ssn=CANARY.encode())])
        session.commit()


@on_each_database
def test_an_error_of_the_database_leaves_the_session_usable(patients):
    with patients.session() as session:
        session.add(Patient(id=1, ssn=CANARY))
        with pytest.raises(IntegrityError):
            session.flush()
        session.rollback()
        session.add(Patient(id=9, ssn="n-9"))
        session.commit()
    assert numbers(patients) == {**BEFORE, 9: "n-9"}


# -- tenants -----------------------------------------------------------------------------------


@pytest.fixture
def members(clinic):
    """Members 1 and 2 of tenant 10, and 3 of tenant 20, who shares a number with 1."""
    with clinic.session() as session:
        session.add_all(
            Member(id=n, tenant_id=tenant, iban=iban)
            for n, tenant, iban in ((1, 10, "same"), (2, 10, "other"), (3, 20, "same"))
        )
        session.commit()
    return clinic


def test_each_tenant_s_index_is_made_under_its_own_key(members):
    check_indexes(members, Member, *MEMBER)
    held = stored(members, Member.__table__, "iban_bidx")
    assert held[1,] != held[3,]


def test_an_object_that_moves_to_another_tenant_is_indexed_under_that_one_s_key(members):
    with members.session() as session:
        session.get_one(Member, 2).tenant_id = 20
        session.commit()
        found = select(Member.id).where(Member.tenant_id == 20, Member.iban == "other")
        assert session.scalars(found).all() == [2]
    check_indexes(members, Member, *MEMBER)


def test_an_object_of_a_tenant_can_be_changed(members):
    with members.session() as session:
        session.get_one(Member, 1).iban = "new"
        session.get_one(Member, 3).iban = None
        session.commit()
    check_indexes(members, Member, *MEMBER)


def test_rows_of_many_tenants_in_one_statement(clinic):
    rows = [{"id": n, "tenant_id": 10 + n % 2 * 10, "iban": f"i-{n}"} for n in range(50)]
    with clinic.session() as session:
        session.execute(insert(Member), rows)
        session.commit()
    assert len(check_indexes(clinic, Member, *MEMBER)) == 50


def test_a_value_for_no_tenant_is_refused_and_a_row_without_a_value_is_not(clinic_once):
    table: Any = Member.__table__
    with clinic_once.begin() as connection, clinic_once.refused(UnknownIdentityError, table):
        connection.execute(insert(table).values(id=9, iban=CANARY))


# -- bulk --------------------------------------------------------------------------------------

BULK = {
    "bulk_insert_mappings": lambda s, rows: s.bulk_insert_mappings(inspect(Patient), rows),
    "bulk_insert_mappings that renders NULL": lambda s, rows: s.bulk_insert_mappings(
        inspect(Patient), rows, render_nulls=True
    ),
    "bulk_save_objects": lambda s, rows: s.bulk_save_objects([Patient(**row) for row in rows]),
    "insert of a list": lambda s, rows: s.execute(insert(Patient), rows),
    "insert returning entities": lambda s, rows: s.scalars(
        insert(Patient).returning(Patient, sort_by_parameter_order=True), rows
    ).all(),
    "insert returning a column": lambda s, rows: s.scalars(
        insert(Patient).returning(Patient.ssn), rows
    ).all(),
    "insert of values": lambda s, rows: s.execute(insert(Patient).values(rows)),
}


@on_each_database
@pytest.mark.parametrize("write", BULK.values(), ids=BULK.keys())
def test_a_bulk_insert(clinic, write):
    if write in (BULK["insert returning entities"], BULK["insert returning a column"]):
        clinic.backend.require_returning()
    rows = rows_of(150)
    with clinic.session() as session:
        write(session, rows)
        session.commit()
    assert numbers(clinic) == expected(150)


@on_each_database
def test_a_bulk_insert_of_more_rows_than_a_batch(clinic):
    clinic.backend.require_returning()
    with clinic.session() as session:
        made = session.scalars(
            insert(Patient).returning(Patient, sort_by_parameter_order=True), rows_of(1100)
        ).all()
        assert {one.id: one.ssn for one in made} == expected(1100)
        session.commit()
    assert numbers(clinic) == expected(1100)


GENERATED = {
    "bulk_insert_mappings": lambda s, rows: s.bulk_insert_mappings(inspect(Visit), rows),
    "bulk_save_objects": lambda s, rows: s.bulk_save_objects([Visit(**row) for row in rows]),
    "bulk_save_objects with keys": lambda s, rows: s.bulk_save_objects(
        [Visit(**row) for row in rows], return_defaults=True
    ),
    "insert of a list": lambda s, rows: s.execute(insert(Visit), rows),
    "insert returning entities": lambda s, rows: s.scalars(
        insert(Visit).returning(Visit), rows
    ).all(),
    "insert of values": lambda s, rows: s.execute(insert(Visit).values(rows)),
}


@on_each_database
@pytest.mark.parametrize("write", GENERATED.values(), ids=GENERATED.keys())
def test_a_bulk_insert_with_generated_keys(clinic, write):
    if write is GENERATED["insert returning entities"]:
        clinic.backend.require_returning()
    with clinic.session() as session:
        write(session, [{"place": str(n), "ssn": f"v-{n}" if n % 3 else None} for n in range(12)])
        session.commit()
    rows = check_indexes(clinic, Visit, *VISIT)
    assert len(rows) == 12
    assert all(row["ssn"] in (None, f"v-{row['place']}") for row in rows)


@on_each_database
def test_rows_that_differ_in_their_columns(clinic):
    with clinic.session() as session:
        session.execute(
            insert(Patient), [{"id": 0, "ssn": "a"}, {"id": 1}, {"id": 2, "mail": "m", "ssn": "c"}]
        )
        session.commit()
    assert numbers(clinic) == {0: "a", 1: None, 2: "c"}


UPDATES = {
    "bulk_update_mappings": lambda s: s.bulk_update_mappings(
        inspect(Patient), [{"id": n, "ssn": f"new-{n}"} for n in (1, 2)]
    ),
    "update of a list": lambda s: s.execute(
        update(Patient), [{"id": n, "ssn": f"new-{n}"} for n in (1, 2)]
    ),
    "update by criteria": lambda s: [
        s.execute(update(Patient).where(Patient.id == n).values(ssn=f"new-{n}")) for n in (1, 2)
    ],
    "update by criteria, fetching": lambda s: [
        s.execute(
            update(Patient).where(Patient.id == n).values(ssn=f"new-{n}"),
            execution_options={"synchronize_session": "fetch"},
        )
        for n in (1, 2)
    ],
    "legacy query": lambda s: [
        s.query(Patient).filter(Patient.id == n).update({"ssn": f"new-{n}"}) for n in (1, 2)
    ],
    "bulk_save_objects": lambda s: s.bulk_save_objects(_changed(s)),
}


def _changed(session) -> list[Patient]:
    changed = session.scalars(select(Patient).where(Patient.id < 3)).all()
    for one in changed:
        one.ssn = f"new-{one.id}"
    return list(changed)


@pytest.mark.parametrize("write", UPDATES.values(), ids=UPDATES.keys())
def test_a_bulk_update(patients, write):
    with patients.session() as session:
        write(session)
        session.commit()
    assert numbers(patients) == {1: "new-1", 2: "new-2", 3: BEFORE[3]}


def test_an_update_keeps_objects_of_the_session_in_step(patients):
    with patients.session() as session:
        loaded = session.get_one(Patient, 2)
        session.execute(update(Patient).values(ssn="new").where(Patient.id == 2))
        assert loaded.ssn == "new"
        session.commit()
    assert numbers(patients)[2] == "new"


# -- what the model shows ----------------------------------------------------------------------


def test_the_model_has_no_attribute_for_an_index():
    names = {"id", "name", "ssn", "mail", "notes"}
    assert set(inspect(Patient).attrs.keys()) == names
    assert set(inspect(Patient).columns.keys()) == names
    assert not hasattr(Patient, "ssn_bidx")
    with pytest.raises(TypeError, match="ssn_bidx"):
        Patient(ssn_bidx=b"")
    assert "ssn_bidx" in Patient.__table__.c


def test_a_loaded_row_holds_no_index(patients):
    with patients.session() as session, patients.statements() as seen:
        one = session.scalars(select(Patient).where(Patient.id == 1)).one()
        assert "ssn_bidx" not in vars(one)
        assert not any("bidx" in context.statement for context in seen)
        session.refresh(one)
        row = session.execute(select(Patient.__table__)).mappings().first()
        assert row is not None
        assert set(row) == {"id", "name", "ssn", "mail", "notes"}


def test_an_attribute_of_an_index_s_name_is_never_written(patients):
    with patients.session() as session:
        one: Any = session.get_one(Patient, 1)
        one.ssn_bidx = b"forged"
        one.ssn = "new"
        session.commit()
    assert numbers(patients) == {**BEFORE, 1: "new"}


@pytest.mark.parametrize("write", [BULK["bulk_insert_mappings"], BULK["insert of a list"]])
def test_a_bulk_insert_ignores_or_refuses_a_forged_index(clinic, write):
    rows = [{"id": n, "ssn": "a", "ssn_bidx": b"sixteen bytes..."} for n in (1, 2)]
    with clinic.session() as session:
        try:
            write(session, rows)
        except Exception:
            session.rollback()
        else:
            session.commit()
    check_indexes(clinic, Patient, *PATIENT)
