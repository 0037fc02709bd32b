"""Names of encrypted columns in raw SQL, wherever in a statement of SQLAlchemy's they stand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Date,
    Integer,
    MetaData,
    String,
    Table,
    and_,
    case,
    cast,
    column,
    desc,
    exists,
    extract,
    func,
    literal,
    literal_column,
    select,
    text,
    type_coerce,
    update,
)
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.orm import aliased

from encfields import EncryptedType
from encfields.errors import UnsupportedOperationError
from encfields.orm.query.refused_usage import refuse_usage
from encfields.testing import assert_absent
from tests.database import CANARY, Database
from tests.index.clinic import Claim, Patient, claim, patient
from tests.turns import databases_by_turns

pytestmark = databases_by_turns

value: Any = CANARY
raw: Any = literal_column("ssn", String)
of_patient: Any = literal_column("patient.ssn")
compared: Any = text("ssn = :x").bindparams(x=value)


def within(made: Any) -> Any:
    """What a subquery or a CTE delivers, compared with the value."""
    return select(made.c.id).where(made.c.n == value)


def compared_in(place: str) -> Any:
    """A SELECT with a comparison in raw SQL before or after its clauses."""
    return getattr(select(Patient.id), place)(text("WHERE ssn = :x").bindparams(x=value))


named: Any = select(Patient.id, raw.label("n")).subquery()
row: Any = text("to_jsonb(patient) ->> 'ssn' = :x").bindparams(x=value)


CONDITIONS: dict[str, Callable[[], Any]] = {
    "under CAST": lambda: cast(raw, String) == value,
    "under another type": lambda: type_coerce(column("ssn"), String).like(value),
    "under a label": lambda: raw.label("n") == value,
    "under a label, in a list": lambda: and_(raw.label("n").in_([value]), Patient.id > 0),
    "negative": lambda: -of_patient == value,
    "in EXTRACT": lambda: extract("year", column("ssn")) == value,
    "as what a CASE gives": lambda: case((Patient.id == 1, raw), else_=None) == value,
    "delivered by a subquery": lambda: literal(value).in_(select(raw).select_from(Patient)),
    "equal to what a subquery delivers": lambda: (
        select(raw).select_from(Patient).where(Patient.id == 1).scalar_subquery() == value
    ),
    "delivered by a UNION": lambda: literal(value).in_(
        select(Patient.name).union_all(select(raw).select_from(Patient))
    ),
    "of the statement around": lambda: exists(select(Claim.id).where(of_patient == value)),
    "of the statement around raw SQL": lambda: exists(
        select(literal(1)).select_from(text("claim")).where(of_patient == value)
    ),
    "in a whole row": lambda: row,
    "without a value of its own": lambda: and_(text("ssn LIKE 'canary%'"), Patient.id > 0),
    "without one, as a column": lambda: literal_column("ssn = mail"),
    "after an escaped quote": lambda: text(r"name = '\'' OR ssn = :x OR name = 'y'").bindparams(
        x=value
    ),
    "after PostgreSQL's quotes": lambda: text("name = $$'$$ OR ssn = :x OR name = 'y'").bindparams(
        x=value
    ),
    "after a quote in a name": lambda: text("name = \"O'\" OR ssn = :x OR name = 'y'").bindparams(
        x=value
    ),
    "after MySQL's comment": lambda: text("id = 1 # '\n OR ssn = :x OR name = 'y'").bindparams(
        x=value
    ),
    "in a comment that MySQL executes": lambda: text("id = 1 /*! OR ssn = :x */").bindparams(
        x=value
    ),
    "by its index": lambda: text("ssn_bidx = :x").bindparams(x=value),
    "by its index, value first in raw SQL": lambda: text(":x = ssn_bidx").bindparams(x=value),
    "by its index, between values": lambda: text("ssn_bidx BETWEEN :x AND :x").bindparams(x=value),
    "by a part of its index": lambda: text("substr(ssn_bidx, 1, 2) = :x").bindparams(x=value),
    "by a name of its index": lambda: column("ssn_bidx") == value,
    "by its index, value first": lambda: literal(value) == patient.c.ssn_bidx,
    "by its index, in a list": lambda: literal(value).in_([patient.c.ssn_bidx]),
    "by its index, in a function": lambda: func.lower(patient.c.ssn_bidx) == value,
    "of the statement around nothing": lambda: select(raw == value).scalar_subquery(),
}

STATEMENTS: dict[str, Callable[[], Any]] = {
    "before the columns": lambda: compared_in("prefix_with"),
    "at the end": lambda: compared_in("suffix_with"),
    "at the end, sorted by": lambda: select(Patient.id).suffix_with("ORDER BY ssn"),
    "at the end, grouped by": lambda: select(func.count(Patient.id)).suffix_with("GROUP BY ssn"),
    "in a hint": lambda: select(Patient.id).with_statement_hint("ORDER BY ssn"),
    "in FROM": lambda: select(patient.c.id).select_from(
        text("claim JOIN patient ON patient.ssn = :x").bindparams(x=value)
    ),
    "in a JOIN": lambda: select(Patient.id).join(Claim, text("claim.ssn = patient.ssn")),
    "in a JOIN of tables": lambda: select(claim.c.id).join(patient, of_patient == value),
    "in a JOIN of tables, in a text": lambda: select(claim.c.id).join(
        patient, text("patient.ssn = :x").bindparams(x=value)
    ),
    "the condition of a JOIN of tables": lambda: select(claim.c.id).join(patient, patient.c.ssn),
    "before what an UPDATE writes": lambda: (
        update(patient).prefix_with(text("/* */ ssn = :x").bindparams(x=value)).values(name="x")
    ),
    "counted, the equal ones once": lambda: select(
        text("id, count(DISTINCT ssn) AS n")
    ).select_from(patient),
    "the last": lambda: select(literal_column("max(patient.ssn)").label("n")).select_from(patient),
    "given to a function": lambda: select(text("id, upper(ssn) AS s")).select_from(patient),
    "a part of an expression": lambda: select(literal_column("ssn || 'x'")).select_from(patient),
    "in a CAST": lambda: select(cast(raw, String)).select_from(patient),
    "a whole row in raw SQL, by a star": lambda: select(
        text("count(*), row_to_json(patient.*)")
    ).select_from(patient),
    "a whole row as a text": lambda: select(Patient.id).where(text("patient.*::text LIKE 'x'")),
    "a whole row in raw SQL": lambda: select(text("json_agg(patient)")).select_from(patient),
    "returned by a function": lambda: (
        update(patient).values(name="x").returning(literal_column("upper(ssn)"))
    ),
    "sorted by, in a word": lambda: select(Patient.id).order_by("ssn"),
    "sorted by, in a word beside a label": lambda: select(Patient.id, text("name AS ssn")).order_by(
        desc("ssn")
    ),
    "sorted by, in a word with its table": lambda: select(Patient.id, Patient.ssn).order_by(
        "patient_ssn"
    ),
    "grouped by, in a word": lambda: select(func.count(Patient.id)).group_by("ssn"),
    "sorted by its index": lambda: select(Patient.id).order_by(Patient.ssn.blind().desc()),
    "sorted by its index's column": lambda: select(Patient.id).order_by(patient.c.ssn_bidx),
    "sorted by a name of its index": lambda: select(Patient.id).order_by(text("name, ssn_bidx")),
    "numbered by its index": lambda: select(
        func.rank().over(order_by=[Patient.name, Patient.ssn.blind()])
    ),
    "the condition of a CASE": lambda: select(case((text("ssn = 'x'"), 1), else_=0)).select_from(
        Patient
    ),
    "the condition of a FILTER": lambda: select(func.count(Patient.id).filter(text("ssn = 'x'"))),
    "counted, the equal ones once, in a function": lambda: select(
        func.count(text("DISTINCT ssn"))
    ).select_from(Patient),
    "counted where it is": lambda: select(func.count(text("ssn = 'x' OR NULL"))).select_from(
        Patient
    ),
    "returned by a function, as a text": lambda: (
        update(patient).values(name="x").returning(text("upper(ssn) AS s"))
    ),
    "in WITHIN GROUP": lambda: select(func.mode().within_group(raw)).select_from(Patient),
    "compared by the order of hashes": lambda: select(Patient.id).join(
        Claim, claim.c.ssn_bidx < patient.c.ssn_bidx
    ),
    "DISTINCT, in a word": lambda: select(Claim.ssn).prefix_with("DISTINCT"),
    "DISTINCT ON": lambda: select(Patient.id).prefix_with("DISTINCT ON (ssn)"),
    "DISTINCT in a subquery": lambda: select(named.c.n).distinct(),
    "in a UNION": lambda: select(raw).select_from(Patient).union(select(literal_column("'x'"))),
    "sorted by, under its label": lambda: select(raw.label("n")).select_from(Patient).order_by("n"),
    "sorted by, as a subquery's": lambda: select(named.c.id).order_by(named.c.n.desc()),
    "sorted by, as what a subquery gives": lambda: select(Claim.id).order_by(
        select(raw).select_from(Patient).scalar_subquery()
    ),
    "grouped by, as a subquery's": lambda: select(func.count(named.c.id)).group_by(named.c.n),
    "numbered by, as a subquery's": lambda: select(func.rank().over(order_by=named.c.n)),
    "in a function, as a subquery's": lambda: select(func.max(named.c.n)),
    "a whole row": lambda: select(patient.table_valued()),
    "a whole row of a subquery": lambda: select(
        func.to_jsonb(select(patient).subquery().table_valued())
    ),
    "a whole row, by name": lambda: select(func.to_jsonb(literal_column("patient"))).select_from(
        Patient
    ),
    "a selected comparison": lambda: select(
        text("ssn = :x AS same").bindparams(x=value)
    ).select_from(Patient),
    "a numbered alias": lambda: select((p := aliased(Patient)).id).where(
        text("patient_1.ssn = :x").bindparams(x=value), p.id > 0
    ),
    "a subquery's column": lambda: within(named),
    "the column of a CTE of a subquery": lambda: within(select(named).cte()),
    "a value below it in a UNION": lambda: (
        select(raw).select_from(Patient).union_all(select(literal(value)))
    ),
    "set, in raw SQL": lambda: update(patient).values(name=text("ssn || :x").bindparams(x=value)),
    "set, in a function": lambda: update(patient).values(name=func.nullif(raw, value)),
    "set, in a CASE": lambda: update(patient).values(name=case((compared, "a"), else_="b")),
    "of another table of an UPDATE": lambda: (
        update(claim).where(Claim.id == Patient.id, of_patient == value).values(amount=1)
    ),
    "returned": lambda: update(patient).values(name="x").returning(raw == value),
    "an upsert's condition": lambda: (
        insert(patient)
        .values(id=1, name="x")
        .on_conflict_do_update(
            index_elements=["id"],
            set_={"name": "y"},
            where=text("patient.ssn = :x").bindparams(x=value),
        )
    ),
    "an upsert's SET": lambda: (
        insert(patient)
        .values(id=1, name="x")
        .on_conflict_do_update(
            index_elements=["id"], set_={"name": text("excluded.ssn || :x").bindparams(x=value)}
        )
    ),
}


def _condition(make: Callable[[], Any]) -> Callable[[], Any]:
    return lambda: select(Patient.id).where(make())


STATEMENTS |= {name: _condition(make) for name, make in CONDITIONS.items()}


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_name_that_is_given_a_value_to_compare_is_refused_and_nothing_is_sent(
    sqlite_clinic: Database, name: str
) -> None:
    refused = pytest.raises(UnsupportedOperationError, match=r"\.ssn(_bidx)?: ")
    with sqlite_clinic.statements() as seen, sqlite_clinic.session() as session:
        with refused as caught:
            session.execute(STATEMENTS[name]())
        assert_absent(CANARY, caught.value)
    assert seen == []


def test_a_parameter_that_is_none_may_be_a_value_in_the_next_execution(
    sqlite_clinic: Database,
) -> None:
    """SQLAlchemy keeps one compiled statement for both."""
    refused = pytest.raises(UnsupportedOperationError, match=r"null\(\) in its place")
    with sqlite_clinic.session() as session, refused:
        session.execute(select(Patient.id, Patient.ssn).union_all(select(Claim.id, literal(None))))


OF_TWO = and_(Patient.id == 2, literal_column("length(patient.ssn)") > 200)
ANSWERED: dict[str, Callable[[], Any]] = {
    "its size": lambda: select(Patient.id).where(OF_TWO),
    "how many": lambda: (
        select(Patient.id)
        .group_by(Patient.id)
        .having(text("count(ssn) = :n AND id = 2").bindparams(n=1))
    ),
    "how many, as a column": lambda: (
        select(Patient.id)
        .where(Patient.id == 2)
        .group_by(Patient.id)
        .having(literal_column("count(ssn)") == 1)
    ),
    "sorted by whether it is NULL": lambda: (
        select(Patient.id)
        .where(Patient.id == 2)
        .order_by(text("patient.ssn IS NULL DESC, (mail IS NOT NULL), id"))
    ),
    "sorted by a label that is not its column's": lambda: (
        select(text("id, name AS ssn"))
        .select_from(patient)
        .where(text("id = 2"))
        .order_by(text("ssn DESC"))
    ),
    "grouped by its index": lambda: (
        select(func.min(Patient.id)).where(Patient.id == 2).group_by(patient.c.ssn_bidx)
    ),
    "its size, selected": lambda: select(text("id, length(ssn) AS size")).where(Patient.id == 2),
    "whether it is NULL, selected": lambda: select(text("id, ssn IS NULL AS missing")).where(
        Patient.id == 2
    ),
    "a name as a text": lambda: select(Patient.id).where(
        text("""'patient' = 'patient' AND id = :n""").bindparams(n=2)
    ),
    "a join by hashes": lambda: (
        select(Patient.id)
        .join(Claim, claim.c.ssn_bidx == patient.c.ssn_bidx)
        .where(text("claim.ssn_bidx = patient.ssn_bidx AND claim.id = :n").bindparams(n=3))
    ),
    "the end of a statement": lambda: (
        select(Patient.id).where(Patient.id > 1).suffix_with("ORDER BY id LIMIT 1")
    ),
    "DISTINCT with the key": lambda: (
        select(Patient.id, Patient.ssn).where(Patient.id == 2).prefix_with("DISTINCT")
    ),
    "in a query of its own": lambda: select(Patient.id).where(
        text(
            "patient.id IN (WITH t AS (SELECT 2 AS id, 'a' AS ssn) SELECT id FROM t WHERE ssn = :n)"
        ).bindparams(n="a")
    ),
    "a part of another": lambda: select(Patient.id).where(
        text("patient.id = :n OR '{}' = :m").bindparams(n=2, m="ssn")
    ),
    "a value beside it": lambda: select(Patient.id, text("ssn, :n").bindparams(n="x")).where(
        Patient.id == 2
    ),
}


@pytest.mark.parametrize("name", ANSWERED)
def test_what_a_message_tells_as_well_as_its_value_may_be_asked(
    clinic: Database, name: str
) -> None:
    with clinic.begin() as connection:
        assert connection.execute(ANSWERED[name]()).scalars().all() == [2]


def test_a_word_of_sql_is_no_whole_row_of_a_table_of_its_name() -> None:
    order = Table(
        "order",
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("ssn", EncryptedType()),
    )
    ended = select(order.c.id).suffix_with(text("ORDER BY id LIMIT :n").bindparams(n=1))
    refuse_usage(ended.compile())
    starred = select(text('"order".*, count("order".*), ("order".*) IS NULL, id * 2')).select_from(
        order
    )
    refuse_usage(starred.compile())
    named = select(func.to_json(literal_column('"order"'))).select_from(order)
    with pytest.raises(UnsupportedOperationError, match=r"order\.ssn: "):
        refuse_usage(named.compile())


@pytest.mark.parametrize("sql", ["ssn ISNULL AND id < :n", "NOT (ssn NOTNULL) AND id < :n"])
def test_null_may_be_asked_for_in_a_word(sqlite_clinic: Database, sql: str) -> None:
    asked = select(Patient.id).where(text(sql).bindparams(n=100))
    with sqlite_clinic.session() as session:
        assert session.scalars(asked).all() == [4]


@pytest.mark.parametrize(
    "criterion",
    [
        text("taken > DATE '2020-01-01' AND id = :n"),
        text("extract(year FROM taken) > :n"),
        text("taken > now() - INTERVAL 1 YEAR AND id = :n"),
        text("taken > now() - INTERVAL :n year"),
        func.timestampdiff(text("YEAR"), column("taken"), func.now()) > 1,
        text("taken AT TIME ZONE 'UTC' > CAST(:n AS timestamp with time zone)"),
        text("'2020'::\"year\" < :n AND 'x' COLLATE \"year\" <> $$year$$"),
        text("num_nonnulls(person.year, date) = :n"),
        literal_column("rank() OVER (ORDER BY taken DESC NULLS LAST ROWS CURRENT ROW)") == 1,
    ],
    ids=str,
)
def test_a_word_of_sql_is_no_column_of_its_name(criterion: Any) -> None:
    """Which may be encrypted: the birth of somebody, for instance."""
    person = Table(
        "person",
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("taken", Date),
        Column("date", EncryptedType(Date)),
        Column("year", EncryptedType(Integer)),
        *(Column(name, EncryptedType()) for name in ("time", "desc", "last", "current")),
    )
    refuse_usage(select(person.c.id).where(criterion).compile())
    named = text("year = :n")
    with pytest.raises(UnsupportedOperationError):
        refuse_usage(select(person.c.id).where(criterion, named).compile())
