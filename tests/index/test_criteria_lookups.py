"""A look-up spelt in another way than ``column == value`` answers what a plain column answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Integer,
    MetaData,
    String,
    Table,
    TypeDecorator,
    and_,
    any_,
    bindparam,
    case,
    delete,
    exists,
    func,
    insert,
    literal,
    null,
    or_,
    select,
    text,
    tuple_,
    type_coerce,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, aliased, mapped_column

from encfields import BlindIndex, EncryptedType
from encfields.errors import UnknownIdentityError, UnreadableError, UnsupportedOperationError
from tests.database import CANARY, Database
from tests.index.clinic import Base, Claim, fill, patient, sent
from tests.raised import Raised

twins = Table(
    "twins",
    MetaData(),
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("number", Integer),
    Column("plain", String(20)),
    Column("secret", EncryptedType(String(20), index=BlindIndex())),
)
id_, number = twins.c.id, twins.c.number
other = twins.alias()

Condition = Callable[[Any], Any]

SPELT: dict[str, Condition] = {
    "a value first": lambda c: literal("a") == c,
    "a value first, differing": lambda c: literal("a") != c,
    "a value first, negated": lambda c: ~(literal("a") == c),
    "a value first, told apart": lambda c: literal("a").is_distinct_from(c),
    "NULL first": lambda c: literal(None, String) == c,
    "a value in columns": lambda c: literal("a").in_([c, func.lower("A")]),
    "a value in no column": lambda c: literal("a").not_in([c, func.lower("B")]),
    "within OR and AND": lambda c: or_(id_ == 4, (literal("a") == c) & (id_ > 1)),
    "within EXISTS": lambda c: exists().where(literal("c") == c),
    "within NOT EXISTS": lambda c: ~exists().where(literal("x") == c),
    "a value as a bind": lambda c: c.is_distinct_from(literal("a")),
    "told apart from NULL": lambda c: c.is_distinct_from(null()),
    "no other than NULL": lambda c: c.is_not_distinct_from(null()),
    "rows": lambda c: tuple_(number, c).in_([(1, "a"), (2, "b"), (9, "c")]),
    "no rows": lambda c: tuple_(number, c).in_([]),
    "not among rows": lambda c: tuple_(number, c).not_in([(1, "a"), (2, "b")]),
    "not among no rows": lambda c: tuple_(number, c).not_in([]),
    "rows with NULL": lambda c: tuple_(number, c).not_in([(1, "a"), (1, None)]),
    "a row": lambda c: tuple_(id_, c) == (1, "a"),
    "not a row": lambda c: tuple_(id_, c) != tuple_(1, "a"),
    "one of rows or else": lambda c: or_(id_ == 5, tuple_(number, c).in_([(1, "a")])),
    "a value first, in a subquery": lambda c: id_.in_(select(id_).where(literal("a") == c)),
    "a value first, in the ON of a join": lambda c: id_.in_(
        select(other.c.id).join(twins, and_(other.c.id == id_, literal("a") == c))
    ),
    "of the column's own type": lambda c: type_coerce(c, c.type) == "a",
    "one of a list, of its own type": lambda c: type_coerce(c, c.type).in_(["a", "b"]),
    "a value with a type": lambda c: c == type_coerce("a", String),
    "very many rows": lambda c: tuple_(id_, c).in_([(n, "a") for n in range(1500)]),
}

GIVEN: dict[str, Condition] = {
    "a bind first": lambda c: bindparam("x") == c,
    "told apart": lambda c: c.is_distinct_from(bindparam("x")),
    "not told apart": lambda c: c.is_not_distinct_from(bindparam("x")),
    "told apart, a bind first": lambda c: bindparam("x").is_not_distinct_from(c),
    "told apart, negated": lambda c: ~c.is_distinct_from(bindparam("x")),
    "not told apart, negated": lambda c: ~c.is_not_distinct_from(bindparam("x")),
}


def _fill(db: Database) -> None:
    values = [(1, "a"), (2, "b"), (2, "a"), (3, None), (None, "c")]
    rows = [
        {"id": n, "number": number, "plain": value, "secret": value}
        for n, (number, value) in enumerate(values, start=1)
    ]
    with db.begin() as connection:
        connection.execute(twins.insert(), rows)


@pytest.fixture
def filled(shared_tables: None, db: Database) -> Database:
    db.share(twins.metadata, fill=_fill)
    return db


def found(connection: Any, condition: Any, **given: Any) -> list[int]:
    return sorted(connection.scalars(select(id_).where(condition), given))


def test_it_finds_what_it_finds_of_a_plain_column(filled: Database) -> None:
    with filled.begin() as connection:
        for name, condition in SPELT.items():
            expected = found(connection, condition(twins.c.plain))
            assert found(connection, condition(twins.c.secret)) == expected, name


def test_a_value_that_comes_with_the_execution_may_be_null(filled: Database) -> None:
    with filled.begin() as connection:
        for name, condition in GIVEN.items():
            for x in ("a", None, "z"):
                expected = found(connection, condition(twins.c.plain), x=x)
                assert found(connection, condition(twins.c.secret), x=x) == expected, (name, x)


def test_rows_are_changed_and_deleted_by_it(filled: Database) -> None:
    secret = twins.c.secret
    with filled.begin() as connection:
        changed = update(twins).values(plain="new").where(tuple_(id_, secret).in_([(1, "a")]))
        assert connection.execute(changed).rowcount == 1
        assert connection.execute(delete(twins).where(literal("a") == secret)).rowcount == 2
        gone = delete(twins).where(secret.is_distinct_from(bindparam("x")))
        assert connection.execute(gone, {"x": "c"}).rowcount == 2


def test_a_value_first_is_looked_up_by_inserts_too(filled: Database) -> None:
    selected = select(id_ + 100, literal(9)).where(literal("a") == twins.c.secret)
    with filled.begin() as connection:
        connection.execute(twins.insert().from_select(["id", "number"], selected))
        assert found(connection, id_ > 100) == [101, 103]
        if filled.name in ("sqlite", "postgresql"):
            upsert = (sqlite if filled.name == "sqlite" else postgresql).insert(twins)
            for value, expected in (("a", [9]), ("b", [])):
                numbered = upsert.values(id=1, number=9).on_conflict_do_update(
                    index_elements=["id"],
                    set_={"number": 9},
                    where=literal(value) == twins.c.secret,
                )
                written = connection.scalars(numbered.returning(twins.c.number)).all()
                assert written == expected


def test_the_value_goes_nowhere(sqlite_db: Database) -> None:
    sqlite_db.create(Base.metadata, is_empty=True)
    fill(sqlite_db)
    with sent(sqlite_db), sqlite_db.begin() as connection:
        for condition in (
            literal(CANARY) == patient.c.ssn,
            tuple_(patient.c.id, patient.c.ssn).in_([(1, CANARY)]),
            literal(CANARY).in_([patient.c.ssn]),
        ):
            assert connection.scalars(select(patient.c.id).where(condition)).all() == []


def test_an_entity_is_found_and_compared(sqlite_clinic: Database) -> None:
    with sqlite_clinic.session() as session:
        rows = tuple_(Claim.amount, Claim.ssn).in_([(10, "ssn-1"), (20, "ssn-2")])
        assert [one.ssn for one in session.scalars(select(Claim).where(rows))] == ["ssn-1"]
        with_patients = select(Claim.id).where(Claim.patient.has(literal("ssn-1") == patient.c.ssn))
        assert sorted(session.scalars(with_patients)) == [1, 2]


class Lower(TypeDecorator[str]):
    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: object) -> str | None:
        return value and value.lower()


CONVERTED = "does not convert its value by Lower"

REFUSED: dict[str, tuple[Condition, str]] = {
    "a value that its type converts": (lambda c: c == type_coerce("A", Lower), CONVERTED),
    "such a value first": (lambda c: literal("A", Lower) == c, CONVERTED),
    "such a value in columns": (lambda c: literal("A", Lower).in_([c, c]), CONVERTED),
    "such a value told apart": (lambda c: c.is_distinct_from(literal("A", Lower)), CONVERTED),
    "such a value in a row": (lambda c: tuple_(id_, c) == (1, literal("A", Lower)), CONVERTED),
    "rows of a subquery": (
        lambda c: tuple_(id_, c).in_(select(id_, c)),
        r"tuple_\(\).*exists\(\)",
    ),
    "rows that are less": (lambda c: tuple_(id_, c) < (1, "a"), r"tuple_\(\)"),
    "a CASE of columns": (
        lambda c: case((id_ == 1, c)) == "a",
        r"compare the column itself",
    ),
    "told apart from a plain column": (
        lambda c: c.is_distinct_from(twins.c.plain),
        "is_distinct_from.*value or an equally indexed column",
    ),
    "a function of the column": (
        lambda c: func.coalesce(c, "a") == "a",
        "compare the column itself",
    ),
    "a hash told apart": (
        lambda c: c.blind().is_distinct_from("a"),
        r"answers ==, != and IN, not 'is_distinct_from\(\)'",
    ),
    "rendered into the text": (
        lambda c: c == bindparam("x", "a", literal_execute=True),
        "leave literal_execute",
    ),
}


@pytest.mark.parametrize("condition, says", REFUSED.values(), ids=REFUSED)
def test_what_is_refused_says_what_to_write(
    sqlite_db: Database, condition: Condition, says: str
) -> None:
    twins.metadata.create_all(sqlite_db.engine)
    with (
        sqlite_db.begin() as connection,
        pytest.raises(Exception, match=says) as caught,
    ):
        connection.execute(select(id_).where(condition(twins.c.secret)), {"x": []})
    assert (caught.value.table, caught.value.column) == ("twins", "secret")  # type: ignore[attr-defined]


def test_columns_without_a_common_index_are_refused_by_the_operator_that_was_written(
    sqlite_clinic: Database,
) -> None:
    apart = patient.c.ssn.is_distinct_from(patient.c.mail)
    with (
        sqlite_clinic.begin() as connection,
        pytest.raises(
            UnsupportedOperationError, match=r"'is_distinct_from\(\)' cannot be answered"
        ),
    ):
        connection.execute(select(patient.c.id).where(apart))


def test_what_delivers_no_column_names_those_in_it(sqlite_clinic: Database) -> None:
    for expression in (func.coalesce(Claim.ssn, "x"), case((Claim.id == 1, Claim.ssn))):
        with (
            sqlite_clinic.session() as session,
            pytest.raises(UnreadableError, match="select the column itself") as caught,
        ):
            session.execute(select(expression))
        assert (caught.value.table, caught.value.column) == ("claim", "ssn")


def test_an_operator_with_a_value_first_names_the_column(sqlite_clinic: Database) -> None:
    with pytest.raises(UnsupportedOperationError, match=r"'\+'") as caught:
        "x" + Claim.ssn
    assert (caught.value.table, caught.value.column) == ("claim", "ssn")


def test_a_subquery_that_cannot_be_compared_names_the_column_it_delivers(
    sqlite_clinic: Database,
) -> None:
    numbers = select(Claim.ssn, Claim.amount)
    for spelt in (
        lambda: literal("x").in_(select(Claim.ssn)),
        lambda: tuple_(Claim.ssn, Claim.id).in_(numbers),
        lambda: Claim.ssn != any_(select(Claim.ssn).scalar_subquery()),
    ):
        with sqlite_clinic.session() as session, pytest.raises(UnsupportedOperationError) as caught:
            session.execute(select(Claim.id).where(spelt()))
        assert (caught.value.table, caught.value.column) == ("claim", "ssn")


class TenantBase(DeclarativeBase):
    pass


class Note(TenantBase):
    __tablename__ = "note"
    tenant: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    body: Mapped[str | None] = mapped_column(
        EncryptedType(String(20), key="tenant/{tenant}", index=BlindIndex())
    )


@pytest.fixture
def notes(sqlite_db: Database) -> Any:
    sqlite_db.create(TenantBase.metadata, is_empty=True)
    for tenant in (1, 2):
        sqlite_db.create_key(f"tenant/{tenant}")
    with Session(sqlite_db.engine) as session:
        session.add_all(Note(tenant=t, id=n, body=f"b{n}") for t in (1, 2) for n in (1, 2))
        session.commit()
        yield session


NAMED: dict[str, tuple[Any, dict[str, Any], list[int]]] = {
    "IN of one": (Note.tenant.in_([1]), {}, [1]),
    "IN of one twice": (Note.tenant.in_([1, 1]), {}, [1]),
    "IN of none": (Note.tenant.in_([]), {}, []),
    "IN of a bind": (Note.tenant.in_(bindparam("t", expanding=True)), {"t": [1]}, [1]),
    "not distinct": (Note.tenant.is_not_distinct_from(1), {}, [1]),
    "a value first": (literal(1) == Note.tenant, {}, [1]),
    "NULL": (Note.tenant == bindparam("t"), {"t": None}, []),
}


@pytest.mark.parametrize("tenant, given, expected", NAMED.values(), ids=NAMED)
def test_a_tenant_is_named(
    notes: Session, tenant: Any, given: dict[str, Any], expected: list[int]
) -> None:
    asked = select(Note.id).where(tenant, Note.body == "b1")
    assert notes.scalars(asked, given).all() == expected


def test_a_tenant_is_named_in_rows(notes: Session) -> None:
    rows = tuple_(Note.tenant, Note.body).in_([(1, "b1"), (2, "b2"), (2, "b9")])
    found = notes.execute(select(Note.tenant, Note.id).where(rows))
    assert sorted(map(tuple, found)) == [(1, 1), (2, 2)]


def test_a_tenant_that_is_none_is_refused_with_the_column(notes: Session) -> None:
    for tenant in (Note.tenant == "one", Note.tenant.in_([object()])):
        with pytest.raises(UnknownIdentityError, match="kind integer") as caught:
            notes.scalars(select(Note.id).where(tenant, Note.body == "b1"))
        assert (caught.value.table, caught.value.column) == ("note", "body")


FIRST, SECOND = Note.tenant == 1, Note.tenant == 2
BOTH = Note.tenant.in_([1, 2])

SEVERAL: dict[str, tuple[Any, list[tuple[int, int]]]] = {
    "a list": (and_(BOTH, Note.body == "b1"), [(1, 1), (2, 1)]),
    "two lists": (and_(BOTH, Note.body.in_(["b2", "b9"])), [(1, 2), (2, 2)]),
    "a list with more": (and_(Note.tenant.in_([2, None, 2]), Note.body == "b1"), [(2, 1)]),
    "one or the other": (and_(or_(FIRST, SECOND), Note.body == "b2"), [(1, 2), (2, 2)]),
    "one twice": (and_(or_(FIRST, FIRST), Note.body == "b2"), [(1, 2)]),
    "what differs": (and_(BOTH, Note.body != "b1"), [(1, 2), (2, 2)]),
    "not": (and_(BOTH, ~(Note.body == "b1")), [(1, 2), (2, 2)]),
    "within an OR": (
        and_(BOTH, or_(Note.body == "b1", and_(Note.body == "b2", Note.tenant == 2))),
        [(1, 1), (2, 1), (2, 2)],
    ),
}


@pytest.mark.parametrize("asked, expected", SEVERAL.values(), ids=SEVERAL)
def test_each_of_several_tenants_is_asked(
    notes: Session, asked: Any, expected: list[tuple[int, int]]
) -> None:
    for _ in range(2):
        found = notes.execute(select(Note.tenant, Note.id).where(asked))
        assert sorted(map(tuple, found)) == expected


def test_each_of_several_tenants_is_looked_up_through_an_alias_and_in_writes(
    notes: Session,
) -> None:
    other = aliased(Note)
    listed = other.tenant.in_([1, 2]), other.body == "b1"
    assert notes.scalars(select(other.tenant).where(*listed).order_by(other.tenant)).all() == [1, 2]
    assert notes.scalars(select(Note.id).where(exists().where(*listed, other.id == Note.id))).all()
    gone: Any = notes.execute(delete(Note).where(BOTH, Note.body == "b1"))
    assert gone.rowcount == 2


def test_several_tenants_that_a_type_converts_are_not_looked_up_unconverted(notes: Session) -> None:
    listed = or_(Note.tenant == literal(0, Raised()), Note.tenant == literal(1, Raised()))
    with pytest.raises(UnsupportedOperationError, match=r"add note\.tenant =="):
        notes.scalars(select(Note.id).where(listed, Note.body == "b1")).all()


def test_several_tenants_may_come_with_the_execution(notes: Session) -> None:
    tenant: Any = bindparam("t", expanding=True)
    asked = select(Note.tenant, Note.id).where(Note.tenant.in_(tenant), Note.body == bindparam("x"))
    for given, expected in (
        ({"t": [1, 2], "x": "b1"}, [(1, 1), (2, 1)]),
        ({"t": [2], "x": "b2"}, [(2, 2)]),
        ({"t": [2, 3, None], "x": "b2"}, [(2, 2)]),
        ({"t": [], "x": "b2"}, []),
    ):
        assert sorted(map(tuple, notes.execute(asked, given))) == expected
    gone: Any = notes.execute(
        delete(Note).where(Note.tenant.in_(tenant), Note.body == "b1"), {"t": [1, 2]}
    )
    assert gone.rowcount == 2


def test_several_tenants_may_be_the_own_value_of_a_bind(notes: Session) -> None:
    tenant: Any = bindparam("t", [1, 2], expanding=True)
    asked = select(Note.tenant).where(Note.tenant.in_(tenant), Note.body == bindparam("x", "b1"))
    for given, expected in (({}, [1, 2]), ({"t": [2]}, [2]), ({"x": "nobody's"}, [])):
        assert sorted(notes.scalars(asked, given)) == expected
    assert sorted(notes.scalars(asked.params(t=[1], x="b1"))) == [1]
    gone = delete(Note).where(Note.tenant.in_(tenant), Note.body == bindparam("x", "b1"))
    table_gone: Any = notes.connection().execute(gone, {"x": "b1"})
    assert table_gone.rowcount == 2


def test_a_value_of_a_named_bind_is_not_sent_beside_its_look_up(notes: Session) -> None:
    value: Any = bindparam("x", "b1")
    asked = select(Note.tenant, value).where(Note.tenant.in_([1, 2]), Note.body == value)
    with pytest.raises(UnsupportedOperationError):
        notes.execute(asked).all()


NULL_GIVEN = {
    "equal": (Note.body == bindparam("x"), []),
    "different": (Note.body != bindparam("x"), []),
    "told apart": (Note.body.is_distinct_from(bindparam("x")), [1, 2]),
    "not told apart": (Note.body.is_not_distinct_from(bindparam("x")), [3]),
}


@pytest.mark.parametrize("asked, expected", NULL_GIVEN.values(), ids=NULL_GIVEN)
def test_of_several_tenants_null_is_asked_as_it_is_of_one(
    notes: Session, asked: Any, expected: list[int]
) -> None:
    notes.execute(insert(Note), [{"tenant": t, "id": 3, "body": None} for t in (1, 2)])
    for tenant in (FIRST, BOTH):
        found = notes.scalars(select(Note.id).where(tenant, asked), {"x": None})
        assert sorted(set(found)) == expected
    gone: Any = notes.execute(delete(Note).where(BOTH, asked), {"x": None})
    assert gone.rowcount == 2 * len(expected)


def test_several_tenants_in_a_bind_of_a_name_are_refused_elsewhere(notes: Session) -> None:
    listed = Note.tenant.in_(bindparam("t", expanding=True))
    asked = select(case((Note.body == "b1", 1), else_=0)).where(listed)
    with pytest.raises(
        UnsupportedOperationError, match=r"several.*or_\(and_\(.*selectinload"
    ) as caught:
        notes.scalars(asked, {"t": [1, 2]}).all()
    assert (caught.value.column, caught.value.reason) == ("body", "tenant-unknown")


def test_a_tenant_in_the_text_of_the_statement_is_not_named(notes: Session) -> None:
    rendered: Any = bindparam("t", 1, literal_execute=True)
    for tenant in (Note.tenant == rendered, Note.tenant == text("1")):
        with pytest.raises(UnsupportedOperationError, match=r"add note\.tenant =="):
            notes.scalars(select(Note.id).where(tenant, Note.body == "b1"))
