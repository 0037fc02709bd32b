"""Situations in which a row's key is generated: it is right, or the INSERT is refused.

What a plain INSERT leaves behind is what an encrypted one leaves behind: nothing stands for a
value, no trigger sees a second row, and no row is stored that cannot be read.
"""

from __future__ import annotations

import threading
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    FetchedValue,
    Identity,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    Uuid,
    create_engine,
    event,
    insert,
    select,
    text,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import registry

from encfields import EncryptedType, attach
from encfields.errors import UnknownIdentityError
from encfields.testing import local_store
from tests.database import Database


class Shifted(TypeDecorator[int]):
    """An application's numbers are 1000 more than the stored ones."""

    impl = Integer
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Any) -> int | None:
        return None if value is None else value - 1000

    def process_result_value(self, value: int | None, dialect: Any) -> int | None:
        return None if value is None else value + 1000


def secrets(key: Any = Integer, *more: Any, server_default: Any = None, **options: Any) -> Table:
    counted: Any = {"autoincrement": True} if server_default is None else {}
    return Table(
        "secret",
        MetaData(),
        Column("id", key, *more, primary_key=True, server_default=server_default, **counted),
        Column("name", String(20), unique=True),
        Column("s", EncryptedType(Text)),
        **options,
    )


def made(db: Database, table: Table) -> Table:
    db.create(table.metadata)
    return table


def read(db: Database, table: Table) -> list[tuple[int, str]]:
    with db.begin() as connection:
        return [tuple(row) for row in connection.execute(select(table.c.id, table.c.s))]


def rows(count: int) -> list[dict[str, str]]:
    return [{"name": f"n{n}", "s": f"s{n}"} for n in range(count)]


def test_a_type_of_the_application_s_own_sees_its_own_numbers(db):
    table = made(db, secrets(Shifted))
    with db.begin() as connection:
        one = connection.execute(insert(table), rows(1)[0])
        assert one.inserted_primary_key == (1001,)
        connection.execute(insert(table), rows(3)[1:])
    assert sorted(read(db, table)) == [(1001, "s0"), (1002, "s1"), (1003, "s2")]
    assert sorted(row[0] for row in db.rows(table)) == [1001, 1002, 1003]
    with db.plain.connect() as connection:
        assert connection.scalar(text("SELECT max(id) FROM secret")) == 3


def test_rowcount_is_as_of_a_plain_insert(db):
    table = made(db, secrets())
    plain = Table(
        "plain", table.metadata, Column("id", Integer, primary_key=True), Column("s", Text)
    )
    plain.create(db.engine)
    with db.begin() as connection:
        for values in ([{"s": "a"}] * 3, {"s": "a"}):
            theirs = connection.execute(insert(plain), values).rowcount
            assert connection.execute(insert(table), values).rowcount == theirs
        theirs = connection.execute(insert(plain).values([{"s": "a"}] * 3)).rowcount
        assert connection.execute(insert(table).values([{"s": "a"}] * 3)).rowcount == theirs


def test_long_values_of_many_rows_are_whole(db):
    table = made(db, secrets())
    long = [{"name": str(n), "s": str(n) * 100_000} for n in range(5)]
    with db.begin() as connection:
        connection.execute(insert(table), long)
    assert [value for _, value in sorted(read(db, table))] == [row["s"] for row in long]


@pytest.mark.parametrize("values", [[None, "x"], [None, "x" * 70_000], [None, None, *"x" * 30]])
def test_rows_whose_first_has_no_value_get_keys_of_their_own(db, values):
    table = secrets()
    db.create(table.metadata)
    for _ in range(2):
        with db.engine.begin() as connection:
            connection.execute(insert(table), [{"s": value} for value in values])
    with db.engine.connect() as connection:
        stored = connection.execute(select(table.c.s).order_by(table.c.id)).scalars().all()
    assert stored == values * 2


def test_keys_ascend_in_the_order_of_the_rows(db):
    table = made(db, secrets())
    with db.begin() as connection:
        connection.execute(insert(table), rows(200))
    assert [value for _, value in sorted(read(db, table))] == [row["s"] for row in rows(200)]


def test_python_defaults_are_evaluated_once(db):
    given: list[int] = []

    def count() -> int:
        given.append(len(given))
        return given[-1]

    table = secrets()
    table.append_column(Column("n", Integer, default=count))
    table.append_column(Column("d", EncryptedType(), default=lambda: f"d{count()}"))
    made(db, table)
    with db.begin() as connection:
        connection.execute(insert(table), rows(30))
        connection.execute(insert(table).values(name="x", s="x"))
        connection.execute(insert(table).values([{"name": "y", "s": "y"}, {"name": "z", "s": "z"}]))
        numbers = list(connection.execute(select(table.c.n)).scalars())
        texts = list(connection.execute(select(table.c.d)).scalars())
    assert sorted([*numbers, *(int(str(t)[1:]) for t in texts)]) == given == list(range(66))


def test_an_audit_trigger_sees_one_insert_and_the_sealed_value(db):
    table = made(db, secrets())
    db.execute_plain(
        "CREATE TABLE audit (op VARCHAR(9), id INTEGER, s " + BYTES[db.backend.family] + ")"
    )
    for statement in audit_triggers(db.name):
        db.execute_plain(statement)
    with db.begin() as connection:
        connection.execute(insert(table), rows(1)[0])
        connection.execute(insert(table), rows(3)[1:])
    with db.plain.connect() as connection:
        seen = connection.execute(text("SELECT op, id, s FROM audit ORDER BY id")).all()
    stored = [(db.stored(table.c.s, key)) for _, key, _ in seen]
    assert [(op, bytes(s)) for op, _, s in seen] == [("insert", s) for s in stored]
    assert len(seen) == 3


BYTES = {"sqlite": "BLOB", "postgresql": "BYTEA", "mariadb": "LONGBLOB"}


def audit_triggers(name: str) -> list[str]:
    found: list[str] = []
    for op in ("insert", "update", "delete"):
        row = "old" if op == "delete" else "new"
        copy = f"INSERT INTO audit (op, id, s) VALUES ('{op}', {row}.id, {row}.s)"
        if name == "postgresql":
            body = f"BEGIN {copy}; RETURN NULL; END"
            found.append(
                f"CREATE FUNCTION f_{op}() RETURNS trigger LANGUAGE plpgsql AS $$ {body} $$"
            )
            copy = f"EXECUTE FUNCTION f_{op}()"
        elif name == "sqlite":
            copy = f"BEGIN {copy}; END"
        each = "" if name == "sqlite" else "FOR EACH ROW "
        found.append(f"CREATE TRIGGER t_{op} AFTER {op} ON secret {each}{copy}")
    return found


def test_an_insert_s_error_is_as_of_a_plain_insert(db):
    table = made(db, secrets())
    with db.begin() as connection:
        connection.execute(insert(table), rows(1)[0])
    with db.engine.connect() as connection:
        connection.execute(insert(table), {"name": "kept", "s": "kept"})
        with pytest.raises(DBAPIError):
            connection.execute(insert(table), rows(1)[0])
        if db.name == "postgresql":  # whose transaction has failed as a whole
            connection.rollback()
        else:
            connection.commit()
    names = {value for _, value in read(db, table)}
    assert names == ({"s0"} if db.name == "postgresql" else {"s0", "kept"})


class TimeLimit(Exception):
    """Raised anywhere, as Celery's soft time limit is, and caught by the application."""


def rehearsed(db: Database) -> Table:
    """A table whose keys are learnt from an INSERT that is rolled back, where there is a choice."""
    if db.name == "sqlite":
        table = made(db, secrets())
        db.execute_plain("CREATE TRIGGER tr BEFORE INSERT ON secret BEGIN SELECT 1; END")
        return table
    if db.name == "postgresql":
        db.execute_plain("CREATE SEQUENCE free_seq")
        return made(db, secrets(Integer, server_default=text("nextval('free_seq') * 10")))
    if db.name == "mysql":
        pytest.skip("its keys are learnt on another connection than the application's")
    return made(db, secrets())


@pytest.mark.parametrize("end", [TimeLimit, KeyboardInterrupt])
@pytest.mark.parametrize(
    "when, sql", [("after", "INSERT INTO secret"), ("before", "ROLLBACK TO SAVEPOINT")]
)
def test_what_interrupts_a_rehearsal_leaves_no_row_of_it_behind(db, end, when, sql):
    table = rehearsed(db)
    db.encryption.prefetch()
    interrupted: list[str] = []

    @event.listens_for(db.engine, f"{when}_cursor_execute")
    def interrupt(connection, cursor, statement, *_):
        if sql in statement and not interrupted:
            interrupted.append(statement)
            raise end

    with db.engine.connect() as connection:
        with pytest.raises(end):
            connection.execute(insert(table), rows(1)[0])
        if end is TimeLimit:  # the other one invalidates the connection
            connection.execute(insert(table), rows(2)[1])
            connection.commit()
    assert [value for _, value in read(db, table)] == (["s1"] if end is TimeLimit else [])


def test_the_application_s_savepoint_is_left_alone(db):
    table = made(db, secrets())
    with db.engine.begin() as connection:
        outer = connection.begin_nested()
        connection.execute(insert(table), rows(1)[0])
        connection.execute(insert(table), rows(4)[1:])
        outer.rollback()
        connection.execute(insert(table), {"name": "kept", "s": "kept"})
    assert [value for _, value in read(db, table)] == ["kept"]


# -- PostgreSQL --------------------------------------------------------------------------------


@pytest.fixture
def pg(postgresql_db: Database) -> Database:
    return postgresql_db


def test_each_search_path_has_its_own_sequence(pg):
    table = secrets()
    for tenant in ("ta", "tb"):
        pg.execute_plain(f"CREATE SCHEMA {tenant}")
        with pg.begin() as connection:
            connection.execute(text(f"SET LOCAL search_path TO {tenant}"))
            table.create(connection)
    for tenant in ("ta", "tb", "ta", "tb"):
        with pg.begin() as connection:
            connection.execute(text(f"SET LOCAL search_path TO {tenant}"))
            connection.execute(insert(table), {"s": tenant})
    for tenant in ("ta", "tb"):
        with pg.plain.connect() as connection:
            assert connection.scalar(text(f"SELECT last_value FROM {tenant}.secret_id_seq")) == 2


def test_each_translated_schema_has_its_own_sequence(pg):
    table = secrets()
    for tenant in ("ta", "tb"):
        pg.execute_plain(f"CREATE SCHEMA {tenant}")
        engine = pg.engine.execution_options(schema_translate_map={None: tenant})
        table.create(engine)
        with engine.begin() as connection:
            connection.execute(insert(table), rows(2))
            assert connection.execute(select(table.c.id, table.c.s)).all() == [(1, "s0"), (2, "s1")]


def test_an_engine_may_be_translated_in_several_ways(pg):
    """Of each statement SQLAlchemy wants it to be in one way, also of those that ask for keys."""
    pg.execute_plain("CREATE SCHEMA ta")
    for way in ({"x": None}, {None: "ta"}, {"x": "ta"}):
        metadata = MetaData()
        table = secrets().to_metadata(metadata, name="secret_" + "_".join(map(str, way.values())))
        engine = pg.engine.execution_options(schema_translate_map=way)
        metadata.create_all(engine)
        with engine.begin() as connection:
            connection.execute(insert(table), rows(2))
            assert connection.execute(select(table.c.id, table.c.s)).all() == [(1, "s0"), (2, "s1")]


@pytest.mark.parametrize("always", [False, True])
def test_a_role_that_may_only_insert_needs_no_right_on_the_sequence(pg, always):
    table = made(pg, secrets(Integer, Identity(always=always)))
    role = f"encfields_role_{pg.engine.url.database}"
    pg.execute_plain(f'CREATE ROLE "{role}"')
    try:
        with pg.plain.connect() as connection:
            schema = connection.scalar(text("SELECT current_schema()"))
        pg.execute_plain(f'GRANT USAGE ON SCHEMA "{schema}" TO "{role}"')
        pg.execute_plain(f'GRANT SELECT, INSERT ON secret TO "{role}"')
        with pg.begin() as connection:
            connection.execute(insert(table), rows(1)[0])
            connection.execute(text(f'SET LOCAL ROLE "{role}"'))
            connection.execute(insert(table), rows(3)[1:])
        assert sorted(read(pg, table)) == [(1, "s0"), (2, "s1"), (3, "s2")]
    finally:
        pg.execute_plain(f'DROP OWNED BY "{role}"')
        pg.execute_plain(f'DROP ROLE "{role}"')


DEFAULTS = {
    "uuid": ("UUID", "gen_random_uuid()"),
    "a sequence of nobody's": ("INTEGER", "nextval('free_seq')"),
    "an expression": ("INTEGER", "nextval('free_seq') * 10"),
}


@pytest.mark.parametrize("type_, default", DEFAULTS.values(), ids=DEFAULTS.keys())
def test_any_server_default_gives_the_key(pg, type_, default):
    pg.execute_plain("CREATE SEQUENCE free_seq")
    key = Uuid if type_ == "UUID" else Integer
    table = Table(
        "secret",
        MetaData(),
        Column("id", key, primary_key=True, server_default=text(default)),
        Column("name", String(20)),
        Column("s", EncryptedType(Text)),
    )
    pg.create(table.metadata)
    with pg.begin() as connection:
        connection.execute(insert(table), rows(1)[0])
        connection.execute(insert(table), rows(4)[1:])
        found = connection.execute(select(table.c.name, table.c.s)).all()
    assert sorted(tuple(row) for row in found) == [(f"n{n}", f"s{n}") for n in range(4)]


def trigger(pg: Database, body: str, when: str = "BEFORE") -> None:
    body = f"$$ BEGIN {body}; RETURN new; END $$"
    pg.execute_plain(f"CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS {body}")
    pg.execute_plain(f"CREATE TRIGGER tr {when} INSERT ON secret FOR EACH ROW EXECUTE FUNCTION f()")


@pytest.mark.parametrize(
    "when, body",
    [
        ("BEFORE", "new.id := 1000000 + new.id"),
        ("AFTER", "UPDATE secret SET id = 1000000 + new.id WHERE id = new.id AND s IS NOT NULL"),
    ],
)
def test_a_trigger_that_always_sets_the_key_is_found_out(pg, when, body):
    table = made(pg, secrets())
    trigger(pg, body, when)
    for values in (rows(1)[0], rows(3)):
        with pg.begin() as connection:
            connection.execute(text("INSERT INTO secret (name) VALUES ('kept')"))
            with pytest.raises(UnknownIdentityError):
                connection.execute(insert(table), values)
            connection.execute(text("DELETE FROM secret WHERE name = 'kept'"))
        assert pg.rows(table) == []


def test_a_trigger_that_fills_a_missing_key_is_asked(pg):
    table = Table(
        "secret",
        MetaData(),
        Column("id", Integer, FetchedValue(), primary_key=True, autoincrement=False),
        Column("name", String(20)),
        Column("s", EncryptedType(Text)),
    )
    pg.create(table.metadata)
    pg.execute_plain("CREATE SEQUENCE free_seq")
    trigger(pg, "IF new.id IS NULL THEN new.id := nextval('free_seq'); END IF")
    with pg.begin() as connection:
        connection.execute(insert(table), rows(1)[0])
        connection.execute(insert(table), rows(3)[1:])
    assert sorted(value for _, value in read(pg, table)) == ["s0", "s1", "s2"]


def test_a_trigger_that_leaves_the_key_alone_is_let_be(pg):
    table = made(pg, secrets())
    trigger(pg, "new.name := upper(new.name)")
    with pg.begin() as connection:
        connection.execute(insert(table), rows(3))
    assert sorted(read(pg, table)) == [(1, "s0"), (2, "s1"), (3, "s2")]


def test_a_trigger_that_keeps_some_of_the_rows_out_is_said(pg):
    table = made(pg, secrets())
    pg.execute_plain("ALTER TABLE secret ALTER id SET DEFAULT nextval('secret_id_seq') * 3")
    trigger(pg, "IF new.name = 'n1' THEN RETURN NULL; END IF")
    with pg.begin() as connection, pg.refused(UnknownIdentityError, table):
        connection.execute(insert(table), rows(3))
    assert pg.rows(table) == []


def test_a_view_that_reports_no_keys_is_said(pg):
    table = made(pg, secrets())
    pg.execute_plain("ALTER TABLE secret RENAME TO beneath")
    pg.execute_plain("CREATE VIEW secret AS SELECT * FROM beneath")
    trigger(pg, "INSERT INTO beneath (name, s) VALUES (new.name, new.s)", "INSTEAD OF")
    for values in (rows(1)[0], rows(3)):
        with pg.begin() as connection, pg.refused(UnknownIdentityError, table):
            connection.execute(insert(table), values)
    assert pg.rows(table) == []


# -- SQLite ------------------------------------------------------------------------------------


def test_a_trigger_that_inserts_into_the_same_table_takes_keys_too(sqlite_db):
    table = made(sqlite_db, secrets())
    sqlite_db.execute_plain(
        "CREATE TRIGGER tr AFTER INSERT ON secret WHEN new.s IS NOT NULL"
        " BEGIN INSERT INTO secret (s) VALUES (NULL); END"
    )
    with sqlite_db.begin() as connection:
        connection.execute(insert(table), rows(3))
        connection.execute(insert(table), {"s": "s3"})
    found = [value for _, value in sorted(read(sqlite_db, table))]
    assert [value for value in found if value] == ["s0", "s1", "s2", "s3"]
    assert len(found) == 8


def test_under_a_trigger_an_insert_returns_its_row(sqlite_db):
    table = made(sqlite_db, secrets())
    sqlite_db.execute_plain("CREATE TABLE audit (id INTEGER)")
    sqlite_db.execute_plain(
        "CREATE TRIGGER tr AFTER INSERT ON secret BEGIN INSERT INTO audit VALUES (new.id); END"
    )
    found: list[tuple[int, str]] = []
    with sqlite_db.begin() as connection:
        for values in (rows(1)[0], rows(3)[1:]):
            returned = connection.execute(insert(table).returning(table.c.id, table.c.s), values)
            found += [tuple(row) for row in returned]
    assert sorted(value for _, value in found) == ["s0", "s1", "s2"]
    assert sorted(read(sqlite_db, table)) == sorted(found)


def test_under_a_trigger_a_row_is_looked_for_whatever_class_it_is_of(sqlite_db):
    class Kept:
        pass

    class Shared(Kept):
        pass

    table = made(sqlite_db, secrets())
    classes = registry()
    classes.map_imperatively(Kept, table, polymorphic_on=table.c.name)
    classes.map_imperatively(Shared, inherits=Kept, polymorphic_identity="shared")
    sqlite_db.execute_plain("CREATE TRIGGER tr AFTER INSERT ON secret BEGIN SELECT 1; END")
    with sqlite_db.session() as session:
        session.execute(insert(Shared).values(s="without the name of its class"))
        session.commit()
    assert read(sqlite_db, table) == [(1, "without the name of its class")]


def test_a_number_that_was_given_out_is_not_given_again(sqlite_db):
    table = made(sqlite_db, secrets(sqlite_autoincrement=True))
    for value in ("a", "b"):
        with sqlite_db.begin() as connection:
            key = connection.execute(insert(table), {"s": value}).inserted_primary_key
            connection.execute(table.delete())
    assert key == (2,)


@pytest.mark.parametrize("remembers, expected", [(True, 1), (False, -4)])
def test_after_a_negative_number_comes_what_sqlite_gives(sqlite_db, remembers, expected):
    table = made(sqlite_db, secrets(sqlite_autoincrement=remembers))
    with sqlite_db.begin() as connection:
        connection.execute(insert(table), {"id": -5, "s": "a"})
        key = connection.execute(insert(table), {"s": "b"}).inserted_primary_key
    assert key == (expected,)
    assert (expected, "b") in read(sqlite_db, table)


@pytest.mark.parametrize("number", ["'abc'", "x'00'", "'2'", "2.7", "NULL", "-5"])
def test_a_remembered_number_that_is_none_is_read_as_sqlite_does(sqlite_db, number):
    table = made(sqlite_db, secrets(sqlite_autoincrement=True))
    with sqlite_db.begin() as connection:
        connection.execute(insert(table), rows(2))
    sqlite_db.execute_plain(f"UPDATE sqlite_sequence SET seq = {number}")
    with sqlite_db.begin() as connection:
        assert connection.execute(insert(table), {"s": "s2"}).inserted_primary_key == (3,)
    assert read(sqlite_db, table)[-1] == (3, "s2")


def test_a_trigger_that_keeps_some_rows_out_of_sqlite_is_said(sqlite_db):
    table = made(sqlite_db, secrets())
    sqlite_db.execute_plain(
        "CREATE TRIGGER tr BEFORE INSERT ON secret WHEN new.name = 'n1'"
        " BEGIN SELECT RAISE(IGNORE); END"
    )
    with sqlite_db.begin() as connection, sqlite_db.refused(UnknownIdentityError, table):
        connection.execute(insert(table), rows(3))
    assert sqlite_db.rows(table) == []


def test_an_insert_through_a_view_of_sqlite_is_refused(sqlite_db):
    table = made(sqlite_db, secrets())
    sqlite_db.execute_plain("ALTER TABLE secret RENAME TO beneath")
    sqlite_db.execute_plain("CREATE VIEW secret AS SELECT * FROM beneath")
    sqlite_db.execute_plain(
        "CREATE TRIGGER tr INSTEAD OF INSERT ON secret"
        " BEGIN INSERT INTO beneath (name, s) VALUES (new.name, new.s); END"
    )
    with sqlite_db.begin() as connection, sqlite_db.refused(UnknownIdentityError, table):
        connection.execute(insert(table), rows(1)[0])


def test_an_insert_that_finds_a_lock_lets_the_other_writer_commit(tmp_path):
    engine = create_engine(f"sqlite:///{tmp_path}/locked.db", connect_args={"timeout": 0})
    attach(engine, local_store(bytes(32)), create=True)
    table = secrets()
    table.metadata.create_all(engine)
    with engine.connect() as first, engine.connect() as second:
        first.execute(insert(table), rows(1)[0])
        with second.begin(), second.begin_nested() as savepoint:
            with pytest.raises(DBAPIError, match="locked"):
                second.execute(insert(table), rows(1)[0])
            savepoint.rollback()
            first.commit()
        assert len(second.execute(select(table)).all()) == 1
    engine.dispose()


def test_the_end_of_the_numbers_is_said(sqlite_db):
    table = made(sqlite_db, secrets())
    with sqlite_db.begin() as connection:
        connection.execute(insert(table), {"id": 2**63 - 1, "s": "last"})
    with sqlite_db.begin() as connection, sqlite_db.refused(UnknownIdentityError, table):
        connection.execute(insert(table), {"s": "one more"})


def test_two_writers_get_different_keys(sqlite_db):
    table = made(sqlite_db, secrets())

    def write(writer: int) -> None:
        for n in range(20):
            with sqlite_db.begin() as connection:
                connection.execute(insert(table), {"s": f"{writer}-{n}"})

    writers = [threading.Thread(target=write, args=(n,)) for n in range(2)]
    for one in writers:
        one.start()
    for one in writers:
        one.join()
    assert len(read(sqlite_db, table)) == 40


# -- MariaDB -----------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["Aria", "MyISAM", "MEMORY"])
def test_an_engine_without_transactions_is_refused(mariadb_db, engine):
    table = Table(
        "secret",
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("s", EncryptedType(String(20), storage=LargeBinary(500))),
    )
    columns = "id INTEGER PRIMARY KEY AUTO_INCREMENT, s VARBINARY(500)"
    mariadb_db.execute_plain(f"CREATE TABLE secret ({columns}) ENGINE={engine}")
    for values in ({"s": "a"}, [{"s": "a"}, {"s": "b"}]):
        with (
            mariadb_db.begin() as connection,
            mariadb_db.refused(UnknownIdentityError, table) as caught,
        ):
            connection.execute(insert(table), values)
        assert "InnoDB" in str(caught.value)


def beneath_a_view(db: Database) -> None:
    db.execute_plain("RENAME TABLE secret TO beneath")
    db.execute_plain("ALTER TABLE beneath ENGINE=MyISAM")
    db.execute_plain("CREATE VIEW secret AS SELECT * FROM beneath")


def once_it_was_known(db: Database) -> None:
    with db.begin() as connection:
        connection.execute(insert(secrets()), {"name": "first", "s": "s"})
    db.execute_plain("ALTER TABLE secret ENGINE=MyISAM")


@pytest.mark.parametrize("count", [1, 3, 100])
@pytest.mark.parametrize("change", [beneath_a_view, once_it_was_known])
def test_such_an_engine_that_is_not_seen_keeps_nothing(mariadb_db, change, count):
    table = made(mariadb_db, secrets())
    change(mariadb_db)
    for _ in range(2):
        with mariadb_db.begin() as connection, mariadb_db.refused(UnknownIdentityError, table):
            connection.execute(insert(table), rows(count))


@pytest.mark.parametrize("count", [1, 100])
def test_a_trigger_that_writes_to_such_an_engine_is_refused_from_then_on(mariadb_db, count):
    """The server tells of it afterwards only: one row of random bytes stays where it wrote."""
    table = made(mariadb_db, secrets())
    mariadb_db.execute_plain("CREATE TABLE audit (s LONGBLOB) ENGINE=Aria")
    mariadb_db.execute_plain(
        "CREATE TRIGGER tr AFTER INSERT ON secret FOR EACH ROW INSERT INTO audit VALUES (new.s)"
    )
    for _ in range(3):
        with (
            mariadb_db.begin() as connection,
            mariadb_db.refused(UnknownIdentityError, table) as caught,
        ):
            connection.execute(insert(table), rows(count))
        assert "InnoDB" in str(caught.value)
    with mariadb_db.plain.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM audit")) == 1
    with mariadb_db.begin() as connection:
        connection.execute(insert(table), {"id": 7, "name": "given", "s": "s"})
    assert read(mariadb_db, table) == [(7, "s")]


def test_autocommit_that_sqlalchemy_does_not_know_of_is_refused(mariadb_db):
    table = made(mariadb_db, secrets())
    for values in (rows(1)[0], rows(3), rows(100)):
        with (
            mariadb_db.engine.connect() as connection,
            mariadb_db.refused(UnknownIdentityError, table),
        ):
            connection.exec_driver_sql("SET autocommit = 1")
            try:
                connection.execute(insert(table), values)
            finally:
                connection.invalidate()


def test_on_update_current_timestamp_does_not_fire(mariadb_db):
    table = secrets()
    mariadb_db.execute_plain(
        "CREATE TABLE secret (id INTEGER PRIMARY KEY AUTO_INCREMENT, name VARCHAR(20), s LONGBLOB,"
        " changed DATETIME NULL ON UPDATE CURRENT_TIMESTAMP)"
    )
    with mariadb_db.begin() as connection:
        connection.execute(insert(table), rows(1)[0])
        connection.execute(insert(table), rows(3)[1:])
    with mariadb_db.plain.connect() as connection:
        assert set(connection.scalars(text("SELECT changed FROM secret"))) == {None}


@pytest.mark.parametrize("count", [1, 3, 100])
def test_a_partitioned_table(mariadb_db, count):
    table = secrets()
    mariadb_db.execute_plain(
        "CREATE TABLE secret (id INTEGER PRIMARY KEY AUTO_INCREMENT, name VARCHAR(20), s LONGBLOB)"
        " PARTITION BY HASH (id) PARTITIONS 4"
    )
    with mariadb_db.begin() as connection:
        connection.execute(insert(table), rows(count))
    assert sorted(value for _, value in read(mariadb_db, table)) == sorted(
        row["s"] for row in rows(count)
    )


@pytest.mark.parametrize("count", [1, 100])
def test_a_mariadb_trigger_that_always_sets_the_key_is_found_out(mariadb_db, count):
    table = made(mariadb_db, secrets())
    mariadb_db.execute_plain(
        "CREATE TRIGGER tr BEFORE INSERT ON secret FOR EACH ROW SET new.id = 5000 + new.id * 7"
    )
    with mariadb_db.begin() as connection, mariadb_db.refused(UnknownIdentityError, table):
        connection.execute(insert(table), rows(count))


@pytest.mark.parametrize("level", ["REPEATABLE READ", "READ COMMITTED", "SERIALIZABLE"])
@pytest.mark.parametrize(
    "before",
    [None, "INSERT INTO parent VALUES (NULL)", "SELECT id FROM parent", "SELECT id\nFROM parent"],
    ids=["writes-first", "wrote-before", "read-before", "orm-read-before"],
)
def test_two_transactions_do_not_wait_for_each_other(innodb_db, level, before):
    table = made(innodb_db, secrets())
    innodb_db.execute_plain("CREATE TABLE parent (id INTEGER PRIMARY KEY AUTO_INCREMENT)")
    with innodb_db.begin() as connection:  # from here on the dictionary is asked nothing
        connection.execute(insert(table), {"name": "-", "s": "-"})
    engine = innodb_db.engine.execution_options(isolation_level=level)
    with engine.connect() as one, engine.connect() as other:
        for connection in (one, other):
            connection.exec_driver_sql("SET innodb_lock_wait_timeout = 2")
            if before is not None:
                connection.exec_driver_sql(before)
        for n, connection in enumerate((one, other, one, other)):
            connection.execute(insert(table), {"name": str(n), "s": str(n)})
        one.commit()
        other.commit()
    stored = read(innodb_db, table)
    assert sorted(value for _, value in stored) == ["-", "0", "1", "2", "3"]
    assert sorted(key for key, _ in stored) == [1, 2, 3, 4, 5]


def test_who_locked_where_the_row_goes_waits_for_himself_once(mysql_db):
    table = made(mysql_db, secrets())
    with mysql_db.begin() as connection:
        connection.execute(insert(table), rows(1)[0])
    with mysql_db.begin() as connection:
        connection.exec_driver_sql("SELECT id FROM secret WHERE id = 99 FOR UPDATE")
        for row in rows(4)[1:]:
            connection.execute(insert(table), row)
    assert sorted(key for key, _ in read(mysql_db, table)) == [1, 3, 4, 5]


def test_autocommit_that_only_the_driver_saw_is_refused_before_a_row_is_stored(innodb_db):
    table = made(innodb_db, secrets())
    with innodb_db.engine.connect() as connection:
        cursor = connection.connection.cursor()
        cursor.execute("SET autocommit = 1")
        cursor.close()
        with pytest.raises(UnknownIdentityError, match="AUTOCOMMIT"):
            connection.execute(insert(table), rows(1)[0])
        connection.invalidate()
    assert read(innodb_db, table) == []


_CONNECTOR_ASKS = "keeps neither autocommit nor the count of warnings of its last answer"


def test_mysql_gets_no_query_beside_the_rehearsal_of_a_transactions_first_row(mysql_db):
    if mysql_db.engine.driver == "mysqlconnector":
        pytest.skip(_CONNECTOR_ASKS)
    table = made(mysql_db, secrets())
    with mysql_db.begin() as connection:
        connection.execute(insert(table), rows(1)[0])
    seen = statements_of(mysql_db)
    with mysql_db.begin() as connection:
        connection.execute(insert(table), rows(2)[1])
    assert [sql.partition(" ")[0] for sql in seen] == ["SAVEPOINT", "INSERT", "ROLLBACK", "INSERT"]


def test_postgresql_gets_many_rows_in_each_statement_as_of_a_plain_table(postgresql_db):
    count = 2500
    table = made(postgresql_db, secrets())
    registry().map_imperatively(Secret, table)
    seen = statements_of(postgresql_db)
    with postgresql_db.session() as session:
        session.add_all([Secret(name=row["name"], s=row["s"]) for row in rows(count)])
        session.commit()
    inserts = [sql for sql in seen if sql.startswith("INSERT")]

    assert len(seen) - len(inserts) <= 1
    assert all("), (" in sql for sql in inserts)
    assert read(postgresql_db, table) == [(n + 1, f"s{n}") for n in range(count)]


class Secret:
    def __init__(self, name: str, s: str) -> None:
        self.name, self.s = name, s


def statements_of(db: Database) -> list[str]:
    """The statements that the engine will send, as others hear of them."""
    seen: list[str] = []
    event.listen(db.engine, "before_cursor_execute", lambda c, cur, sql, *rest: seen.append(sql))
    return seen


def test_listeners_see_only_the_insert_and_the_statement_that_gives_its_key(mariadb_db):
    if mariadb_db.engine.driver == "mysqlconnector":
        pytest.skip(_CONNECTOR_ASKS)
    table = made(mariadb_db, secrets())
    with mariadb_db.begin() as connection:
        connection.execute(insert(table), rows(1)[0])
    seen = statements_of(mariadb_db)
    with mariadb_db.begin() as connection:
        connection.execute(insert(table), rows(2)[1])
    assert len(seen) == 2


def test_a_bound_column_that_the_database_fills_is_not_confused_with_the_row_id(sqlite_db):
    table = Table(
        "secret",
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("tenant", Integer, server_default="5"),
        Column("s", EncryptedType(Text, bind_to=["id", "tenant"])),
    )
    sqlite_db.create(table.metadata)
    with sqlite_db.engine.begin() as connection:
        connection.execute(insert(table), {"id": 1, "s": "x"})
        connection.execute(insert(table), {"s": "y"})
        stored = connection.execute(select(table).order_by(table.c.id)).all()
    assert stored == [(1, 5, "x"), (2, 5, "y")]
