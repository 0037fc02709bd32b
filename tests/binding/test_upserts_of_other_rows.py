"""Upserts that may hit a row of another key: SET or WHERE says what becomes of the key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import Column, Integer, MetaData, String, Table, UniqueConstraint, null, select
from sqlalchemy.dialects import mysql, postgresql, sqlite

from encfields import BlindIndex, EncryptedType
from encfields.errors import AmbiguousRowError, BindingError, IdentityChangeError
from tests.database import CANARY, Database

INSERT = {"sqlite": sqlite.insert, "postgresql": postgresql.insert, "mariadb": mysql.insert}

metadata = MetaData()
member = Table(
    "member",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("tenant", Integer, nullable=False),
    Column("mail", String(40), unique=True),
    Column("ssn", EncryptedType(key="tenant/{tenant}", index=BlindIndex())),
    Column("note", EncryptedType(key="tenant/{tenant}")),
    UniqueConstraint("tenant", "id"),
)
first, second = (
    {"id": n, "tenant": n, "mail": f"m{n}", "ssn": f"ssn-{n}", "note": f"note-{n}"} for n in (1, 2)
)


def _filled(db: Database) -> Database:
    for n in (1, 2, 3):
        db.create_key(f"tenant/{n}")
    db.create(metadata)
    with db.begin() as connection:
        connection.execute(member.insert(), [first, second])
    return db


@pytest.fixture
def members(db: Database) -> Database:
    return _filled(db)


@pytest.fixture(params=["sqlite", "postgresql"])
def conflicting(request: pytest.FixtureRequest) -> Database:
    """The same on a database with ON CONFLICT."""
    return _filled(Database(request.getfixturevalue(request.param)))


def upsert(db: Database, names: str, *, target: tuple[str, ...] = ("id",), **given: Any) -> Any:
    """An upsert whose SET has the inserted values of the columns of these names."""
    statement: Any = INSERT[db.backend.family](member)
    if db.backend.family == "mariadb":
        return statement.on_duplicate_key_update(
            **{name: statement.inserted[name] for name in names.split()}
        )
    where = given.pop("where", None)
    return statement.on_conflict_do_update(
        index_elements=list(target),
        set_={name: statement.excluded[name] for name in names.split()},
        where=None if where is None else where(statement.excluded),
        **given,
    )


def stored(db: Database) -> dict[int, tuple[Any, ...]]:
    """The rows, each found by its index too."""
    with db.begin() as connection:
        rows = connection.execute(member.select().order_by("id")).all()
        for row in rows:
            found = select(member.c.id).where(
                member.c.tenant == row.tenant, member.c.ssn == row.ssn
            )
            assert row.ssn is None or row.id in connection.scalars(found).all()
    return {row.id: (row.tenant, row.mail, row.ssn, row.note) for row in rows}


def run(db: Database, statement: Any, *rows: Mapping[str, Any]) -> None:
    with db.begin() as connection:
        connection.execute(statement, list(rows))


AFTER_FIRST = {1: (3, "m1", CANARY, "new"), 2: (2, "m2", "ssn-2", "note-2")}


def test_a_row_that_becomes_the_inserted_one_keeps_nothing_of_another_tenant(
    members: Database,
) -> None:
    moved = {**first, "tenant": 3, "ssn": CANARY, "note": "new"}

    run(members, upsert(members, "id tenant mail ssn note"), moved)

    assert stored(members) == AFTER_FIRST
    members.assert_no_plaintext()


def test_a_row_found_by_another_unique_column_takes_the_inserted_key(members: Database) -> None:
    statement = upsert(members, "id tenant ssn note", target=("mail",))

    run(members, statement, {**first, "id": 7, "ssn": None}, {**first, "id": 8, "mail": "m8"})

    assert stored(members) == {
        2: (2, "m2", "ssn-2", "note-2"),
        7: (1, "m1", None, "note-1"),
        8: (1, "m8", "ssn-1", "note-1"),
    }


def test_several_rows_of_values_at_once(members: Database) -> None:
    rows = [{**first, "tenant": 3, "ssn": CANARY, "note": "new"}, {**second, "ssn": "other"}]
    statement = upsert(members, "id tenant ssn note").values(rows)

    with members.begin() as connection:
        connection.execute(statement)

    assert stored(members) == {**AFTER_FIRST, 2: (2, "m2", "other", "note-2")}


def test_a_value_that_stays_behind_is_refused(members: Database) -> None:
    before = stored(members)
    for names in ("id tenant ssn", "id tenant note", "id tenant", "tenant mail"):
        with members.refused(IdentityChangeError, member) as caught:
            run(members, upsert(members, names), first)
        assert "in the same statement" in str(caught.value)
    assert stored(members) == before


def test_a_key_that_is_left_open_is_refused_and_the_ways_out_are_named(members: Database) -> None:
    with members.refused(AmbiguousRowError, member) as caught:
        run(members, upsert(members, "ssn"), first)

    inserted = "inserted" if members.backend.family == "mariadb" else "excluded"
    assert f"tenant=statement.{inserted}.tenant" in str(caught.value)


def test_null_needs_no_key(members: Database) -> None:
    insert: Any = INSERT[members.backend.family](member)
    set_ = {"ssn": null(), "mail": "new"}
    if members.backend.family == "mariadb":
        statement: Any = insert.on_duplicate_key_update(**set_)
    else:
        statement = insert.on_conflict_do_update(index_elements=["id"], set_=set_)

    run(members, statement, first)

    assert stored(members)[1] == (1, "new", None, "note-1")


def test_a_where_that_compares_the_rest_of_the_key_does_not_change_other_rows(
    conflicting: Database,
) -> None:
    for where in (
        lambda excluded: member.c.tenant == excluded.tenant,
        lambda excluded: (excluded.tenant == member.c.tenant) & (member.c.mail != ""),
    ):
        statement = upsert(conflicting, "ssn", where=where)
        run(conflicting, statement, {**first, "ssn": CANARY}, {**second, "tenant": 3})
        assert stored(conflicting) == {
            1: (1, "m1", CANARY, "note-1"),
            2: (2, "m2", "ssn-2", "note-2"),
        }


def test_a_where_that_says_less_is_refused(conflicting: Database) -> None:
    for where in (
        lambda excluded: member.c.tenant == 1,
        lambda excluded: member.c.tenant >= excluded.tenant,
        lambda excluded: member.c.tenant == excluded.id,
        lambda excluded: (member.c.tenant == excluded.tenant) | (member.c.mail == "m1"),
    ):
        with conflicting.refused(AmbiguousRowError, member):
            run(conflicting, upsert(conflicting, "ssn", where=where), first)


def test_a_where_names_the_tenant_of_a_value_that_it_asks_for(conflicting: Database) -> None:
    for asked, expected in (("another", "ssn-1"), ("ssn-1", CANARY)):
        where = (member.c.tenant == 1) & (member.c.ssn == asked)
        statement = upsert(conflicting, "id tenant ssn note", where=lambda _, where=where: where)
        run(conflicting, statement, {**first, "ssn": CANARY})
        assert stored(conflicting)[1] == (1, "m1", expected, "note-1")


def test_a_target_of_more_than_the_key_or_of_a_partial_index_says_enough(
    postgresql_db: Database,
) -> None:
    conflicting = _filled(postgresql_db)  # SQLite takes no target with its row id beside others
    conflicting.execute_plain("CREATE UNIQUE INDEX more ON member (tenant, id, mail)")
    for target in (("tenant", "id"), ("mail", "id", "tenant")):
        run(conflicting, upsert(conflicting, "ssn", target=target), {**first, "ssn": str(target)})
        assert stored(conflicting)[1] == (1, "m1", str(target), "note-1")

    some = upsert(conflicting, "ssn", target=("tenant", "id"), index_where=member.c.id > 0)
    run(conflicting, some, {**first, "ssn": CANARY})
    assert stored(conflicting)[1] == (1, "m1", CANARY, "note-1")


def test_an_upsert_whose_key_the_database_generates_is_sealed_for_it_or_refused(
    members: Database,
) -> None:
    statement = upsert(members, "id tenant ssn note", target=("mail",))
    row = {key: value for key, value in first.items() if key != "id"}
    try:
        run(members, statement, {**row, "ssn": CANARY})
    except BindingError:
        assert stored(members)[1] == (1, "m1", "ssn-1", "note-1")
    else:
        assert (1, "m1", CANARY, "note-1") in stored(members).values()


@pytest.mark.skipif(sqlalchemy.__version__.startswith("2.0."), reason="takes one clause only")
class TestSeveralClauses:
    """SQLAlchemy 2.1 takes several ON CONFLICT clauses for SQLite: each is held to the same."""

    def test_each_may_leave_a_value_only_where_it_opens(self, sqlite_db: Database) -> None:
        conflicting = _filled(sqlite_db)
        before = stored(conflicting)
        for at in (0, 1):
            targets = [("id",), ("mail",)]
            targets.insert(at, targets.pop())
            statement: Any = sqlite.insert(member)
            for target in targets:
                names = "id tenant ssn note" if target == ("id",) else "ssn note"
                set_ = {name: statement.excluded[name] for name in names.split()}
                statement = statement.on_conflict_do_update(index_elements=target, set_=set_)
            with conflicting.refused(AmbiguousRowError, member):
                run(conflicting, statement, {**first, "id": 7})
        assert stored(conflicting) == before

    def test_each_sets_values_with_their_indexes(self, sqlite_db: Database) -> None:
        conflicting = _filled(sqlite_db)
        for given, expected in (
            ({"id": 1, "tenant": 3}, (3, "m1", CANARY, "note-1")),
            ({"id": 7}, (1, "m1", "ssn-1", "other")),
            ({"id": 8, "mail": "m8"}, (1, "m8", "ssn-1", "note-1")),
        ):
            statement: Any = sqlite.insert(member).values({**first, **given})
            excluded = statement.excluded
            key = {"id": excluded.id, "tenant": excluded.tenant}
            statement = statement.on_conflict_do_update(
                index_elements=["id"], set_={**key, "ssn": CANARY, "note": excluded.note}
            ).on_conflict_do_update(
                index_elements=["mail"], set_={**key, "ssn": excluded.ssn, "note": "other"}
            )
            with conflicting.begin() as connection:
                connection.execute(statement)
            assert expected in stored(conflicting).values()
        conflicting.assert_no_plaintext()

    def test_one_asks_for_a_value_that_another_sets(self, sqlite_db: Database) -> None:
        conflicting = _filled(sqlite_db)
        statement: Any = sqlite.insert(member)
        for target in ("id", "mail"):
            statement = statement.on_conflict_do_update(
                index_elements=[target],
                set_={name: statement.excluded[name] for name in ("id", "tenant", "ssn", "note")},
                where=(member.c.tenant == 1) & (member.c.ssn == "ssn-1"),
            )
        run(conflicting, statement, {**first, "id": 7, "ssn": CANARY})
        run(conflicting, statement, {**first, "id": 7, "ssn": "left alone"})
        assert stored(conflicting)[7] == (1, "m1", CANARY, "note-1")
