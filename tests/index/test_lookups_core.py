"""Core statements are answered by blind indexes, whatever the type and the shape."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import uuid
from typing import Any

import pytest
from sqlalchemy import (
    Boolean,
    Column,
    Date,
    DateTime,
    Enum,
    Integer,
    Interval,
    LargeBinary,
    MetaData,
    Numeric,
    String,
    Table,
    Text,
    Time,
    Uuid,
    bindparam,
    delete,
    exists,
    func,
    insert,
    literal,
    literal_column,
    null,
    select,
    text,
    union_all,
    update,
)

from encfields import BlindIndex, EncryptedType, SqlKeyStore, attach, keyrings
from encfields.errors import (
    NotAttachedError,
    UnboundValueError,
    UnreadableError,
    UnsupportedOperationError,
    ValueEncodingError,
)
from encfields.index.transforms import casefold, digits, first, first_letter, last, year
from encfields.testing import assert_absent
from tests.database import CANARY
from tests.index.clinic import Base, claim, fill, patient, sent


def scalars(db: Any, statement: Any, *parameters: Any) -> list[Any]:
    with db.engine.connect() as connection:
        return sorted(connection.execute(statement, *parameters).scalars())


# -- shapes ---------------------------------------------------------------------------------------


def test_a_table_an_alias_and_an_alias_of_a_subquery_are_asked(clinic):
    p = patient.alias("p")
    assert scalars(clinic, select(patient.c.id).where(patient.c.ssn == "ssn-1")) == [1]
    assert scalars(clinic, select(p.c.id).where(p.c.ssn.in_(["ssn-1", "ssn-2"]))) == [1, 2]
    assert scalars(clinic, select(p.c.id).where(p.c.ssn != "ssn-1")) == [2, 3]
    inner = select(p.c.id).where(p.c.ssn == "ssn-3").subquery()
    assert scalars(clinic, select(inner.c.id)) == [3]


def test_a_cte_is_asked_inside(clinic):
    cte = select(patient.c.id).where(patient.c.ssn != "ssn-1").cte("others")
    assert scalars(clinic, select(cte.c.id).where(cte.c.id > 1)) == [2, 3]


def test_a_union_is_asked_in_each_part(clinic):
    both = union_all(
        select(patient.c.id, patient.c.ssn).where(patient.c.ssn == "ssn-1"),
        select(patient.c.id, patient.c.ssn).where(patient.c.ssn == "ssn-3"),
    )
    with clinic.engine.connect() as connection:
        rows = sorted(tuple(row) for row in connection.execute(both))
    assert rows == [(1, "ssn-1"), (3, "ssn-3")]


def test_insert_from_select_takes_the_rows_that_are_found(clinic):
    found = Table("found", MetaData(), Column("id", Integer, primary_key=True))
    clinic.create(found.metadata)
    with clinic.begin() as connection:
        rows = select(patient.c.id).where(patient.c.ssn.in_(["ssn-2", "ssn-3"]))
        connection.execute(insert(found).from_select(["id"], rows))
    assert scalars(clinic, select(found.c.id)) == [2, 3]


def test_update_and_delete_are_asked(clinic):
    with clinic.begin() as connection:
        done = connection.execute(
            update(patient).where(patient.c.ssn == "ssn-1").values(name="new")
        )
        assert done.rowcount == 1
        done = connection.execute(delete(patient).where(patient.c.ssn.not_in(["ssn-1", "ssn-2"])))
        assert done.rowcount == 1
        matching = exists().where(claim.c.ssn == patient.c.ssn, claim.c.amount == 30)
        connection.execute(update(patient).where(matching).values(name="claimed"))
    assert scalars(clinic, select(patient.c.name)) == ["claimed", "name-4", "new"]


def test_update_and_delete_are_asked_with_many_parameters(clinic):
    with clinic.begin() as connection:
        connection.execute(
            update(patient).where(patient.c.ssn == bindparam("q")).values(name=bindparam("n")),
            [{"q": "ssn-1", "n": "a"}, {"q": "ssn-2", "n": "b"}, {"q": "ssn-9", "n": "c"}],
        )
        connection.execute(
            delete(claim).where(claim.c.ssn == bindparam("q")), [{"q": "ssn-1"}, {"q": "ssn-9"}]
        )
    names = select(patient.c.name).where(patient.c.ssn.is_not(None))
    assert scalars(clinic, names) == ["a", "b", "name-3"]
    assert scalars(clinic, select(claim.c.id)) == [3, 5]


def test_an_update_sets_an_encrypted_column_of_a_row_that_a_look_up_confirms(clinic):
    """An optimistic update: the row is pinned by its key, and its value must be as expected."""
    with clinic.begin() as connection:
        for number, expected in (("wrong", 0), ("ssn-1", 1)):
            done = connection.execute(
                update(patient)
                .where(patient.c.id == 1, patient.c.ssn == number)
                .values(ssn="changed", notes="n")
            )
            assert done.rowcount == expected
    assert scalars(clinic, select(patient.c.id).where(patient.c.ssn == "changed")) == [1]
    assert scalars(clinic, select(patient.c.id).where(patient.c.ssn == "ssn-1")) == []


def test_a_named_bind_takes_many_values(clinic):
    statement = select(patient.c.id).where(patient.c.ssn == bindparam("q"))
    listed = select(patient.c.id).where(patient.c.ssn.in_(bindparam("q", expanding=True)))
    for n in (1, 2, 3):
        assert scalars(clinic, statement, {"q": f"ssn-{n}"}) == [n]
        assert scalars(clinic, listed, {"q": [f"ssn-{n}", "ssn-1"]}) == sorted({1, n})
    assert scalars(clinic, listed, {"q": []}) == []


# -- a subquery that carries the index ------------------------------------------------------------


def test_a_subquery_that_selects_the_index_is_searched_by_the_column_and_by_the_index(clinic):
    inner = select(patient.c.id, patient.c.ssn, patient.c.ssn.blind().label("k")).subquery()
    for where in (inner.c.ssn == "ssn-2", inner.c.k == "ssn-2", inner.c.k.in_(["ssn-2", "x"])):
        assert scalars(clinic, select(inner.c.id).where(where)) == [2]
    assert scalars(clinic, select(inner.c.id).where(inner.c.ssn != "ssn-2")) == [1, 3]
    assert scalars(clinic, select(inner.c.id).where(inner.c.k != "ssn-2")) == [1, 3]
    assert scalars(clinic, select(inner.c.id).where(inner.c.k.is_(None))) == [4]


def test_a_cte_and_an_alias_of_a_subquery_carry_the_index(clinic):
    rows = select(patient.c.id, patient.c.ssn, patient.c.ssn.blind().label("k"))
    for source in (rows.cte("c"), rows.subquery().alias("a"), rows.subquery().alias().alias()):
        assert scalars(clinic, select(source.c.id).where(source.c.ssn == "ssn-2")) == [2]
        joined = select(claim.c.id).join(source, source.c.ssn == claim.c.ssn)
        assert scalars(clinic, joined) == [1, 2, 3]
        by_index = select(claim.c.id).join(source, source.c.k == claim.c.ssn.blind())
        assert scalars(clinic, by_index) == [1, 2, 3]


def test_the_index_of_one_alias_does_not_serve_another(clinic):
    """A subquery of two patients has the second's number and the first's index."""
    one, two = patient.alias("one"), patient.alias("two")
    for left, right in ((one, two), (patient, two), (two, patient)):
        index = left.c.ssn.blind().label("k")
        selected = select(left.c.id, right.c.ssn, index)
        unknown = selected.join_from(left, right, left.c.id == right.c.id + 5).subquery()
        with pytest.raises(UnreadableError, match="carries neither the column's blind index"):
            scalars(clinic, select(unknown.c.id).where(unknown.c.ssn == "ssn-1"))
        known = selected.add_columns(right.c.id.label("other"))
        inner = known.join_from(left, right, left.c.id == right.c.id + 1).subquery()
        assert scalars(clinic, select(inner.c.id).where(inner.c.ssn == "ssn-1")) == [2]
        assert scalars(clinic, select(inner.c.id).where(inner.c.k == "ssn-2")) == [2]


def test_a_grouped_index_is_asked(clinic):
    key = claim.c.ssn.blind().label("k")
    counts = select(key, func.count().label("n")).group_by(key).subquery()
    assert scalars(clinic, select(counts.c.n).where(counts.c.k == "ssn-1")) == [2]
    joined = select(patient.c.id, counts.c.n).join(counts, counts.c.k == patient.c.ssn)
    with clinic.engine.connect() as connection:
        assert sorted(tuple(row) for row in connection.execute(joined)) == [(1, 2), (2, 1)]


def test_a_subquery_without_the_index_is_asked_by_its_rows_keys(clinic):
    selected = select(patient.c.id.label("n"), patient.c.ssn.label("number"))
    chained = select(selected.cte("first")).cte("second")
    parts = selected.where(patient.c.id < 3), selected.where(patient.c.id > 2)
    hashed = [part.add_columns(patient.c.ssn.blind().label("k")) for part in parts]
    start = selected.where(patient.c.id == 1).cte("steps", recursive=True)
    steps = start.union_all(selected.join(start, patient.c.id == start.c.n + 1))
    for inner in (
        *(selected.subquery(), selected.cte(), chained, selected.subquery().alias()),
        *(union_all(*parts).subquery(), union_all(*parts).cte(), union_all(*hashed).subquery()),
        steps,
    ):
        assert scalars(clinic, select(inner.c.n).where(inner.c.number == "ssn-2")) == [2]
        assert scalars(clinic, select(inner.c.n).where(inner.c.number != "ssn-2")) == [1, 3]
        either = inner.c.number.in_(["ssn-1", "ssn-2"])
        assert scalars(clinic, select(inner.c.n).where(either)) == [1, 2]
        joined = select(claim.c.id).join(inner, inner.c.number == claim.c.ssn)
        assert scalars(clinic, joined) == [1, 2, 3]


def crossed_union() -> Any:
    one, two = patient.alias("one"), patient.alias("two")
    follows = one.c.id == two.c.id + 1
    left = select(one.c.id, two.c.ssn, one.c.ssn.blind().label("k")).join(two, follows)
    right = select(two.c.id, one.c.ssn, two.c.ssn.blind().label("k")).join(one, follows)
    return union_all(left, right).subquery()


WITHOUT_A_ROW = {
    "no key": lambda: select(patient.c.ssn).subquery(),
    "a UNION of one row's key and another's value": crossed_union,
    "a UNION with keys in two places": lambda: union_all(
        select(patient.c.id, literal(0).label("n"), patient.c.ssn),
        select(literal(0), patient.c.id, patient.c.ssn),
    ).subquery(),
    "a UNION with NULL": lambda: union_all(
        select(patient.c.id, patient.c.ssn), select(patient.c.id, null())
    ).subquery(),
    "a text": lambda: (
        text("SELECT id, ssn FROM patient").columns(patient.c.id, patient.c.ssn).cte()
    ),
    "a write": lambda: (
        update(patient)
        .where(patient.c.id == 2)
        .values(ssn=None)
        .returning(patient.c.id, patient.c.ssn)
        .cte()
    ),
}


@pytest.mark.parametrize("make", WITHOUT_A_ROW.values(), ids=WITHOUT_A_ROW.keys())
def test_a_subquery_without_index_or_row_says_what_to_select(sqlite_clinic, make):
    inner = make()
    with pytest.raises(UnreadableError, match=r"select column\.blind\('exact'\) in it too"):
        scalars(sqlite_clinic, select(func.count()).where(inner.c.ssn == "ssn-2"))


# -- types ----------------------------------------------------------------------------------------


class Kind(enum.Enum):
    CASH = 1
    CARD = 2


WHY = "few values, and known to whoever reads the rows anyway"
TYPES: dict[str, tuple[Any, Any, Any]] = {
    "String": (String(20), "a", "b"),
    "Text": (Text(), "a" * 5000, "a" * 5001),
    "Integer": (Integer(), 0, -7),
    "Numeric": (Numeric(10, 2), decimal.Decimal("1.5"), decimal.Decimal("1.51")),
    "Date": (Date(), dt.date(1999, 12, 31), dt.date(2000, 1, 1)),
    "DateTime": (DateTime(), dt.datetime(1999, 1, 1, 1, 2, 3, 4), dt.datetime(1999, 1, 1)),
    "Time": (Time(), dt.time(1, 2, 3), dt.time(1, 2)),
    "Interval": (Interval(), dt.timedelta(seconds=1), dt.timedelta(days=1)),
    "Uuid": (Uuid(), uuid.UUID(int=1), uuid.UUID(int=2)),
    "LargeBinary": (LargeBinary(), b"\x00\xff", b"\x00"),
    "Enum": (Enum(Kind), Kind.CASH, Kind.CARD),
    "Enum of strings": (Enum("cash", "card"), "cash", "card"),
    "Boolean": (Boolean(), True, False),
}


@pytest.mark.parametrize("name", TYPES)
def test_every_type_with_a_scalar_value_is_looked_up(db, name):
    inner, one, other = TYPES[name]
    table = Table(
        "typed",
        MetaData(),
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("v", EncryptedType(inner, index=BlindIndex(accept_leakage=WHY))),
    )
    db.create(table.metadata)
    rows = [{"id": 1, "v": one}, {"id": 2, "v": other}, {"id": 3, "v": None}, {"id": 4, "v": one}]
    with db.begin() as connection:
        connection.execute(insert(table), rows)
    key, value = table.c.id, table.c.v
    assert scalars(db, select(key).where(value == one)) == [1, 4]
    assert scalars(db, select(key).where(value == other)) == [2]
    assert scalars(db, select(key).where(value != one)) == [2]
    assert scalars(db, select(key).where(value.in_([one, other]))) == [1, 2, 4]
    assert scalars(db, select(key).where(value.in_([other, None]))) == [2]
    assert scalars(db, select(key).where(value.not_in([other]))) == [1, 4]
    assert scalars(db, select(key).where(value == bindparam("q")), {"q": other}) == [2]
    assert scalars(db, select(key).where(value.is_(None))) == [3]
    assert scalars(db, select(value).where(value == other)) == [other]


def test_a_number_is_found_however_its_scale_is_written(sqlite_db):
    table = Table(
        "price",
        MetaData(),
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("v", EncryptedType(Numeric(10, 2), index=BlindIndex())),
    )
    sqlite_db.create(table.metadata)
    with sqlite_db.begin() as connection:
        connection.execute(insert(table), [{"id": 1, "v": decimal.Decimal("1.5")}])
    for asked in ("1.5", "1.50"):
        found = select(table.c.id).where(table.c.v == decimal.Decimal(asked))
        assert scalars(sqlite_db, found) == [1]


# -- values that the column cannot hold -----------------------------------------------------------

WRONG: dict[str, Any] = {
    "==": lambda: patient.c.ssn == [CANARY],
    "!=": lambda: patient.c.ssn != {CANARY: 1},
    "in": lambda: patient.c.ssn.in_([47114711]),
    "blind": lambda: patient.c.ssn.blind("last1") == 47114711,
    "compared with a number": lambda: patient.c.ssn == 47114711,
}


@pytest.mark.parametrize("name", WRONG)
def test_a_value_of_another_type_is_refused_without_being_shown(sqlite_clinic, name):
    with pytest.raises(ValueEncodingError, match="looked up") as caught:
        scalars(sqlite_clinic, select(patient.c.id, patient.c.ssn).where(WRONG[name]()))
    assert_absent(CANARY, caught.value)
    assert_absent("47114711", caught.value)
    assert (caught.value.table, caught.value.column) == ("patient", "ssn")


def test_a_value_too_long_for_the_column_is_no_rows_and_every_other_row_differs_from_it(clinic):
    long = "x" * 21
    assert scalars(clinic, select(patient.c.id).where(patient.c.ssn == long)) == []
    assert scalars(clinic, select(patient.c.id).where(patient.c.ssn.in_([long, "ssn-1"]))) == [1]
    assert scalars(clinic, select(patient.c.id).where(patient.c.ssn != long)) == [1, 2, 3]
    not_in = patient.c.ssn.not_in([long, "ssn-1"])
    assert scalars(clinic, select(patient.c.id).where(not_in)) == [2, 3]


# -- what must not pass ---------------------------------------------------------------------------


def test_one_bind_for_two_indexes_is_refused(clinic):
    ssn, mail = patient.c.ssn, patient.c.mail.blind("casefold")
    q: Any = bindparam("q")
    for criterion in (
        (ssn == q) | (mail == q),
        (mail == q) | (ssn == q),
        (ssn == q) | (ssn.blind("last1") == q),
        (ssn == q) | (patient.c.name == q),
        (patient.c.name == q) | (ssn == q),
    ):
        statement = select(patient.c.id, ssn).where(criterion)
        with sent_nothing(clinic), pytest.raises(UnsupportedOperationError, match="bind 'q'"):
            scalars(clinic, statement, {"q": CANARY})


def test_one_bind_that_is_written_and_looked_up_is_refused(sqlite_clinic):
    statement = update(patient).where(patient.c.ssn == bindparam("q")).values(name=bindparam("q"))
    with (
        sqlite_clinic.refused(UnsupportedOperationError, patient),
        sqlite_clinic.begin() as connection,
    ):
        connection.execute(statement, {"q": "ssn-1"})


def test_one_bind_for_two_columns_of_one_index_is_asked(clinic):
    statement = (
        select(claim.c.id)
        .join(patient, patient.c.id == claim.c.id)
        .where(patient.c.ssn == bindparam("q"), claim.c.ssn == bindparam("q"))
    )
    assert scalars(clinic, statement, {"q": "ssn-1"}) == [1]
    assert scalars(clinic, statement, {"q": "ssn-2"}) == []


def sent_nothing(db: Any) -> Any:
    return _Silence(db)


class _Silence:
    """Nothing is sent to the database meanwhile."""

    def __init__(self, db: Any) -> None:
        self._statements = db.statements()

    def __enter__(self) -> None:
        self._seen = self._statements.__enter__()

    def __exit__(self, *error: object) -> None:
        self._statements.__exit__(*error)
        assert self._seen == []


LITERALS: dict[str, Any] = {
    "literal_binds": lambda s, d: s.compile(dialect=d, compile_kwargs={"literal_binds": True}),
    "in": lambda s, d: (
        select(patient.c.id)
        .where(patient.c.ssn.in_([CANARY]))
        .compile(dialect=d, compile_kwargs={"literal_binds": True})
    ),
    "blind": lambda s, d: (
        select(patient.c.ssn)
        .where(patient.c.mail.blind("casefold") == CANARY)
        .compile(dialect=d, compile_kwargs={"literal_binds": True})
    ),
}


@pytest.mark.parametrize("name", LITERALS)
def test_a_value_is_never_rendered_into_the_statement(clinic, name):
    statement = select(patient.c.id).where(patient.c.ssn == CANARY)
    with pytest.raises(UnboundValueError) as caught:
        LITERALS[name](statement, clinic.engine.dialect)
    assert_absent(CANARY, caught.value)


def test_a_literal_execute_bind_is_refused(clinic):
    bind: Any = bindparam("q", CANARY, literal_execute=True)
    with sent_nothing(clinic), pytest.raises(UnboundValueError) as caught:
        scalars(clinic, select(patient.c.id).where(patient.c.ssn == bind))
    assert_absent(CANARY, caught.value)


SQL_VALUES: dict[str, Any] = {
    "text": lambda: patient.c.ssn == text("'canary-4711'"),
    "literal column": lambda: patient.c.ssn == literal_column("'canary-4711'"),
    "function": lambda: patient.c.ssn == func.lower(CANARY),
    "plain column": lambda: patient.c.ssn == patient.c.name,
    "in with a column": lambda: patient.c.ssn.in_([patient.c.name, CANARY]),
    "in a list of SQL": lambda: patient.c.ssn.in_([func.lower(CANARY), CANARY]),
}


@pytest.mark.parametrize("name", SQL_VALUES)
def test_a_value_that_only_sql_would_know_is_refused(sqlite_clinic, name):
    with sent_nothing(sqlite_clinic), pytest.raises(UnsupportedOperationError) as caught:
        scalars(sqlite_clinic, select(patient.c.id).where(SQL_VALUES[name]()))
    assert_absent(CANARY, caught.value)


def test_a_text_statement_knows_nothing_of_indexes(sqlite_clinic):
    """Its binds are the application's; one that is given an encrypted type is refused."""
    statement = text("SELECT id FROM patient WHERE ssn = :q")
    typed = statement.bindparams(bindparam("q", CANARY, type_=patient.c.ssn.type))
    view = statement.bindparams(bindparam("q", CANARY, type_=patient.c.ssn.blind().type))
    for refused in (typed, view):
        with sent_nothing(sqlite_clinic), pytest.raises(UnboundValueError) as caught:
            scalars(sqlite_clinic, refused)
        assert_absent(CANARY, caught.value)


def test_an_engine_without_keys_is_refused(sqlite_clinic):
    with (
        sqlite_clinic.plain.connect() as connection,
        pytest.raises(NotAttachedError) as caught,
    ):
        connection.execute(select(patient.c.id).where(patient.c.ssn == CANARY))
    assert_absent(CANARY, caught.value)


def test_two_engines_with_different_keys_ask_for_different_hashes(backend, clinic):
    other = backend.create_engine()
    store = SqlKeyStore(keyrings.local(b"k" * 32), table_name="other_keys")
    attach(other, store, create=True)
    statement = select(patient.c.id).where(patient.c.ssn == "ssn-1")
    with sent(clinic, "ssn-1-ssn-1"):
        assert scalars(clinic, statement) == [1]
    with other.connect() as connection:
        assert connection.execute(statement).all() == []
    assert scalars(clinic, statement) == [1]


# -- transforms -----------------------------------------------------------------------------------

TRANSFORMS: dict[str, tuple[Any, Any, str, list[Any]]] = {
    "casefold": (casefold, "Straße 5", "casefold", ["STRASSE 5", "straße 5", "Straße 5"]),
    "digits": (digits, "(030) 12-34", "digits", ["030 1234", "0301234", "(030) 12-34"]),
    "first": (first(3), "Lovelace", "first3", ["Lov", "Lovelace", "Lovely"]),
    "last": (last(4), "123-45-6789", "last4", ["6789", "123-45-6789", "000-00-6789"]),
    "first letter": (first_letter, "lovelace", "first_letter", ["L", "l", "Lovelace"]),
    "digits, then last": (digits.then(last(2)), "a1-b2-c3", "digits.last2", ["23", "1-2-3"]),
    "year": (year, dt.date(1815, 12, 10), "year", [1815, dt.date(1815, 1, 1)]),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_transform_is_looked_up_with_the_whole_value_or_with_its_result(db, name):
    transform, value, label, askings = TRANSFORMS[name]
    inner = Date() if name == "year" else String()
    table = Table(
        "transformed",
        MetaData(),
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("v", EncryptedType(inner, index=BlindIndex(transform))),
    )
    db.create(table.metadata)
    other = dt.date(1816, 12, 10) if name == "year" else "Other 99"
    with db.begin() as connection:
        connection.execute(insert(table), [{"id": 1, "v": value}, {"id": 2, "v": other}])
    for asked in askings:
        found = select(table.c.id).where(table.c.v.blind(label) == asked)
        assert scalars(db, found) == [1], "the index is as long as a whole hash: no row is needed"
        assert scalars(db, select(table.c.id).where(table.c.v.blind(label) != asked)) == [2]
        counted = select(func.count()).select_from(table).where(table.c.v.blind(label) == asked)
        assert scalars(db, counted) == [1]


def test_several_indexes_of_a_column_are_chosen_by_name(clinic):
    ssn = patient.c.ssn
    assert scalars(clinic, select(patient.c.id).where(ssn.blind("last1") == "2")) == [2]
    assert scalars(clinic, select(patient.c.id).where(ssn.blind("exact") == "ssn-2")) == [2]
    assert scalars(clinic, select(patient.c.id).where(ssn.blind("exact") == "2")) == []
    with pytest.raises(UnsupportedOperationError, match="'exact', 'last1'"):
        ssn.blind("last4")


def test_equality_prefers_the_index_over_the_whole_value(clinic):
    """The other one would need rows to compare, which a count has not."""
    assert Base.metadata.tables["patient"] is patient
    counted = select(func.count()).select_from(patient).where(patient.c.ssn == "ssn-2")
    assert scalars(clinic, counted) == [1]


def test_equality_of_a_column_with_a_transform_only_compares_whole_values(clinic):
    mail = patient.c.mail
    found = select(patient.c.id, mail)
    assert scalars(clinic, found.where(mail == "User2@x.org")) == [2]
    assert scalars(clinic, found.where(mail == "USER2@x.org")) == []
    assert scalars(clinic, found.where(mail.in_(["USER2@x.org", "User3@x.org"]))) == [3]
    assert scalars(clinic, found.where(mail.blind("casefold") == "USER2@x.org")) == [2]


def test_filled_again_the_answers_are_the_same(sqlite_clinic):
    with sqlite_clinic.begin() as connection:
        connection.execute(delete(patient))
        connection.execute(delete(claim))
    assert scalars(sqlite_clinic, select(patient.c.id).where(patient.c.ssn == "ssn-1")) == []
    fill(sqlite_clinic)
    assert scalars(sqlite_clinic, select(patient.c.id).where(patient.c.ssn == "ssn-1")) == [1]
