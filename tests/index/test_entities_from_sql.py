"""Entities out of subqueries, text, unions and computed properties are found by index too."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select, text, union_all
from sqlalchemy.orm import aliased, column_property, registry

from tests.index.clinic import Claim, Patient, claim, patient
from tests.turns import databases_by_turns, on_each_database

pytestmark = databases_by_turns


def _found(db: Any, statement: Any) -> list[tuple[int, Any]]:
    with db.session() as session:
        return sorted((one.id, one.ssn) for one in session.scalars(statement))


def test_an_entity_of_a_subquery_that_carries_the_index_is_asked(clinic):
    rows = select(Patient, Patient.ssn.blind().label("k")).where(Patient.id > 1).subquery()
    entity = aliased(Patient, rows)
    assert _found(clinic, select(entity).where(entity.ssn == "ssn-2")) == [(2, "ssn-2")]
    assert _found(clinic, select(entity).where(rows.c.k == "ssn-2")) == [(2, "ssn-2")]
    assert _found(clinic, select(entity).where(entity.ssn == "ssn-1")) == []
    joined = select(entity).join(Claim, Claim.ssn == entity.ssn)
    assert _found(clinic, joined) == [(2, "ssn-2")]


def test_an_entity_of_a_subquery_without_the_index_is_looked_up_by_its_key(clinic):
    entity = aliased(Patient, select(Patient).where(Patient.id > 1).subquery())
    assert _found(clinic, select(entity).where(entity.ssn == "ssn-2")) == [(2, "ssn-2")]
    assert _found(clinic, select(entity).where(entity.ssn == "ssn-1")) == []
    joined = select(entity).join(Claim, Claim.ssn == entity.ssn)
    assert _found(clinic, joined) == [(2, "ssn-2")]


def test_rows_of_a_text_can_be_looked_up_once_their_columns_are_declared(clinic):
    rows = text("SELECT * FROM patient WHERE id > 1").columns(*patient.c).subquery()
    entity = aliased(Patient, rows)
    assert _found(clinic, select(entity).where(entity.ssn == "ssn-2")) == [(2, "ssn-2")]
    assert _found(clinic, select(entity).where(entity.ssn == "ssn-1")) == []


def test_entities_are_loaded_from_a_statement_that_looks_up(clinic):
    one, other = (select(Patient).where(Patient.ssn == number) for number in ("ssn-1", "ssn-2"))
    assert _found(clinic, select(Patient).from_statement(one)) == [(1, "ssn-1")]
    both = select(Patient).from_statement(union_all(one, other))
    assert _found(clinic, both) == [(1, "ssn-1"), (2, "ssn-2")]


def test_entities_of_a_statement_are_judged_where_the_index_is_short(clinic):
    mail = select(Patient).where(Patient.mail == "User2@x.org")
    assert _found(clinic, select(Patient).from_statement(mail)) == [(2, "ssn-2")]
    mail = select(Patient).where(Patient.mail == "USER2@x.org")
    assert _found(clinic, select(Patient).from_statement(mail)) == []


@on_each_database
def test_a_window_is_parted_by_the_index(clinic):
    number = func.row_number().over(partition_by=Claim.ssn.blind(), order_by=Claim.id)
    with clinic.session() as session:
        rows = session.execute(select(Claim.id, number).where(Claim.ssn.is_not(None)))
        assert sorted(tuple(row) for row in rows) == [(1, 1), (2, 2), (3, 1), (4, 1)]


class Counted:
    """Maps the patients once more, with properties that the database works out by look-up."""

    id: Any
    ssn: Any
    claims: Any
    is_first: Any


_count = select(func.count(claim.c.id)).where(claim.c.ssn == patient.c.ssn).correlate_except(claim)
registry().map_imperatively(
    Counted,
    patient,
    properties={
        "claims": column_property(_count.scalar_subquery()),
        "is_first": column_property(patient.c.ssn == "ssn-1"),
    },
)


def test_properties_are_worked_out_by_look_up(clinic):
    expected = [(1, 2, True), (2, 1, False), (3, 0, False), (4, 0, None)]
    with clinic.session() as session:
        for entity in (Counted, aliased(Counted)):
            session.expunge_all()
            rows = session.scalars(select(entity)).all()
            assert sorted((one.id, one.claims, one.is_first) for one in rows) == expected
            found = session.scalars(select(entity).where(entity.claims > 0, ~entity.is_first))
            assert [one.id for one in found] == [2]
            session.refresh(session.scalars(select(entity).where(entity.ssn == "ssn-3")).one())
