"""A truncated index finds rows that only look alike; no application ever sees one of them."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Dialect,
    Integer,
    MetaData,
    String,
    Table,
    TypeDecorator,
    and_,
    bindparam,
    case,
    delete,
    event,
    exists,
    false,
    func,
    insert,
    literal_column,
    not_,
    null,
    or_,
    select,
    text,
    true,
    union,
    union_all,
    update,
)
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    aliased,
    defer,
    joinedload,
    load_only,
    mapped_column,
    relationship,
    selectinload,
    with_loader_criteria,
)
from sqlalchemy.schema import ForeignKey

from encfields import BlindIndex, EncryptedType
from encfields.errors import ContextMismatchError, DecryptionError, UnsupportedOperationError
from encfields.index.transforms import casefold, last
from tests.database import CANARY, Database
from tests.index.clinic import Patient
from tests.turns import databases_by_turns

pytestmark = databases_by_turns

ROWS = 120
NAMES = [f"name-{n}" for n in range(40)]


class Base(DeclarativeBase):
    pass


class Person(Base):
    """Its index has four bits: of forty names, two or three share each hash."""

    __tablename__ = "person"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    name: Mapped[str | None] = mapped_column(EncryptedType(String(20), index=BlindIndex(bits=4)))
    city: Mapped[str | None] = mapped_column(EncryptedType(String(20), index=BlindIndex(casefold)))
    phone: Mapped[str | None] = mapped_column(
        EncryptedType(String(20), index=BlindIndex(last(2), bits=4))
    )
    plain: Mapped[str | None] = mapped_column(String(20))
    pets: Mapped[list[Pet]] = relationship(back_populates="owner", order_by="Pet.id")


class Pet(Base):
    __tablename__ = "pet"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    owner_id: Mapped[int] = mapped_column(ForeignKey("person.id"))
    owner: Mapped[Person] = relationship(back_populates="pets")


person: Any = Person.__table__


@pytest.fixture
def town(shared_tables: None, db: Database) -> Database:
    """People 0 to 119; their names, three of each and every tenth NULL, are in `plain` too."""
    db.share(Base.metadata, fill=_fill)
    return db


@pytest.fixture
def sqlite_town(shared_tables: None, sqlite_db: Database) -> Database:
    sqlite_db.share(Base.metadata, fill=_fill)
    return sqlite_db


def _fill(db: Database) -> None:
    with db.begin() as connection:
        connection.execute(insert(person), [_person(n) for n in range(ROWS)])
        pets = [{"id": n * 2 + m, "owner_id": n} for n in range(ROWS) for m in (0, 1)]
        connection.execute(insert(Pet), pets)


def _person(n: int) -> dict[str, Any]:
    name = None if n % 10 == 9 else NAMES[n % 40]
    city = ("Bonn", "BONN", "Köln")[n % 3]
    return {"id": n, "name": name, "plain": name, "city": city, "phone": f"555-{n:04}"}


def found_by_hash(db: Database, name: str) -> list[str]:
    """The names that the index alone finds: what the database answers."""
    contexts: list[Any] = []

    def listen(c: Any, cursor: Any, sql: str, parameters: Any, context: Any, many: bool) -> None:
        contexts.append((sql, parameters))

    event.listen(db.engine, "after_cursor_execute", listen)
    try:
        with db.engine.connect() as connection:
            statement = select(person.c.id, person.c.plain, person.c.name)
            connection.execute(statement.where(person.c.name == name)).all()
    finally:
        event.remove(db.engine, "after_cursor_execute", listen)
    (sql, parameters) = contexts[0]
    with db.plain.connect() as connection:
        return [row[1] for row in connection.exec_driver_sql(sql, parameters)]


def test_rows_that_only_look_alike_are_there_to_be_taken_out(town):
    """Else the tests below would promise nothing."""
    alike = [name for name in NAMES if len(set(found_by_hash(town, name))) > 1]
    assert len(alike) > 20


def test_core_rows_are_exactly_those_that_were_asked_for(town):
    table = person
    with town.engine.connect() as connection:
        for name in (*NAMES, "nobody"):
            rows = connection.execute(select(table).where(table.c.name == name)).all()
            plain = connection.execute(select(table).where(table.c.plain == name)).all()
            assert sorted(rows) == sorted(plain)


def test_lists_are_exactly_those_that_were_asked_for(town):
    chance = random.Random(4711)
    with town.session() as session:
        for count in (0, 1, 2, 5, 20):
            names: list[Any] = chance.sample(NAMES, count)
            for asked in (names, [*names, None], [*names, "nobody", "n" * 21]):
                by_index = select(Person.id).add_columns(Person.name).where(Person.name.in_(asked))
                by_name = select(Person.id).where(Person.plain.in_(asked))
                expected = sorted(session.scalars(by_name))
                assert sorted(session.scalars(by_index)) == expected
            both = Person.name.in_(bindparam("q", expanding=True))
            listed = select(Person.name).where(both)
            assert set(session.scalars(listed, {"q": names})) <= set(names)


def test_entities_are_exactly_those_that_were_asked_for(town):
    with town.session() as session:
        for name in NAMES:
            people = session.scalars(select(Person).where(Person.name == name)).all()
            plain = session.scalars(select(Person).where(Person.plain == name)).all()
            assert {p.id for p in people} == {p.id for p in plain}
            assert all(p.name == name for p in people)


def test_several_comparisons_are_all_judged(town):
    statement = select(Person.id, Person.name, Person.phone).where(
        Person.name == "name-7", Person.phone.blind("last2") == "47", Person.id < 100
    )
    with town.session() as session:
        assert session.scalars(statement).all() == [47]
        other = aliased(Person)
        pairs = (
            select(Person, other)
            .join(other, other.id > Person.id)
            .where(Person.name == "name-1", other.name == "name-2")
        )
        found = {(a.id, b.id) for a, b in session.execute(pairs)}
    ones, twos = (1, 41, 81), (2, 42, 82)
    assert found == {(a, b) for a in ones for b in twos if b > a}


given: Any = bindparam("given")

EITHER: dict[str, tuple[Any, Callable[[dict[str, Any]], bool]]] = {
    "two values": (
        or_(Person.name == "name-7", Person.name == "name-8"),
        lambda one: one["name"] in ("name-7", "name-8"),
    ),
    "a list, a value": (
        or_(Person.name.in_(["name-7", "name-8"]), Person.name == "name-1"),
        lambda one: one["name"] in ("name-7", "name-8", "name-1"),
    ),
    "a value or NULL": (
        or_(Person.name == "name-7", Person.name.is_(None)),
        lambda one: one["name"] in ("name-7", None),
    ),
    "two columns": (
        or_(Person.name == "name-7", Person.phone == "555-0003", Person.city == "BONN"),
        lambda one: one["name"] == "name-7" or one["phone"] == "555-0003" or one["city"] == "BONN",
    ),
    "AND within": (
        or_(and_(Person.name == "name-7", Person.city == "Bonn"), Person.name == "name-8"),
        lambda one: (one["name"], one["city"]) == ("name-7", "Bonn") or one["name"] == "name-8",
    ),
    "beside another condition": (
        and_(Person.id < 60, or_(Person.name == "name-7", Person.name == "name-8")),
        lambda one: one["id"] < 60 and one["name"] in ("name-7", "name-8"),
    ),
    "nothing else": (or_(false(), Person.name == "name-7"), lambda one: one["name"] == "name-7"),
    "a bind that is given": (
        or_(given.is_(None), Person.name == given),
        lambda one: one["name"] == "name-7",
    ),
    "a bind, of part of the value": (
        or_(given.is_(None), Person.city == given),
        lambda one: False,
    ),
}


@pytest.mark.parametrize("name", EITHER)
def test_each_part_of_an_or_is_judged(town, name):
    condition, is_asked = EITHER[name]
    asked = select(Person).where(condition)
    values = {"given": "name-7"} if "bind" in name else {}
    wanted = [n for n in range(ROWS) if is_asked(_person(n))]
    with town.session() as session:
        assert sorted(one.id for one in session.scalars(asked, values)) == wanted


def test_an_or_with_a_bind_that_is_null_has_every_row(town):
    asked = select(Person).where(or_(given.is_(None), Person.name == given))
    neither = select(Person).where(or_(given.is_not(None), Person.name == given))
    with town.session() as session:
        for _ in range(2):
            assert len(session.scalars(asked, {"given": None}).all()) == ROWS
            assert session.scalars(neither, {"given": None}).all() == []
            assert len(session.scalars(neither, {"given": "name-7"}).all()) == ROWS


class Said(TypeDecorator[str]):
    """A text that stands where nothing was said; None is no NULL."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str:
        return "nothing" if value is None else value


def test_a_bind_whose_none_may_be_a_value_tells_of_no_part_of_an_or(sqlite_db):
    type_ = EncryptedType(Said(20), index=BlindIndex(bits=4))
    said = Table("said", MetaData(), Column("id", Integer, primary_key=True), Column("it", type_))
    asked = select(said).where(or_(given.is_(None), said.c.it == given))
    with (
        sqlite_db.engine.connect() as connection,
        pytest.raises(UnsupportedOperationError, match=r"selectinload.* OR .*one SELECT for each"),
    ):
        connection.execute(asked, {"given": None})


def test_a_row_that_another_part_of_an_or_found_is_no_sign_of_tampering(sqlite_clinic, caplog):
    asked = or_(Patient.ssn == "ssn-1", Patient.mail == "USER2@X.ORG")
    with sqlite_clinic.session() as session:
        assert [one.id for one in session.scalars(select(Patient).where(asked))] == [1]
    assert sqlite_clinic.encryption.stats.index_mismatches == 0
    assert not caplog.records


def test_a_transform_is_judged_after_it_was_applied(town):
    statement = select(Person.id, Person.phone).where(Person.phone.blind("last2") == "07")
    with town.session() as session:
        assert sorted(session.scalars(statement)) == [7, 107]
        whole = select(Person.id, Person.phone).where(Person.phone.blind("last2") == "999-9907")
        assert sorted(session.scalars(whole)) == [7, 107]
        equal = select(Person.id, Person.phone).where(Person.phone == "555-0007")
        assert sorted(session.scalars(equal)) == [7]


def test_a_whole_value_is_compared_where_only_a_part_of_it_is_indexed(town):
    with town.session() as session:
        for city, count in (("Bonn", 40), ("BONN", 40), ("bonn", 0), ("Köln", 40)):
            people = session.scalars(select(Person).where(Person.city == city)).all()
            assert len(people) == count
        folded = select(func.count()).where(Person.city.blind("casefold") == "bonn")
        assert session.scalar(folded) == 80


def test_each_way_to_fetch_leaves_the_others_out(town):
    statement = select(Person.id, Person.name).where(Person.name == "name-7").order_by(Person.id)
    expected = [7, 47, 87]
    with town.engine.connect() as connection:
        result = connection.execute(statement)
        assert [result.fetchone()[0] for _ in expected] == expected
        assert result.fetchone() is None
        result = connection.execute(statement)
        assert [row[0] for row in result.fetchmany(2)] == expected[:2]
        assert [row[0] for row in result.fetchall()] == expected[2:]
        assert [row.id for row in connection.execute(statement)] == expected
        assert [row["id"] for row in connection.execute(statement).mappings()] == expected
        assert connection.execute(statement).first()[0] == 7
        assert connection.scalar(statement) == 7
        assert [len(p) for p in connection.execute(statement).partitions(1)] == [1, 1, 1]
        assert connection.execute(statement.where(person.c.id == 47)).one()[0] == 47
        assert connection.execute(statement.where(person.c.id == 1)).one_or_none() is None
        frozen = connection.execute(statement).freeze()
        assert frozen().scalars().all() == expected


def test_streams_leave_the_others_out(town):
    statement = select(Person).where(Person.name == "name-7").order_by(Person.id)
    with town.session() as session:
        for size in (1, 2, 100):
            streamed = session.scalars(statement.execution_options(yield_per=size))
            assert [p.id for p in streamed] == [7, 47, 87]
            parts = session.scalars(statement.execution_options(yield_per=size)).partitions()
            assert [p.id for part in parts for p in part] == [7, 47, 87]
    core = select(person.c.id, person.c.name).where(person.c.name == "name-7")
    with town.engine.connect() as connection:
        options = {"stream_results": True, "max_row_buffer": 2}
        for batch in (None, 1, 50):
            result = connection.execution_options(**options).execute(core.order_by(person.c.id))
            rows = result.all() if batch is None else list(result.yield_per(batch))
            assert [row[0] for row in rows] == [7, 47, 87]


def test_eagerly_loaded_collections_are_whole(town):
    for load in (joinedload, selectinload):
        statement = select(Person).options(load(Person.pets)).where(Person.name == "name-7")
        with town.session() as session:
            people = session.scalars(statement).unique().all()
            pets = {p.id: [pet.id for pet in p.pets] for p in people}
        assert pets == {n: [2 * n, 2 * n + 1] for n in (7, 47, 87)}


def test_an_entity_that_is_joined_is_judged(town):
    statement = select(Pet, Person).join(Pet.owner).where(Person.name == "name-7")
    with town.session() as session:
        assert sorted(pet.id for pet, _ in session.execute(statement)) == [14, 15, 94, 95, 174, 175]
        on = select(Pet, Person).join(
            Person, (Pet.owner_id == Person.id) & (Person.name == "name-7")
        )
        assert sorted(pet.id for pet, _ in session.execute(on)) == [14, 15, 94, 95, 174, 175]


def test_loader_criteria_are_judged(town):
    hidden = with_loader_criteria(Person, Person.name == "name-7")
    with town.session() as session:
        people = session.scalars(select(Person).options(hidden).where(Person.id > 10)).all()
        assert sorted(p.id for p in people) == [47, 87]
        with pytest.raises(UnsupportedOperationError, match="aggregate"):
            session.scalar(select(func.count()).select_from(Person).options(hidden))


def test_the_legacy_query_is_judged(town):
    with town.session() as session:
        query = session.query(Person).filter(Person.name == "name-7")
        assert sorted(p.id for p in query) == [7, 47, 87]
        assert query.filter(Person.id == 47).one().id == 47
        with pytest.raises(UnsupportedOperationError, match="LIMIT"):
            query.first()
        with pytest.raises(UnsupportedOperationError, match="subquery"):
            query.count()


def test_a_subquery_that_carries_column_and_index_is_judged(town):
    inner = select(person.c.id, person.c.name, person.c.name.blind().label("k")).subquery()
    with town.engine.connect() as connection:
        for where in (inner.c.k == "name-7", inner.c.name == "name-7"):
            rows = connection.execute(select(inner.c.id, inner.c.name).where(where))
            assert sorted(row[0] for row in rows) == [7, 47, 87]


def test_plain_functions_of_the_row_are_selected_beside_it(town):
    statement = select(
        Person.name,
        func.lower(Person.plain),
        func.coalesce(Person.plain, "none"),
        case((Person.id > 50, "late"), else_="early"),
        (Person.id + 1).label("next"),
        select(func.count()).where(Pet.owner_id == Person.id).scalar_subquery(),
    ).where(Person.name == "name-7")
    with town.session() as session:
        rows = session.execute(statement.order_by(Person.id)).all()
    assert [tuple(row)[3:] for row in rows] == [("early", 8, 2), ("early", 48, 2), ("late", 88, 2)]


def test_a_row_that_looks_alike_and_does_not_open_is_an_error(sqlite_town):
    """Whether it was asked for is not known."""
    sqlite_town.copy_cell(Person.name, source=8, target=7)
    with sqlite_town.session() as session, pytest.raises(DecryptionError) as caught:
        session.scalars(select(Person).where(Person.name == "name-7")).all()
    assert isinstance(caught.value, ContextMismatchError)


# -- where rows cannot be taken out ---------------------------------------------------------------

alike: Any = Person.name == "name-7"

REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "count": (lambda: select(func.count()).select_from(Person).where(alike), "aggregate"),
    "count beside the column": (
        lambda: select(Person.name, func.count()).where(alike),
        "aggregate",
    ),
    "labelled maximum": (
        lambda: select(Person.name, func.max(Person.id).label("m")).where(alike),
        "aggregate",
    ),
    "sum in an expression": (
        lambda: select(Person.name, func.sum(Person.id) + 1).where(alike),
        "aggregate",
    ),
    "unknown function": (
        lambda: select(Person.name, func.my_aggregate(Person.id)).where(alike),
        "aggregate",
    ),
    "filtered count": (
        lambda: select(Person.name, func.count().filter(Person.id > 1)).where(alike),
        "aggregate",
    ),
    "textual count": (lambda: select(Person.name, text("count(*)")).where(alike), "aggregate"),
    "literal count": (
        lambda: select(Person.name, literal_column("count(*)")).where(alike),
        "aggregate",
    ),
    "having": (
        lambda: select(Person.name).where(alike).having(func.count() > 1),
        "aggregate",
    ),
    "window": (
        lambda: select(Person.name, func.row_number().over(order_by=Person.id)).where(alike),
        "window",
    ),
    "labelled window": (
        lambda: select(Person.name, func.rank().over(order_by=Person.id).label("r")).where(alike),
        "window",
    ),
    "window in an expression": (
        lambda: select(Person.name, func.count().over() * 2).where(alike),
        "window",
    ),
    "exists": (lambda: select(exists().where(alike)), "subquery"),
    "exists of an outer row": (
        lambda: select(Pet.id).where(exists().where(Person.id == Pet.owner_id, alike)),
        "subquery",
    ),
    "subquery": (lambda: select(select(Person.id).where(alike).subquery().c.id), "subquery"),
    "in a subquery": (
        lambda: select(Pet.id).where(Pet.owner_id.in_(select(Person.id).where(alike))),
        "subquery",
    ),
    "the same comparison in a subquery too": (
        lambda: select(Person).where(alike, Person.id.in_(select(Person.id).where(alike))),
        "subquery",
    ),
    "scalar subquery": (
        lambda: select(select(Person.id).where(alike).scalar_subquery()),
        "subquery",
    ),
    "compared subquery": (
        lambda: select(Person).where(
            select(Person.name).where(Person.id == 7).scalar_subquery() == "name-7"
        ),
        "subquery",
    ),
    "cte": (lambda: select(select(Person.id).where(alike).cte().c.id), "subquery"),
    "limit": (lambda: select(Person).where(alike).limit(1), "LIMIT"),
    "offset": (lambda: select(Person).where(alike).limit(9).offset(1), "LIMIT"),
    "fetch": (lambda: select(Person).where(alike).fetch(1), "LIMIT"),
    "slice": (lambda: select(Person).where(alike).slice(0, 2), "LIMIT"),
    "or": (lambda: select(Person).where(or_(alike, Person.id == 1)), "OR"),
    "or of an and with another column": (
        lambda: select(Person).where(or_(and_(alike, Person.id == 1), Person.name == "name-8")),
        "OR",
    ),
    "or of what is selected too": (
        lambda: select(Person, alike).where(or_(alike, Person.name == "name-8")),
        "OR",
    ),
    "or without the column": (
        lambda: select(Person.id).where(or_(alike, Person.name == "name-8")),
        "OR",
    ),
    "or with limit": (
        lambda: select(Person).where(or_(alike, Person.name == "name-8")).limit(1),
        "LIMIT",
    ),
    "or with count": (
        lambda: select(Person, func.count().over()).where(or_(alike, Person.name.is_(None))),
        "window",
    ),
    "not": (lambda: select(Person).where(~alike), "differ"),
    "not of and": (lambda: select(Person).where(not_((alike) & (Person.id == 1))), "NOT"),
    "case": (lambda: select(Person).where(case((alike, 1), else_=0) == 1), "expression"),
    "selected comparison": (lambda: select(Person.name, alike.label("hit")), "expression"),
    "sorted by": (lambda: select(Person).order_by(alike), "expression"),
    "is": (lambda: select(Person).where(alike.is_(True)), "expression"),
    "!=": (lambda: select(Person).where(Person.name != "name-7"), "differ"),
    "not in": (lambda: select(Person).where(Person.name.not_in(["name-7"])), "differ"),
    "outer join": (
        lambda: select(Pet, Person).outerjoin(
            Person, (Pet.owner_id == Person.id) & (Person.name == "name-7")
        ),
        "expression",
    ),
    "distinct": (lambda: select(Person.id, Person.name).where(alike).distinct(), "DISTINCT"),
    "group by": (
        lambda: select(Person.id, Person.name).where(alike).group_by(Person.id, Person.name),
        "GROUP BY",
    ),
    "union": (
        lambda: union(select(Person.id, Person.name).where(alike), select(Person.id, null())),
        "not a SELECT",
    ),
    "union all": (
        lambda: union_all(
            select(Person.id, Person.name).where(alike),
            select(Person.id, Person.name).where(Person.id == 1),
        ),
        "not a SELECT",
    ),
    "column not selected": (lambda: select(Person.id).where(alike), "name is not selected"),
    "column of an alias selected": (
        lambda: (
            select(Person.id, (other := aliased(Person)).name)
            .join(other, true())
            .where(Person.name == "name-7")
        ),
        "name is not selected",
    ),
    "column deferred": (
        lambda: select(Person).options(defer(Person.name)).where(alike),
        "name is not selected",
    ),
    "column not loaded": (
        lambda: select(Person).options(load_only(Person.id)).where(alike),
        "name is not selected",
    ),
    "update": (lambda: update(Person).where(alike).values(plain="x"), "not a SELECT"),
    "delete": (lambda: delete(Person).where(alike), "not a SELECT"),
    "joined collection with limit": (
        lambda: select(Person).options(joinedload(Person.pets)).where(alike).limit(2),
        "subquery",
    ),
    "join of truncated indexes": (
        lambda: select(Person.id).join(other := aliased(Person), other.name == Person.name),
        "no full-length",
    ),
    "in a subquery of the column": (
        lambda: select(Person.id).where(Person.name.in_(select(Person.name))),
        "no full-length",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_counts_or_hides_the_rows_is_refused_with_the_reason(sqlite_town, name):
    make, why = REFUSED[name]
    with (
        sqlite_town.refused(UnsupportedOperationError, person) as caught,
        sqlite_town.session() as session,
    ):
        session.execute(make())
    assert why in caught.value.message
    assert (caught.value.table, caught.value.column) == ("person", "name")


def test_insert_from_select_is_refused(sqlite_town):
    copy = Table("copy", MetaData(), Column("id", Integer, primary_key=True))
    sqlite_town.create(copy.metadata)
    rows = select(person.c.id).where(person.c.name == CANARY)
    with sqlite_town.begin() as connection, pytest.raises(UnsupportedOperationError):
        connection.execute(insert(copy).from_select(["id"], rows))


def test_a_refusal_says_what_to_do(sqlite_town):
    with sqlite_town.session() as session, pytest.raises(UnsupportedOperationError) as caught:
        session.execute(select(func.count()).select_from(Person).where(alike))
    assert "Use a full-length index over the whole value (BlindIndex())" in str(caught.value)
    assert "continue in Python" in str(caught.value)


def test_null_tests_and_counting_hashes_need_no_rows(sqlite_town):
    with sqlite_town.session() as session:
        assert session.scalar(select(func.count()).where(Person.name.is_(None))) == ROWS // 10
        kinds = select(func.count(Person.name.blind().distinct()))
        assert 10 <= session.scalar(kinds) <= 16
