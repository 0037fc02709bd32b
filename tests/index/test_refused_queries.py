"""What hashes and ciphertext cannot answer is refused, with the reason and without the value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import (
    all_,
    and_,
    any_,
    between,
    bindparam,
    case,
    cast,
    collate,
    column,
    delete,
    desc,
    exists,
    extract,
    func,
    literal,
    literal_column,
    null,
    or_,
    select,
    text,
    true,
    tuple_,
    type_coerce,
    update,
    values,
)
from sqlalchemy.orm import aliased, with_loader_criteria
from sqlalchemy.types import LargeBinary, String

from encfields.errors import BindingError, UnsupportedOperationError
from encfields.testing import assert_absent
from tests.database import CANARY
from tests.index.clinic import Claim, Patient
from tests.turns import databases_by_turns

pytestmark = databases_by_turns

number: Any = Patient.ssn
index: Any = Patient.ssn.blind()
value: Any = CANARY

OPERATORS: dict[str, Callable[[Any], Any]] = {
    "<": lambda c: c < value,
    "<=": lambda c: c <= value,
    ">": lambda c: c > value,
    ">=": lambda c: c >= value,
    "reversed <": lambda c: value < c,
    "between": lambda c: c.between(value, value),
    "between()": lambda c: between(c, value, value),
    "like": lambda c: c.like(value),
    "not like": lambda c: c.not_like(value),
    "ilike": lambda c: c.ilike(value),
    "startswith": lambda c: c.startswith(value),
    "endswith": lambda c: c.endswith(value),
    "contains": lambda c: c.contains(value),
    "icontains": lambda c: c.icontains(value),
    "regexp_match": lambda c: c.regexp_match(value),
    "regexp_replace": lambda c: c.regexp_replace(value, value),
    "match": lambda c: c.match(value),
    "concat": lambda c: c + value,
    "reversed concat": lambda c: value + c,
    "concat()": lambda c: c.concat(value),
    "collate": lambda c: c.collate("C"),
    "nulls_first": lambda c: c.nulls_first(),
    "op": lambda c: c.op("=")(value),
    "comparison op": lambda c: c.op("=", is_comparison=True)(value),
    "bool_op": lambda c: c.bool_op("=")(value),
    "is": lambda c: c.is_(True),
    "is_distinct_from": lambda c: c.is_distinct_from(func.lower(value)),
    "is_not_distinct_from": lambda c: c.is_not_distinct_from(func.lower(value)),
    "any_": lambda c: c.any_(),
    "all_": lambda c: c.all_(),
    "arithmetic": lambda c: c * 2,
    "negative": lambda c: -c,
    "bitwise": lambda c: c & c,
    "not": lambda c: ~c,
    "getitem": lambda c: c[0],
}


@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator_without_an_answer_is_refused_as_it_is_written(name):
    for side in (number, index, aliased(Patient).ssn):
        with pytest.raises(UnsupportedOperationError) as caught:
            OPERATORS[name](side)
        assert_absent(CANARY, caught.value)


CONDITIONS: dict[str, Callable[[], Any]] = {
    "plain column first": lambda: Patient.name == number,
    "plain column last": lambda: number == Patient.name,
    "plain column in": lambda: Patient.name.in_([number]),
    "plain column of a subquery": lambda: number.in_(select(Patient.name)),
    "in a plain list of columns": lambda: number.in_([Patient.name, value]),
    "function of the column": lambda: func.lower(number) == value,
    "function of the index": lambda: func.lower(index) == value,
    "function of the value": lambda: number == func.lower(value),
    "cast of the column": lambda: cast(number, String) == value,
    "cast of the index": lambda: cast(index, String) == value,
    "cast of the value": lambda: number == cast(value, String),
    "coerced index": lambda: type_coerce(index, String) == value,
    "coalesce": lambda: func.coalesce(number, value) == value,
    "coalesce of the index": lambda: func.coalesce(index, value) == value,
    "case of columns": lambda: case((Patient.id == 1, number), else_=value) == value,
    "case of indexes": lambda: case((Patient.id == 1, index), else_=index) == value,
    "case of a value": lambda: case((Patient.id == 1, value), else_=number) == value,
    "extract": lambda: extract("year", number) == 1,
    "collate()": lambda: collate(number, "C") == value,
    "value first, less": lambda: literal(value) < number,
    "value first, told apart behind CASE": lambda: case(
        (literal(value).is_distinct_from(number), True), else_=False
    ),
    "value in columns, one without an index, behind CASE": lambda: case(
        (literal(value).in_([number, Patient.notes]), True), else_=False
    ),
    "row with a plain column beside the encrypted one, behind CASE": lambda: case(
        (tuple_(Claim.ssn, Patient.name) == tuple_(value, number), True), else_=False
    ),
    "among rows of columns, behind CASE": lambda: case(
        (tuple_(Claim.ssn, Patient.name).in_([tuple_(value, Patient.notes)]), True), else_=False
    ),
    "NULL first": lambda: null() == number,
    "named bind first, in two columns": lambda: bindparam("q", value, String).in_(
        [number, Patient.name]
    ),
    "tuple": lambda: tuple_(number, Patient.name) > (value, value),
    "row with a value in a query": lambda: tuple_(Patient.id, literal(value)).in_(
        select(Claim.id, Claim.ssn)
    ),
    "row with a value in a union": lambda: tuple_(Patient.id, literal(value)).not_in(
        select(Claim.id, Claim.ssn).union_all(select(Claim.id, number))
    ),
    "row with a value equal to a query's": lambda: (
        tuple_(Patient.id, literal(value)) == select(Claim.id, Claim.ssn).scalar_subquery()
    ),
    "tuple of indexes": lambda: tuple_(index, index) > (value, value),
    "text value": lambda: number == text("'canary-4711'"),
    "text list": lambda: number.in_(text("SELECT 'canary-4711'")),
    "as a condition": lambda: number,
    "index as a condition": lambda: index,
    "in and()": lambda: and_(number, Patient.id == 1),
    "index in and()": lambda: and_(index, Patient.id == 1),
    "in an intersection": lambda: number.in_(select(Claim.ssn).intersect(select(number))),
    "in a part of a union": lambda: number.in_(select(Claim.ssn).union(select(number)).limit(1)),
    "in a union of a part": lambda: number.in_(
        select(Claim.ssn).union(select(number).order_by(Patient.id).limit(1))
    ),
    "in two columns": lambda: number.in_(select(Claim.ssn, Claim.id)),
    "scalar of an expression": lambda: number == select(func.max(Claim.ssn)).scalar_subquery(),
    "scalar of a plain column": lambda: number == select(Patient.name).scalar_subquery(),
    "another index's value": lambda: index == number.blind("last1"),
    "an index and a plain column": lambda: index == Patient.name,
    "a plain column and an index": lambda: Patient.name == index,
    "a column without an index": lambda: Patient.notes == value,
}

STATEMENTS: dict[str, Callable[[], Any]] = {
    "order by": lambda: select(Patient.id).order_by(number),
    "order by the index, descending": lambda: select(Patient.id).order_by(desc(index)),
    "group by": lambda: select(func.count()).group_by(number),
    "distinct": lambda: select(number).distinct(),
    "max": lambda: select(func.max(number)),
    "max of the index": lambda: select(func.max(index)),
    "count distinct": lambda: select(func.count(number.distinct())),
    "union": lambda: select(number).union(select(Claim.ssn)),
    "a value below the column": lambda: select(Patient.id, number).union_all(
        select(literal(1), literal(value))
    ),
    "a function of a value among the rows": lambda: select(Patient.id, number).intersect(
        select(literal(1), func.lower(value).label("n"))
    ),
    "values": lambda: select(Patient.id).join(
        v := values(column("k", String), name="v").data([(value,)]), v.c.k == number
    ),
    "aliased values": lambda: select(Patient.id).join(
        v := values(column("k", String), name="v").data([(value,)]), number == v.c.k
    ),
}


RAW: dict[str, Callable[[], Any]] = {
    "raw SQL": lambda: text("ssn = :x").bindparams(x=value),
    "raw SQL, qualified and in a function": lambda: text(
        "id = 1 OR lower(patient.ssn) = :x"
    ).bindparams(x=value),
    "raw SQL in an AND": lambda: and_(Patient.id == 1, text("ssn LIKE :x").bindparams(x=value)),
    "raw SQL in a CASE": lambda: case((text("ssn = :x").bindparams(x=value), True), else_=False),
    "raw SQL in EXISTS": lambda: exists(
        select(Claim.id).where(text("claim.ssn = :x").bindparams(x=value))
    ),
    "CASE of a raw name": lambda: case({value: 1}, value=literal_column("ssn"), else_=0) == 1,
    "a row with a raw name": lambda: tuple_(Patient.id, literal_column("ssn")) == (1, value),
    "a raw name in a list": lambda: literal(value).in_([Patient.name, column("ssn")]),
}

STATEMENTS |= {
    "raw SQL in HAVING": lambda: (
        select(Patient.id).group_by(Patient.id).having(text("max(ssn) = :x").bindparams(x=value))
    ),
    "raw SQL in ON": lambda: select(Patient.id).join(
        Claim, text("claim.ssn = :x").bindparams(x=value)
    ),
    "raw SQL in DELETE": lambda: delete(Patient).where(text("ssn = :x").bindparams(x=value)),
    "raw SQL in UPDATE": lambda: (
        update(Patient).where(text("ssn = :x").bindparams(x=value)).values(name="x")
    ),
    "raw SQL of a label": lambda: select(number.label("n")).where(
        text("n = :x").bindparams(x=value)
    ),
}

CONDITIONS |= RAW


def _condition(make: Callable[[], Any]) -> Callable[[], Any]:
    return lambda: select(Patient.id).where(make())


STATEMENTS |= {name: _condition(make) for name, make in CONDITIONS.items()}


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_statement_without_an_answer_is_refused_and_sends_nothing(sqlite_clinic, name):
    with (
        sqlite_clinic.statements() as seen,
        sqlite_clinic.session() as session,
        pytest.raises(BindingError) as caught,
    ):
        session.execute(STATEMENTS[name]()).all()
    assert_absent(CANARY, caught.value)
    assert seen == []


def test_a_column_that_is_not_encrypted_is_not_united_with_one_that_is(sqlite_clinic):
    below = select(Patient.id, number).union_all(select(Patient.id, Patient.name))
    both = (
        select(Patient.id, number, null())
        .where(Patient.id == 1)
        .union_all(select(Patient.id, null(), Patient.name).where(Patient.id == 2))
    )
    with sqlite_clinic.session() as session:
        with pytest.raises(UnsupportedOperationError, match=r"patient\.ssn: .*patient\.name"):
            session.execute(below)
        assert sorted(map(tuple, session.execute(both))) == [
            (1, "ssn-1", None),
            (2, None, "name-2"),
        ]


UNREFUSED: dict[str, Any] = {
    "the bind's name": text("patient.id = :ssn").bindparams(ssn=2),
    "IS NULL": text("(ssn IS NOT NULL AND patient.id = :n)").bindparams(n=2),
    "its size": text("length(ssn) > 200 AND patient.id = :n").bindparams(n=2),
    "a text": text("'ssn' <> :n AND patient.id = 2").bindparams(n="x"),
    "another table's": text("doctor.ssn = 'x' AND patient.id = :n").bindparams(n=2),
    "in a subquery of its own": text(
        "patient.id IN (SELECT 2 FROM (SELECT 'a' AS ssn) AS t WHERE ssn = :n)"
    ).bindparams(n="a"),
}


@pytest.mark.parametrize("name", UNREFUSED)
def test_raw_sql_that_compares_something_else_is_not_refused(sqlite_clinic, name):
    doctor = select(literal_column("'x'").label("ssn")).subquery("doctor")
    asked = select(Patient.id, Patient.ssn).where(UNREFUSED[name])
    if "doctor" in str(UNREFUSED[name]):
        asked = asked.join(doctor, true())
    with sqlite_clinic.session() as session:
        assert [row.id for row in session.execute(asked)] == [2]


CRITERIA: dict[str, Any] = {
    "a function": func.lower(number) == value,
    "CAST": cast(number, String) == value,
    "a lambda": lambda cls: func.lower(cls.ssn) == CANARY,
    "a raw name": literal_column("patient.ssn") == value,
}


@pytest.mark.parametrize("criterion", CRITERIA.values(), ids=CRITERIA)
def test_what_a_loader_adds_to_a_subquery_is_looked_at_too(sqlite_clinic, criterion):
    option = with_loader_criteria(Patient, criterion)
    within = select(Patient.id)
    for asked in (
        select(Claim.id).where(exists().where(Patient.id == Claim.id)),
        select(Claim.id).where(Claim.id.in_(within)),
        select(within.cte().c.id),
    ):
        refused = pytest.raises(UnsupportedOperationError, match=r"patient\.ssn: ")
        with sqlite_clinic.statements() as seen, sqlite_clinic.session() as session, refused:
            session.execute(asked.options(option))
        assert seen == []
    with sqlite_clinic.session() as session:  # to which nothing is added
        assert len(session.scalars(select(Claim.id).options(option)).all()) == 5


def test_the_refusal_names_column_operator_and_what_to_do():
    with pytest.raises(UnsupportedOperationError) as caught:
        number.like("123%")
    assert (caught.value.table, caught.value.column) == ("patient", "ssn")
    message = str(caught.value)
    assert "'like()'" in message
    assert "index the part you search for with a transform such as first(n)" in message
    assert "==, !=, IN, IS NULL and IS NOT NULL work" in message


@pytest.mark.parametrize(
    "name, instead",
    [
        ("nulls_first", "sort after loading"),
        ("concat", "do it in Python after loading"),
        ("arithmetic", "do it in Python after loading"),
        ("between", "compare in Python after loading"),
        ("startswith", "compare in Python after loading"),
    ],
)
def test_the_refusal_says_what_to_do_for_what_was_written(name, instead):
    with pytest.raises(UnsupportedOperationError, match=instead):
        OPERATORS[name](number)


LISTED: dict[str, Callable[[], Any]] = {
    "a value in bare columns": lambda: literal(value).in_([Patient.notes, Patient.notes]),
    "a value in an indexed column first": lambda: literal(value).in_([number, Patient.notes]),
    "a function in a bare column first": lambda: func.lower(value).in_([Patient.notes, number]),
    "a column in a bare column last": lambda: Patient.id.in_([number, Patient.notes]),
    "behind CASE": lambda: case((literal(value).in_([number, Patient.notes]), True)),
    "not in": lambda: literal(value).not_in([number, Patient.notes]),
}


@pytest.mark.parametrize("name", LISTED)
def test_a_refused_list_is_named_by_the_operator_that_was_written(sqlite_clinic, name):
    with (
        sqlite_clinic.session() as session,
        pytest.raises(UnsupportedOperationError, match=r"index=BlindIndex\(\)") as caught,
    ):
        session.execute(select(Patient.id).where(LISTED[name]()))
    assert caught.value.column == "notes"
    operator = "not_in()" if name == "not in" else "in_()"
    assert f"the operator {operator!r}" in caught.value.message


def test_a_column_without_an_index_says_how_to_give_it_one():
    for make in (lambda: Patient.notes == "x", lambda: Patient.notes.in_(["x"])):
        with pytest.raises(UnsupportedOperationError, match=r"index=BlindIndex\(\)"):
            make()
    with pytest.raises(UnsupportedOperationError, match=r"give it one with index=BlindIndex"):
        Patient.notes.blind()


def test_the_value_first_says_to_write_the_column_first(sqlite_clinic):
    with (
        sqlite_clinic.session() as session,
        pytest.raises(UnsupportedOperationError, match="write the encrypted column first"),
    ):
        session.execute(select(case((literal("x").is_distinct_from(number), 1))))


def test_the_bytes_of_a_message_are_not_compared_with_a_value(sqlite_clinic):
    """The value could be the plaintext, which would be sent."""
    raw = type_coerce(number, LargeBinary)
    given = CANARY.encode()
    criteria = (
        raw == given,
        raw.in_([given]),
        literal(given).in_([raw]),
        tuple_(raw, Patient.id).in_([(given, 1)]),
        case({given: True}, value=raw, else_=False),
        type_coerce(raw, LargeBinary).label("bytes") == given,
        literal(given).in_(select(raw)),
        select(select(raw.label("bytes")).subquery().c.bytes == given).scalar_subquery(),
    )
    with sqlite_clinic.session() as session, sqlite_clinic.statements() as seen:
        for criterion in criteria:
            with pytest.raises(
                UnsupportedOperationError, match=r"ssn: .*column == value"
            ) as caught:
                session.execute(select(Patient.id).where(criterion))
            assert_absent(CANARY, caught.value)
        assert seen == []
        found = select(Patient.id).where(raw.is_not(None), raw == raw).limit(1)
        assert session.scalars(found).all() == [1]


def test_the_column_of_an_index_is_not_the_application_s_to_compare(sqlite_clinic):
    bidx = Patient.__table__.c.ssn_bidx
    with sqlite_clinic.session() as session, sqlite_clinic.statements() as seen:
        for criterion in (
            bidx == CANARY,
            bidx == CANARY.encode(),
            bidx.in_([CANARY]),
            literal(CANARY).in_(select(bidx)),
            case({CANARY: True}, value=bidx, else_=False),
        ):
            with pytest.raises(BindingError) as caught:
                session.execute(select(Patient.id).where(criterion))
            assert_absent(CANARY, caught.value)
        assert seen == []


def test_what_is_refused_once_is_refused_again_and_answered_when_mended(sqlite_clinic):
    """The refusal is kept with the compiled statement, as an answer would be."""
    with sqlite_clinic.session() as session:
        for _ in range(3):
            bad = select(Patient.id).where(or_(number.blind("last1") == "1", Patient.id == 1))
            good = select(Patient.id).where(or_(number == "ssn-2", Patient.id == 1))
            assert sorted(session.scalars(good)) == [1, 2]
            assert sorted(session.scalars(bad)) == [1]
            wrong = select(exists().where(Patient.mail == "x"))
            with pytest.raises(UnsupportedOperationError):
                session.execute(wrong)


listed: Any = [value]

given: Any = bindparam("given", [value])

ANY: dict[str, tuple[Callable[[Any], Any], str]] = {
    "unlike ANY of a bind": (lambda c: any_(given) != c, r"or_\(\) of a"),
    "a column unlike ANY of a bind": (lambda c: c != any_(given), r"or_\(\) of a"),
    "unlike ANY behind CASE": (
        lambda c: case((any_(listed) != c, True), else_=False),
        r"or_\(\) of a",
    ),
    "like ALL of a bind": (lambda c: all_(given) == c, r"and_\(\) of a"),
    "a column like ALL of a bind": (lambda c: c == all_(given), r"and_\(\) of a"),
}


@pytest.mark.parametrize("criterion, instead", ANY.values(), ids=ANY.keys())
@pytest.mark.parametrize("compared", [number, index], ids=["column", "index"])
def test_any_and_all_say_what_to_write_instead(sqlite_clinic, criterion, instead, compared):
    with sqlite_clinic.session() as session, sqlite_clinic.statements() as seen:
        with pytest.raises(UnsupportedOperationError, match=f"write {instead}") as caught:
            session.execute(select(Patient.id).where(criterion(compared)))
        assert_absent(CANARY, caught.value)
        assert seen == []
