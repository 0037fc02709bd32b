"""Queries of the ORM are answered by blind indexes as a plaintext column would answer them."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from sqlalchemy import (
    and_,
    bindparam,
    case,
    delete,
    exists,
    false,
    func,
    lambda_stmt,
    literal,
    null,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.exc import SADeprecationWarning
from sqlalchemy.orm import Bundle, aliased, defer, with_loader_criteria

from encfields.testing import assert_absent
from tests.database import CANARY
from tests.index.clinic import Claim, Patient, ids, sent


def _or_of_nothing() -> Any:
    """What admin pages add to a query where no column is to be searched: no condition."""
    with pytest.warns(SADeprecationWarning, match="or_"):
        return or_(*[])


CRITERIA: dict[str, tuple[Any, list[int]]] = {
    "==": (lambda: Patient.ssn == "ssn-1", [1]),
    "value first": (lambda: "ssn-1" == Patient.ssn, [1]),  # noqa: SIM300
    "== without a match": (lambda: Patient.ssn == "ssn-7", []),
    "!=": (lambda: Patient.ssn != "ssn-1", [2, 3]),
    "== None": (lambda: Patient.ssn == None, [4]),  # noqa: E711
    "!= None": (lambda: Patient.ssn != None, [1, 2, 3]),  # noqa: E711
    "== null()": (lambda: Patient.ssn == null(), [4]),
    "is_(None)": (lambda: Patient.ssn.is_(None), [4]),
    "is_not(None)": (lambda: Patient.ssn.is_not(None), [1, 2, 3]),
    "not is_(None)": (lambda: ~Patient.ssn.is_(None), [1, 2, 3]),
    "not ==": (lambda: ~(Patient.ssn == "ssn-1"), [2, 3]),
    "not !=": (lambda: ~(Patient.ssn != "ssn-1"), [1]),
    "in": (lambda: Patient.ssn.in_(["ssn-1", "ssn-3", "ssn-9"]), [1, 3]),
    "in one": (lambda: Patient.ssn.in_(["ssn-2"]), [2]),
    "in nothing": (lambda: Patient.ssn.in_([]), []),
    "in a set": (lambda: Patient.ssn.in_({"ssn-1", "ssn-2"}), [1, 2]),
    "in many": (lambda: Patient.ssn.in_([f"ssn-{n}" for n in range(2, 600)]), [2, 3]),
    "in with NULL": (lambda: Patient.ssn.in_(["ssn-1", None, "ssn-2"]), [1, 2]),
    "in nothing but NULL": (lambda: Patient.ssn.in_([None]), []),
    "not in": (lambda: Patient.ssn.not_in(["ssn-1", "ssn-3"]), [2]),
    "not in one": (lambda: Patient.ssn.not_in(["ssn-1"]), [2, 3]),
    "not in nothing": (lambda: Patient.ssn.not_in([]), [1, 2, 3, 4]),
    "not in with NULL": (lambda: Patient.ssn.not_in(["ssn-1", None]), []),
    "not (in)": (lambda: ~Patient.ssn.in_(["ssn-1", "ssn-3"]), [2]),
    "not (not in)": (lambda: ~Patient.ssn.not_in(["ssn-1", "ssn-3"]), [1, 3]),
    "literal": (lambda: Patient.ssn == literal("ssn-2"), [2]),
    "in literals": (lambda: Patient.ssn.in_([literal("ssn-2"), "ssn-3"]), [2, 3]),
    "named bind": (lambda: Patient.ssn == bindparam("q", "ssn-2"), [2]),
    "typed bind": (lambda: Patient.ssn == bindparam("q", "ssn-2", type_=Patient.name.type), [2]),
    "bind of NULL": (lambda: Patient.ssn == bindparam("q", None), []),
    "expanding bind": (lambda: Patient.ssn.in_(bindparam("q", ["ssn-2"], expanding=True)), [2]),
    "or": (lambda: or_(Patient.ssn == "ssn-1", Patient.ssn == "ssn-2", Patient.id == 4), [1, 2, 4]),
    "and": (lambda: and_(Patient.ssn == "ssn-1", Patient.name == "name-1"), [1]),
    "beside an or_() of nothing": (lambda: and_(Patient.ssn == "ssn-1", _or_of_nothing()), [1]),
    "and of two": (lambda: and_(Patient.ssn == "ssn-1", Patient.ssn == "ssn-2"), []),
    "not (or)": (lambda: ~or_(Patient.ssn == "ssn-1", Patient.id == 2), [3]),
    "or in and in or": (
        lambda: or_(
            and_(or_(Patient.ssn == "ssn-1", Patient.ssn.is_(None)), Patient.id > 1),
            and_(Patient.ssn != "ssn-1", ~or_(Patient.ssn == "ssn-2", Patient.id == 9)),
        ),
        [3, 4],
    ),
    "| and &": (lambda: (Patient.ssn == "ssn-1") | ((Patient.ssn == "ssn-2") & true()), [1, 2]),
    "and false": (lambda: and_(Patient.ssn == "ssn-1", false()), []),
    "case": (lambda: case((Patient.ssn == "ssn-1", 1), else_=0) == 1, [1]),
    "compared conditions": (lambda: (Patient.ssn == "ssn-1").is_(True), [1]),
    "blind": (lambda: Patient.ssn.blind() == "ssn-1", [1]),
    "blind !=": (lambda: Patient.ssn.blind() != "ssn-1", [2, 3]),
    "blind in": (lambda: Patient.ssn.blind().in_(["ssn-1", "ssn-2"]), [1, 2]),
    "blind not in": (lambda: Patient.ssn.blind().not_in(["ssn-1", "ssn-2"]), [3]),
    "blind in with NULL": (lambda: Patient.ssn.blind().in_(["ssn-1", None]), [1]),
    "blind is_(None)": (lambda: Patient.ssn.blind().is_(None), [4]),
    "blind is_not(None)": (lambda: Patient.ssn.blind().is_not(None), [1, 2, 3]),
    "blind == literal": (lambda: Patient.ssn.blind() == literal("ssn-1"), [1]),
    "a transform": (lambda: Patient.mail.blind("casefold") == "USER2@x.ORG", [2]),
    "labelled": (lambda: Patient.ssn.label("s") == "ssn-2", [2]),
    "blind labelled": (lambda: Patient.ssn.blind().label("s") == "ssn-2", [2]),
    "not a transform": (lambda: Patient.mail.blind("casefold") != "USER2@x.ORG", [1, 3]),
    "the number's end": (lambda: Patient.ssn.blind("last1") == "3", [3]),
    "exists": (lambda: exists().where(Claim.ssn == Patient.ssn, Claim.ssn == "ssn-1"), [1]),
    "not exists": (lambda: ~exists().where(Claim.ssn == Patient.ssn), [3, 4]),
    "exists of select": (lambda: select(Claim.id).where(Claim.ssn == Patient.ssn).exists(), [1, 2]),
    "in a subquery": (lambda: Patient.ssn.in_(select(Claim.ssn)), [1, 2]),
    "not in a subquery": (
        lambda: Patient.ssn.not_in(select(Claim.ssn).where(Claim.ssn.is_not(None))),
        [3],
    ),
    "not in a subquery with NULL": (lambda: Patient.ssn.not_in(select(Claim.ssn)), []),
    "== a scalar subquery": (
        lambda: Patient.ssn == select(Claim.ssn).where(Claim.id == 3).scalar_subquery(),
        [2],
    ),
    "!= a scalar subquery": (
        lambda: Patient.ssn != select(Claim.ssn).where(Claim.id == 3).scalar_subquery(),
        [1, 3],
    ),
    "blind in a subquery of blind": (
        lambda: Patient.ssn.blind().in_(select(Claim.ssn.blind())),
        [1, 2],
    ),
    "in a subquery of labels": (lambda: Patient.ssn.in_(select(Claim.ssn.label("s"))), [1, 2]),
    "id in a subquery": (
        lambda: Patient.id.in_(select(Patient.id).where(Patient.ssn == "ssn-2")),
        [2],
    ),
    "itself": (lambda: Patient.ssn == Patient.ssn, [1, 2, 3]),
}


def test_a_criterion_finds_what_it_would_find_in_plaintext(clinic):
    found = {
        name: ids(clinic, select(Patient.id).where(criterion()))
        for name, (criterion, _) in CRITERIA.items()
    }
    assert found == {name: expected for name, (_, expected) in CRITERIA.items()}


def test_a_criterion_beside_an_alias_is_not_about_the_alias(clinic):
    other = aliased(Patient)
    beside = select(Patient.id).join(other, other.id != Patient.id).distinct()
    found = {
        name: ids(clinic, beside.where(criterion())) for name, (criterion, _) in CRITERIA.items()
    }
    assert found == {name: CRITERIA[name][1] for name in found}


def test_found_entities_are_whole(clinic):
    with clinic.session() as session:
        found = session.scalars(select(Patient).where(Patient.ssn == "ssn-2")).one()
        assert (found.id, found.ssn, found.mail, found.notes) == (2, "ssn-2", "User2@x.org", "n2")


def test_a_comparison_can_be_selected(clinic):
    hit: Any = (Patient.ssn == "ssn-1").label("hit")
    with clinic.session() as session:
        rows = session.execute(select(Patient.id, hit, Patient.ssn != "ssn-1").order_by(Patient.id))
        assert [tuple(row) for row in rows] == [
            (1, True, False),
            (2, False, True),
            (3, False, True),
            (4, None, None),
        ]


def test_a_comparison_can_be_sorted_and_grouped_by(clinic):
    hit: Any = Patient.ssn == "ssn-2"
    first = case((hit, 0), else_=1)
    with clinic.session() as session:
        assert session.scalars(select(Patient.id).order_by(first, Patient.id)).all() == [2, 1, 3, 4]
        if clinic.engine.driver == "pg8000":
            pytest.skip("PostgreSQL does not know two numbered parameters of a GROUP BY equal")
        grouped = select(first, func.count()).group_by(first).order_by(first)
        assert [tuple(row) for row in session.execute(grouped)] == [(0, 1), (1, 3)]


def test_rows_of_equal_values_are_counted_and_grouped_by_the_index(clinic):
    index = Claim.ssn.blind()
    with clinic.session() as session:
        counts = select(func.count()).where(index.is_not(None)).group_by(index)
        assert sorted(session.scalars(counts)) == [1, 1, 2]
        assert session.scalar(select(func.count(index.distinct()))) == 3
        assert session.scalar(select(func.count()).where(Claim.ssn == "ssn-1")) == 2
        many = select(index).group_by(index).having(func.count(index) > 1)
        assert len(session.scalars(many).all()) == 1


def test_limit_and_offset_work_with_a_full_length_index(clinic):
    with clinic.session() as session:
        statement = select(Claim.id).where(Claim.ssn == "ssn-1").order_by(Claim.id)
        assert session.scalars(statement.limit(1)).all() == [1]
        assert session.scalars(statement.limit(1).offset(1)).all() == [2]


def test_distinct_and_union_work_with_a_full_length_index(clinic):
    one = select(Claim.amount).where(Claim.ssn == "ssn-1")
    two = select(Claim.amount).where(Claim.ssn == "ssn-2")
    with clinic.session() as session:
        assert sorted(session.scalars(one.distinct())) == [10, 20]
        assert sorted(session.scalars(one.union(two))) == [10, 20, 30]
        assert sorted(session.scalars(one.union_all(two, one))) == [10, 10, 20, 20, 30]
        assert sorted(session.scalars(one.except_(two))) == [10, 20]


def test_an_alias_is_told_from_its_class(clinic):
    other = aliased(Patient)
    statement = (
        select(Patient.id, other.id)
        .join(other, true())
        .where(Patient.ssn == "ssn-1", other.ssn == "ssn-3")
    )
    with clinic.session() as session:
        assert [tuple(row) for row in session.execute(statement)] == [(1, 3)]


def test_bundles_and_deferred_columns_can_be_asked(clinic):
    with clinic.session() as session:
        bundle: Any = Bundle("both", Patient.id, Patient.ssn)
        found = session.execute(select(bundle).where(bundle.c.ssn == "ssn-1")).one()
        assert tuple(found[0]) == (1, "ssn-1")
        deferred = select(Patient).options(defer(Patient.ssn)).where(Patient.ssn == "ssn-1")
        assert session.scalars(deferred).one().id == 1


def test_loader_criteria_are_answered_on_the_class_and_on_aliases(clinic):
    other = aliased(Patient)
    for criteria in (
        with_loader_criteria(Patient, Patient.ssn != "ssn-1", include_aliases=True),
        with_loader_criteria(Patient, lambda cls: cls.ssn != "ssn-1", include_aliases=True),
    ):
        with clinic.session() as session:
            assert sorted(session.scalars(select(Patient.id).options(criteria))) == [2, 3]
            assert sorted(session.scalars(select(other.id).options(criteria))) == [2, 3]


# -- the legacy Query ---------------------------------------------------------------------------


def test_the_query_api_gets_by_natural_key(clinic):
    with clinic.session() as session:
        query = session.query(Patient)
        assert query.filter_by(ssn="ssn-2").one().id == 2
        assert query.filter_by(ssn="ssn-7").one_or_none() is None
        assert query.filter_by(ssn="ssn-2", name="name-2").first().id == 2
        assert session.query(Claim).filter_by(ssn="ssn-1").count() == 2
        assert query.filter(Patient.ssn.in_(["ssn-1", "ssn-2"])).count() == 2
        assert session.query(query.filter(Patient.ssn == "ssn-1").exists()).scalar() is True
        assert session.query(query.filter(Patient.ssn == "ssn-7").exists()).scalar() is False


def test_select_filter_by_works(clinic):
    assert ids(clinic, select(Patient.id).filter_by(ssn="ssn-3")) == [3]


# -- UPDATE and DELETE ---------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["auto", "fetch", "evaluate", False])
def test_update_changes_the_rows_that_are_found(clinic, how):
    with clinic.session() as session:
        people = {p.id: p for p in session.scalars(select(Patient))}
        statement = update(Patient).where(Patient.ssn.in_(["ssn-1", "ssn-3"])).values(name="new")
        done = session.execute(statement, execution_options={"synchronize_session": how})
        assert done.rowcount == 2
        if how is not False:
            assert {n: p.name for n, p in people.items()} == {
                1: "new",
                2: "name-2",
                3: "new",
                4: "name-4",
            }
        session.commit()
        assert {n: p.name for n, p in people.items()} == {
            1: "new",
            2: "name-2",
            3: "new",
            4: "name-4",
        }


@pytest.mark.parametrize("how", ["auto", "evaluate"])
def test_not_in_a_list_with_a_column_synchronizes(sqlite_clinic, how):
    with sqlite_clinic.session() as session:
        people = session.scalars(select(Patient).order_by(Patient.id)).all()
        for asked, names in (
            (~Patient.ssn.in_([Patient.ssn, "ssn-9"]), ["name-1", "name-2", "name-3", "name-4"]),
            (Patient.ssn.in_([Patient.ssn, "ssn-9"]), ["new", "new", "new", "name-4"]),
        ):
            session.execute(
                update(Patient).where(asked).values(name="new"),
                execution_options={"synchronize_session": how},
            )
            assert [p.name for p in people] == names


@pytest.mark.parametrize("how", ["auto", "fetch", "evaluate", False])
def test_delete_removes_the_rows_that_are_found(clinic, how):
    with clinic.session() as session:
        people = {p.id: p for p in session.scalars(select(Patient))}
        done = session.execute(
            delete(Patient).where(Patient.ssn != "ssn-2"),
            execution_options={"synchronize_session": how},
        )
        assert done.rowcount == 2
        if how is not False:
            assert people[1] not in session
            assert people[2] in session
        session.commit()
    assert ids(clinic, select(Patient.id)) == [2, 4]


@pytest.mark.parametrize("how", ["auto", "fetch"])
def test_criteria_by_a_named_index_synchronize(clinic, how):
    with clinic.session() as session:
        found = session.get(Patient, 2)
        session.execute(
            update(Patient).where(Patient.mail.blind("casefold") == "USER2@X.ORG").values(name="n"),
            execution_options={"synchronize_session": how},
        )
        assert found.name == "n"


def test_query_update_and_delete_work(clinic):
    with clinic.session() as session:
        assert session.query(Patient).filter(Patient.ssn == "ssn-1").update({"name": "q"}) == 1
        assert session.query(Patient).filter_by(ssn="ssn-2").delete() == 1
        session.commit()
    assert ids(clinic, select(Patient.id).where(Patient.name == "q")) == [1]
    assert ids(clinic, select(Patient.id)) == [1, 3, 4]


def test_rows_are_changed_by_a_subquery_of_equal_values(clinic):
    with clinic.session() as session:
        paid = select(Claim.ssn).where(Claim.amount == 30)
        done = session.execute(
            update(Patient)
            .where(Patient.ssn.in_(paid))
            .values(name="paid")
            .execution_options(synchronize_session="fetch")
        )
        assert done.rowcount == 1
        session.commit()
    assert ids(clinic, select(Patient.id).where(Patient.name == "paid")) == [2]


# -- lambdas and binds ---------------------------------------------------------------------------


def _by_number(number: str) -> Any:
    return lambda_stmt(lambda: select(Patient.id).where(Patient.ssn == number))


def _by_numbers(numbers: list[str]) -> Any:
    return lambda_stmt(lambda: select(Patient.id).where(Patient.ssn.in_(numbers)))


def test_a_lambda_statement_is_asked_with_its_variables_of_now(clinic):
    for n in (1, 2, 3, 1):
        assert ids(clinic, _by_number(f"ssn-{n}")) == [n]
        assert ids(clinic, _by_numbers([f"ssn-{n}", "ssn-3"])) == sorted({n, 3})


def _step_by_step(number: str) -> Any:
    statement: Any = lambda_stmt(lambda: select(Patient.id))
    statement += lambda s: s.where(Patient.ssn == number)
    return statement


def test_a_lambda_with_a_step_added_is_asked_too(clinic):
    for n in (1, 2, 1):
        assert ids(clinic, _step_by_step(f"ssn-{n}")) == [n]


def test_a_named_bind_is_asked_with_each_value(clinic):
    statement = select(Patient.id).where(Patient.ssn == bindparam("q"))
    with clinic.session() as session:
        for n in (1, 2, 3):
            assert session.scalars(statement, {"q": f"ssn-{n}"}).all() == [n]
        assert session.scalars(statement, {"q": None}).all() == []
        assert session.scalars(statement.params(q="ssn-2")).all() == [2]


def test_one_named_bind_serves_two_comparisons_by_one_index(clinic):
    other = aliased(Patient)
    statement = (
        select(Patient.id, other.id)
        .join(other, true())
        .where(Patient.ssn == bindparam("q"), other.ssn == bindparam("q"))
    )
    with clinic.session() as session:
        for n in (1, 2):
            assert session.execute(statement, {"q": f"ssn-{n}"}).one() == (n, n)


# -- what the database is told -------------------------------------------------------------------

SECRETS: dict[str, Any] = {
    "==": lambda: Patient.ssn == CANARY,
    "!=": lambda: Patient.ssn != CANARY,
    "in": lambda: Patient.ssn.in_([CANARY, "ssn-1"]),
    "in with NULL": lambda: Patient.ssn.in_([CANARY, None]),
    "literal": lambda: Patient.ssn == literal(CANARY),
    "typed literal": lambda: Patient.ssn == literal(CANARY, Patient.name.type),
    "typed bind": lambda: Patient.ssn == bindparam("q", CANARY, type_=Patient.name.type),
    "in literals": lambda: Patient.ssn.in_([literal(CANARY), "ssn-1"]),
    "callable bind": lambda: Patient.ssn == bindparam("q", callable_=lambda: CANARY),
    "blind literal": lambda: Patient.ssn.blind() == literal(CANARY),
    "blind bind": lambda: Patient.ssn.blind() == bindparam("q", CANARY, type_=Patient.name.type),
    "a transform": lambda: Patient.mail.blind("casefold") == CANARY,
    "case": lambda: case((Patient.ssn == CANARY, 1), else_=0) == 1,
}


def test_the_database_is_never_told_a_value_that_is_looked_up(clinic, caplog):
    caplog.set_level(logging.INFO, logger="sqlalchemy.engine")
    for criterion in SECRETS.values():
        with sent(clinic):
            ids(clinic, select(Patient.id).where(criterion()))
    assert len(caplog.records) >= len(SECRETS)
    assert_absent(CANARY, *caplog.records)


def test_a_value_of_a_lambda_is_never_told(clinic):
    with sent(clinic):
        assert ids(clinic, _by_number(CANARY)) == []


def test_the_index_in_the_database_is_what_is_asked_for(clinic):
    """The hash that is sent is the one that the row holds, and differs for each index."""
    with clinic.session() as session, sent(clinic) as seen:
        session.scalars(select(Patient.id).where(Patient.ssn == "ssn-1")).one()
        session.scalars(
            select(Patient).where(Patient.mail.blind("casefold") == "user1@x.org")
        ).one()
    sql = "SELECT ssn_bidx, mail_casefold_bidx FROM patient WHERE id = 1"
    with clinic.plain.connect() as connection:
        stored = [bytes(cell) for cell in connection.exec_driver_sql(sql).one()]
    for (_, parameters), expected in zip(seen, stored, strict=True):
        (value,) = parameters.values() if isinstance(parameters, dict) else parameters
        assert bytes(value) == expected
    assert stored[0] != stored[1]
    assert len(stored[0]) == 16
