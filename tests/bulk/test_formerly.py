"""A declaration is changed while old and new versions of the application work side by side."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import (
    JSON,
    Column,
    Date,
    DateTime,
    Integer,
    MetaData,
    Numeric,
    String,
    Table,
    Uuid,
    bindparam,
    func,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.orm import Session, registry

from encfields import BlindIndex, EncryptedType, Formerly
from encfields.bulk import conversion, rebinding
from encfields.errors import (
    DeclarationError,
    DecryptionError,
    EncFieldsError,
    UnsupportedOperationError,
    ValueEncodingError,
)
from tests.database import Database
from tests.servers.backends import Backend
from tests.turns import databases_by_turns, on_each_database

pytestmark = databases_by_turns

PHASES = ("write-former", "write-new")


def note(inner: Any = String, *, index: Any = None, **options: Any) -> Table:
    """The table of one version of the application."""
    sealed = EncryptedType(inner, index=index, **options)
    return Table(
        "note",
        MetaData(),
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("uid", Uuid, unique=True),
        Column("body", sealed),
    )


BOUND: dict[str, dict[str, Any]] = {
    "old": {"name": "note.body"},
    "write-former": {
        "name": "note.text",
        "bind_to": "uid",
        "formerly": Formerly(name="note.body", bind_to="id", phase="write-former"),
    },
    "write-new": {
        "name": "note.text",
        "bind_to": "uid",
        "formerly": Formerly(name="note.body", bind_to="id", phase="write-new"),
    },
    "new": {"name": "note.text", "bind_to": "uid"},
}
"""The versions of an application whose values are bound anew, under another name."""


def bound(version: str) -> Table:
    return note(index=BlindIndex(), **BOUND[version])


def day(version: str) -> Table:
    """The same of one whose dates become datetimes."""
    inner: Any = Date() if version == "old" else DateTime()
    formerly = Formerly(inner=Date(), phase=version) if version in PHASES else None  # type: ignore[arg-type]
    return note(inner, index=BlindIndex(), name="note.day", formerly=formerly)


def put(db: Database, table: Table, key: int, value: Any) -> None:
    with db.begin() as connection:
        connection.execute(insert(table), {"id": key, "uid": uuid.UUID(int=key), "body": value})


def all_of(db: Database, table: Table) -> dict[int, Any]:
    with db.engine.connect() as connection:
        return {row[0]: row[1] for row in connection.execute(select(table.c.id, table.c.body))}


def found(db: Database, table: Table, value: Any, *, named: bool = False) -> list[int]:
    asked = bindparam("asked", value) if named else value
    with db.engine.connect() as connection:
        return sorted(connection.scalars(select(table.c.id).where(table.c.body == asked)))


@pytest.fixture
def db(backend: Backend) -> Database:
    """With one value of the old version and one of the new, side by side."""
    database = Database(backend)
    bound("old").create(database.engine)
    put(database, bound("old"), 1, "former")
    put(database, bound("new"), 2, "new")
    return database


@on_each_database
@pytest.mark.parametrize("phase", PHASES)
def test_either_version_reads_and_finds_what_both_wrote(db: Database, phase: str) -> None:
    table = bound(phase)
    assert all_of(db, table) == {1: "former", 2: "new"}
    assert (found(db, table, "former"), found(db, table, "new")) == ([1], [2])
    assert (found(db, table, "former", named=True), found(db, table, "new", named=True)) == (
        [1],
        [2],
    )
    with db.engine.connect() as connection:
        among = select(table.c.id).where(table.c.body.in_(["new", "former"]))
        assert sorted(connection.scalars(among)) == [1, 2]
        others = select(table.c.id).where(table.c.body != "former")
        assert connection.scalars(others).all() == [2]
        neither = select(table.c.id).where(table.c.body.not_in(["former", "new"]))
        assert connection.scalars(neither).all() == []


@pytest.mark.parametrize(
    "phase, reads, does_not", [(PHASES[0], "old", "new"), (PHASES[1], "new", "old")]
)
def test_what_a_phase_writes_its_neighbour_reads(
    db: Database, phase: str, reads: str, does_not: str
) -> None:
    table = bound(phase)
    keys = table.c.id == bindparam("key"), table.c.uid == bindparam("unique")
    with db.begin() as connection:
        rows = [
            {"key": key, "unique": uuid.UUID(int=key), "body": f"again {key}"} for key in (1, 2)
        ]
        connection.execute(update(table).where(*keys), rows)
    put(db, table, 3, "added")
    assert all_of(db, bound(reads)) == {1: "again 1", 2: "again 2", 3: "added"}
    assert found(db, bound(reads), "again 1") == [1]
    with pytest.raises(DecryptionError):
        all_of(db, bound(does_not))


def mapped(table: Table) -> Any:
    """A class of the application, of one version."""
    return registry().map_imperatively(type("Note", (), {}), table).class_


@pytest.mark.parametrize("phase", PHASES)
def test_a_session_keeps_either_value_with_whatever_identifies_its_row(
    db: Database, phase: str
) -> None:
    model = mapped(bound(phase))
    with Session(db.engine) as session:
        for one in session.scalars(select(model)):
            one.uid = uuid.UUID(int=one.id + 100)
        session.commit()
        for one in session.scalars(select(model)):
            one.id += 10
        session.commit()
    assert all_of(db, bound(phase)) == {11: "former", 12: "new"}
    assert found(db, bound(phase), "former") == [11]
    with Session(db.engine) as session:
        session.get_one(model, 11).body = "by the session"
        session.commit()
    assert found(db, bound(phase), "by the session") == [11]


def test_what_does_not_identify_the_row_as_yet_may_be_null(db: Database) -> None:
    with db.begin() as connection:
        connection.execute(insert(bound("old")), {"id": 3, "uid": None, "body": "not yet"})
        connection.execute(
            insert(bound("write-former")), {"id": 4, "uid": None, "body": "nor this"}
        )
    for phase in PHASES:
        assert all_of(db, bound(phase)) | {3: "not yet", 4: "nor this"} == all_of(db, bound(phase))
        assert found(db, bound(phase), "nor this") == [4]
    with db.engine.begin() as connection, pytest.raises(EncFieldsError, match="uid"):
        connection.execute(insert(bound("write-new")), {"id": 5, "uid": None, "body": "refused"})


def test_the_run_takes_what_was_from_the_declaration(db: Database) -> None:
    with pytest.raises(DeclarationError, match="write-new"):
        rebinding(db.engine, db.encryption, bound("write-former").c.body)
    run = rebinding(db.engine, db.encryption, bound("write-new").c.body)
    assert run.run().rows_written == 1
    run.ensure()
    assert all_of(db, bound("new")) == {1: "former", 2: "new"}
    assert found(db, bound("new"), "former") == [1]


def test_a_value_opens_only_in_the_row_that_either_way_names(db: Database) -> None:
    db.execute_plain(
        "UPDATE note SET body = (SELECT b FROM (SELECT body AS b FROM note WHERE id = 1) x)"
        " WHERE id = 2"
    )
    for phase in PHASES:
        with pytest.raises(DecryptionError):
            all_of(db, bound(phase))
    run = rebinding(db.engine, db.encryption, bound("write-new").c.body)
    assert [fault.key for fault in run.run().quarantined] == [{"id": "2"}]


def test_the_former_way_opens_only_while_it_is_declared(db: Database) -> None:
    """A value from an old dump, which the run has moved since."""
    with db.plain.connect() as connection:
        kept = connection.execute(text("SELECT body FROM note WHERE id = 1")).scalar_one()
    rebinding(db.engine, db.encryption, bound("write-new").c.body).run()
    with db.plain.begin() as connection:
        connection.execute(text("UPDATE note SET body = :kept WHERE id = 1"), {"kept": kept})
    assert all_of(db, bound("write-new"))[1] == "former"
    with pytest.raises(DecryptionError):
        all_of(db, bound("new"))


FIRST, LATE = dt.datetime(2020, 1, 2), dt.datetime(2020, 1, 2, 13, 5)


def test_another_type_is_read_whichever_wrote_it(sqlite: Backend) -> None:
    db = Database(sqlite)
    day("old").create(db.engine)
    put(db, day("old"), 1, FIRST.date())
    put(db, day("new"), 2, LATE)
    put(db, day("write-former"), 3, FIRST)
    put(db, day("write-new"), 4, FIRST)
    for phase in PHASES:
        assert all_of(db, day(phase)) == {1: FIRST, 2: LATE, 3: FIRST, 4: FIRST}
        assert found(db, day(phase), FIRST) == [1, 3, 4]
        assert found(db, day(phase), FIRST, named=True) == [1, 3, 4]
        assert found(db, day(phase), LATE) == [2]
        assert found(db, day(phase), LATE, named=True) == [2]
    with pytest.raises(ValueEncodingError, match="former type"):
        put(db, day("write-former"), 5, LATE)

    run = conversion(db.engine, db.encryption, day("write-new").c.body)
    assert run.run().rows_written == 2
    run.ensure()
    assert all_of(db, day("new")) == {1: FIRST, 2: LATE, 3: FIRST, 4: FIRST}
    assert found(db, day("new"), FIRST) == [1, 3, 4]


def test_a_key_that_changes_takes_values_of_either_type_along(sqlite: Backend) -> None:
    db = Database(sqlite)
    day("old").create(db.engine)
    put(db, day("old"), 1, FIRST.date())
    put(db, day("new"), 2, FIRST)
    model = mapped(day("write-new"))
    with Session(db.engine) as session:
        for one in session.scalars(select(model)):
            one.id += 10
        session.commit()
    assert all_of(db, day("new")) == {11: FIRST, 12: FIRST}


@on_each_database
def test_hashes_of_two_ways_are_neither_grouped_nor_joined(db: Database) -> None:
    one = bound("write-new")
    with db.engine.connect() as connection:
        for statement in (
            select(func.count(one.c.body.blind().distinct())),
            select(one.c.id).join(one.alias("other"), one.c.body == one.alias("other").c.body),
        ):
            with pytest.raises(UnsupportedOperationError, match="formerly="):
                connection.execute(statement)


@pytest.mark.parametrize(
    "options, told",
    [
        ({"formerly": Formerly(name="a.b", phase="write-new"), "name": "a.b"}, "leave it out"),
        ({"formerly": Formerly(key="other", phase="write-new")}, "former_keys"),
        ({"formerly": Formerly(name="a", phase="write-new"), "lazy": True}, "lazy"),
        ({"formerly": "id"}, "Formerly"),
        ({"formerly": Formerly(bind_to="nothing", phase="write-new")}, "nothing"),
        (
            {
                "formerly": Formerly(name="a", phase="write-new"),
                "index": BlindIndex(unique=True),
            },
            "domain=",
        ),
    ],
)
def test_a_change_that_cannot_be_told_is_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(DeclarationError, match=told):
        note(**options)


def test_text_and_json_need_a_name_each() -> None:
    with pytest.raises(DeclarationError, match="look alike"):
        note(JSON(), formerly=Formerly(inner=String(), phase="write-new"))
    note(JSON(), name="n.2", formerly=Formerly(inner=String(), name="n", phase="write-new"))


def test_what_only_the_former_type_stores_as_null_is_null_meanwhile(sqlite: Backend) -> None:
    db = Database(sqlite)
    was = note(String(), name="n")
    was.create(db.engine)
    for number, phase in enumerate(PHASES, 1):
        formerly = Formerly(inner=String(), name="n", phase=phase)  # type: ignore[arg-type]
        put(db, note(JSON(), name="n.2", formerly=formerly), number, None)
    assert all_of(db, note(JSON(), name="n.2")) == {1: None, 2: None}
    with db.plain.connect() as connection:
        stored = connection.execute(text("SELECT body IS NULL FROM note ORDER BY id")).scalars()
        assert stored.all() == [1, 0]


@pytest.mark.parametrize("options", [{}, {"phase": "later", "name": "a"}, {"phase": "write-new"}])
def test_formerly_says_what_and_in_which_phase(options: dict[str, Any]) -> None:
    with pytest.raises((DeclarationError, TypeError)):
        Formerly(**options)


def test_a_unique_index_stays_one_where_its_hashes_do(sqlite: Backend) -> None:
    db = Database(sqlite)
    pinned = BlindIndex(unique=True, domain="note.body")
    note(index=pinned, name="note.body").create(db.engine)
    put(db, note(index=pinned, name="note.body"), 1, "once")
    table = note(index=pinned, **BOUND["write-new"])
    with pytest.raises(Exception, match="UNIQUE"):
        put(db, table, 2, "once")
    assert found(db, table, "once") == [1]


def amount(version: str) -> Table:
    """The same of one whose integers become decimal numbers, which are hashed in another way."""
    inner: Any = Integer() if version == "old" else Numeric()
    formerly = Formerly(inner=Integer(), phase=version) if version in PHASES else None  # type: ignore[arg-type]
    return note(inner, index=BlindIndex(), name="note.amount", formerly=formerly)


def test_a_number_whose_text_stays_is_found_by_the_hash_of_its_new_type(sqlite: Backend) -> None:
    db = Database(sqlite)
    amount("old").create(db.engine)
    put(db, amount("old"), 1, 5)
    put(db, amount("write-former"), 2, Decimal("5.00"))
    put(db, amount("write-new"), 3, Decimal("5.50"))
    for phase in PHASES:
        assert all_of(db, amount(phase)) == {1: 5, 2: 5, 3: Decimal("5.50")}
        assert found(db, amount(phase), Decimal("5.0")) == [1, 2]
    with pytest.raises(ValueEncodingError, match="former type"):
        put(db, amount("write-former"), 4, Decimal("0.5"))

    run = conversion(db.engine, db.encryption, amount("write-new").c.body)
    assert run.run().finished
    run.ensure()
    assert run.run().rows_written == 0
    assert all_of(db, amount("new")) == {1: 5, 2: 5, 3: Decimal("5.50")}
    assert found(db, amount("new"), Decimal("5.0")) == [1, 2]


def test_a_former_name_is_no_other_columns() -> None:
    """The two could exchange their values: both open under it."""
    formerly = Formerly(name="t.bonus", phase="write-new")
    with pytest.raises(DeclarationError, match=r"'t\.bonus' is that of"):
        Table(
            "t",
            MetaData(),
            Column("id", Integer, primary_key=True),
            Column("bonus", EncryptedType(String)),
            Column("salary", EncryptedType(String, formerly=formerly)),
        )


def test_a_former_name_is_no_column_of_another_table() -> None:
    metadata = MetaData()
    formerly = Formerly(name="shared", phase="write-former")
    Table(
        "one",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("a", EncryptedType(String, formerly=formerly)),
    )
    with pytest.raises(DeclarationError, match="'shared' is that of one"):
        Table(
            "two",
            metadata,
            Column("id", Integer, primary_key=True),
            Column("a", EncryptedType(String, name="shared")),
        )
