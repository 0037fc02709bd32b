"""A trigger or a rule that gives a row another key, or tenant, than the application gave it.

The values would open nowhere. Where a table has triggers, its keys are read back in the same
transaction; a row that is not where it was put ends in an error, and all is rolled back.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    insert,
    select,
    text,
    update,
)
from sqlalchemy import Uuid as UuidType
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.exc import PendingRollbackError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from encfields import EncryptedType
from encfields.errors import IdentityChangeError, UnknownIdentityError
from encfields.orm.write import triggered_tables
from encfields.orm.write.stored_messages import StoredMessages
from tests.attached import attach_with_kept_keys
from tests.database import Database


def cases(key: Any = Integer) -> Table:
    return Table(
        "casefile",
        MetaData(),
        Column("id", key, primary_key=True, autoincrement=False),
        Column("tenant", String(20), nullable=False, default="a"),
        Column("s", EncryptedType(Text)),
        Column("t", EncryptedType(Text, bind_to=("id", "tenant"))),
    )


def made(db: Database, table: Table) -> Table:
    db.create(table.metadata)
    return table


def trigger(db: Database, verb: str, setting: str, when: str = "true") -> None:
    """A trigger of `casefile` that gives each row which is written something else."""
    body = f"BEGIN IF {when} THEN SET new.{setting}; END IF; END"
    each = "ON casefile FOR EACH ROW"
    made: list[str] = [f"CREATE TRIGGER tr BEFORE {verb} {each} {body}"]
    if db.name == "postgresql":
        body = f"BEGIN IF {when} THEN new.{setting}; END IF; RETURN new; END"
        made = [
            f"CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ {body} $$",
            f"CREATE TRIGGER tr BEFORE {verb} {each} EXECUTE FUNCTION f()",
        ]
    elif db.name == "sqlite":
        made = [
            f"CREATE TRIGGER tr AFTER {verb} ON casefile WHEN {when}"
            f" BEGIN UPDATE casefile SET {setting} WHERE id = new.id; END"
        ]
    with db.engine.begin() as connection:
        for statement in made:
            connection.execute(text(statement))


def read(db: Database, table: Table) -> list[tuple[Any, ...]]:
    with db.begin() as connection:
        return [tuple(r) for r in connection.execute(select(table.c.id, table.c.s, table.c.t))]


@pytest.mark.parametrize("setting", ["id = new.id + 1000", "tenant = 'other'"])
@pytest.mark.parametrize("count", [1, 3])
def test_an_insert_that_is_stored_elsewhere_is_rolled_back(db, setting, count):
    table = made(db, cases())
    trigger(db, "INSERT", setting)
    rows = [{"id": n, "s": f"s{n}", "t": f"t{n}"} for n in range(1, count + 1)]
    with (
        db.refused(IdentityChangeError, table) as caught,
        db.begin() as connection,
    ):
        connection.execute(insert(table), rows)
    assert caught.value.table == "casefile"
    assert caught.value.reason == "trigger"
    assert caught.value.row["id"] == "1"


def test_who_swallows_the_error_commits_nothing(db):
    table = made(db, cases())
    trigger(db, "INSERT", "id = new.id + 1000")
    with db.engine.connect() as connection:
        with pytest.raises(IdentityChangeError):
            connection.execute(insert(table), {"id": 1, "s": "s"})
        with pytest.raises(PendingRollbackError):
            connection.execute(text("SELECT 1"))
        with pytest.raises(PendingRollbackError):
            connection.commit()
        connection.rollback()
        connection.execute(text("SELECT 1"))
    assert db.rows(table) == []


def test_a_savepoint_is_all_that_is_rolled_back(db):
    table = made(db, cases())
    trigger(db, "INSERT", "id = new.id + 1000", "new.id = 2")
    with db.begin() as connection:
        connection.execute(insert(table), {"id": 1, "s": "s1"})
        with pytest.raises(IdentityChangeError), connection.begin_nested():
            connection.execute(insert(table), {"id": 2, "s": "s2"})
        connection.execute(insert(table), {"id": 3, "s": "s3"})
    assert read(db, table) == [(1, "s1", None), (3, "s3", None)]


def test_a_trigger_that_evades_a_key_which_is_taken_is_found_out(db):
    """There is a row of that key, and it is another one."""
    table = made(db, cases())
    with db.begin() as connection:
        connection.execute(insert(table), {"id": 1, "s": "first"})
    if db.name == "sqlite":
        with db.engine.begin() as connection:
            connection.execute(
                text(
                    "CREATE TRIGGER tr AFTER INSERT ON casefile WHEN new.id = 2 BEGIN"
                    " UPDATE casefile SET id = 3 WHERE id = 2;"
                    " UPDATE casefile SET id = 2 WHERE id = 1; END"
                )
            )
        given = 2
    else:
        trigger(db, "INSERT", "id = new.id + 1", "new.id = 1")
        given = 1
    with db.refused(IdentityChangeError, table), db.begin() as connection:
        connection.execute(insert(table), {"id": given, "s": "second"})


@pytest.mark.parametrize("setting", ["id = new.id + 1000", "tenant = 'other'"])
def test_an_update_that_moves_the_row_is_rolled_back(db, setting):
    table = made(db, cases())
    with db.begin() as connection:
        connection.execute(insert(table), [{"id": n, "s": "old", "t": "old"} for n in (1, 2)])
    trigger(db, "UPDATE", setting, "new.id < 1000 AND new.tenant = 'a'")
    by_key = (table.c.id == 1) & (table.c.tenant == "a")
    with db.refused(IdentityChangeError, table), db.begin() as connection:
        connection.execute(table.update().where(by_key).values(t="new"))


def test_an_upsert_whose_update_moves_the_row_is_rolled_back(db):
    """What fires is a trigger of UPDATE, and the statement is an INSERT."""
    table = made(db, cases())
    trigger(db, "UPDATE", "id = new.id + 1000")
    with db.begin() as connection:
        connection.execute(insert(table), {"id": 1, "s": "before"})
    dialect = {"postgresql": postgresql, "sqlite": sqlite}.get(db.name, mysql)
    upsert: Any = dialect.insert(table)
    if dialect is mysql:
        upsert = upsert.on_duplicate_key_update(s=upsert.inserted.s)
    else:
        upsert = upsert.on_conflict_do_update(index_elements=["id"], set_={"s": upsert.excluded.s})
    with db.refused(IdentityChangeError, table), db.begin() as connection:
        connection.execute(upsert, {"id": 1, "s": "after"})
    assert read(db, table) == [(1, "before", None)]


def test_an_upsert_that_returns_rows_is_looked_after_before_they_are_fetched(sqlite_db):
    table = made(sqlite_db, cases())
    trigger(sqlite_db, "UPDATE", "id = new.id + 1000")
    upsert = sqlite.insert(table)
    upsert = upsert.on_conflict_do_update(index_elements=["id"], set_={"s": upsert.excluded.s})
    with sqlite_db.begin() as connection:
        assert connection.execute(upsert.returning(table.c.s), {"id": 1, "s": "a"}).all() == [
            ("a",)
        ]
    with sqlite_db.refused(IdentityChangeError, table), sqlite_db.begin() as connection:
        connection.execute(upsert.returning(table.c.id), {"id": 1, "s": "b"})
    skip = sqlite.insert(table).on_conflict_do_nothing().returning(table.c.id)
    with sqlite_db.begin() as connection:
        assert connection.execute(skip, {"id": 1, "s": "c"}).all() == []
    assert read(sqlite_db, table) == [(1, "a", None)]


def test_the_orm_says_so_at_the_flush_and_goes_on(db):
    class Base(DeclarativeBase):
        pass

    class Note(Base):
        __tablename__ = "casefile"
        id: Mapped[uuid.UUID] = mapped_column(UuidType, primary_key=True, default=uuid.uuid4)
        tenant: Mapped[str] = mapped_column(String(20))
        s: Mapped[str] = mapped_column(EncryptedType(Text, bind_to=("id", "tenant")))

    Base.metadata.create_all(db.engine)
    trigger(db, "INSERT", "tenant = 'b'", "new.tenant = 'a'")
    with db.session() as session:
        session.add_all([Note(tenant="a", s="one"), Note(tenant="b", s="two")])
        with pytest.raises(IdentityChangeError):
            session.commit()
        session.rollback()
        session.add(Note(tenant="b", s="two"))
        session.commit()
        assert session.scalars(select(Note.s)).all() == ["two"]


def test_a_tenant_by_trigger_is_found_out_where_the_key_is_generated(db):
    table = Table(
        "casefile",
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("tenant", String(20)),
        Column("s", EncryptedType(Text, bind_to=("id", "tenant"))),
    )
    db.create(table.metadata)
    trigger(db, "INSERT", "tenant = 'other'")
    with db.refused(IdentityChangeError, table), db.begin() as connection:
        connection.execute(insert(table), {"tenant": "a", "s": "s"})


def test_triggers_that_leave_keys_alone_are_let_be(db):
    table = made(db, cases())
    trigger(db, "INSERT", "tenant = 'b'", "new.id > 100")
    with db.begin() as connection:
        connection.execute(insert(table), [{"id": n, "s": f"s{n}"} for n in range(1, 4)])
        connection.execute(insert(table), {"id": 4, "s": "s4"})
        moved = table.update().where(table.c.id == 5)
        assert connection.execute(moved.values(s="nobody")).rowcount == 0
        connection.execute(table.update().where(table.c.id == 4).values(s="new"))
    assert [(n, s) for n, s, _ in read(db, table)] == [(1, "s1"), (2, "s2"), (3, "s3"), (4, "new")]


@pytest.mark.parametrize("name", ["sqlite", "postgresql"])
def test_an_upsert_may_leave_the_row_as_it_is(name, request):
    db = request.getfixturevalue(f"{name}_db")
    table = made(db, cases())
    trigger(db, "INSERT", "tenant = 'b'", "new.id > 100")
    upsert = (postgresql if name == "postgresql" else sqlite).insert(table)
    rows = [{"id": n, "s": f"s{n}"} for n in (1, 2)]
    with db.begin() as connection:
        connection.execute(upsert, rows[:1])
        connection.execute(upsert.on_conflict_do_nothing(), {"id": 1, "s": "other"})
        connection.execute(upsert.on_conflict_do_nothing(), [{**r, "s": "other"} for r in rows])
    assert [s for _, s, _ in read(db, table)] == ["s1", "other"]
    setting = upsert.excluded.s
    with db.begin() as connection:
        connection.execute(
            upsert.on_conflict_do_update(index_elements=["id"], set_={"s": setting}), rows
        )
    assert [s for _, s, _ in read(db, table)] == ["s1", "s2"]


@pytest.mark.parametrize("form", ["list", "values"])
@pytest.mark.parametrize("name", ["sqlite", "postgresql"])
def test_an_upsert_may_skip_a_row_beside_one_without_a_value(name, form, request):
    """The row that was written has none, so that what is looked for is the one that was not."""
    db = request.getfixturevalue(f"{name}_db")
    table = made(db, cases())
    trigger(db, "INSERT", "tenant = 'b'", "new.id > 100")
    upsert = (postgresql if name == "postgresql" else sqlite).insert(table)
    rows = [{"id": 1, "s": "other"}, {"id": 2, "s": None}]
    with db.begin() as connection:
        connection.execute(upsert, {"id": 1, "s": "s1"})
        skipping = upsert.on_conflict_do_nothing()
        connection.execute(*([skipping, rows] if form == "list" else [skipping.values(rows)]))
    assert [s for _, s, _ in read(db, table)] == ["s1", None]


def test_a_table_without_triggers_is_asked_for_once(db):
    table = made(db, cases())
    with db.begin() as connection:
        connection.execute(insert(table), {"id": 1, "s": "s"})
        connection.execute(table.update().where(table.c.id == 1).values(s="t"))
    with db.statements() as seen, db.begin() as connection:
        connection.execute(insert(table), {"id": 2, "s": "s"})
        connection.execute(table.update().where(table.c.id == 2).values(s="t"))
    assert len([c for c in seen if "casefile" in c.statement]) == 2


def test_a_trigger_that_somebody_makes_meanwhile_counts_after_a_while(db, monkeypatch):
    monkeypatch.setattr(triggered_tables, "KNOWN_SECONDS", 0.0)
    table = made(db, cases())
    with db.begin() as connection:
        connection.execute(insert(table), {"id": 1, "s": "s"})
    ours, db.engine = db.engine, db.plain
    trigger(db, "INSERT", "id = new.id + 1000")
    db.engine = ours
    with db.refused(IdentityChangeError, table), db.begin() as connection:
        connection.execute(insert(table), {"id": 2, "s": "s"})


def test_under_autocommit_the_error_says_that_the_row_is_there(db):
    table = made(db, cases())
    trigger(db, "INSERT", "id = new.id + 1000")
    with (
        db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection,
        pytest.raises(IdentityChangeError, match="the row stays"),
    ):
        connection.execute(insert(table), {"id": 1, "s": "s"})
    assert [row[0] for row in db.rows(table)] == [1001]


def test_under_autocommit_what_another_writer_stored_since_is_no_fault(db, monkeypatch):
    table = made(db, cases())
    trigger(db, "UPDATE", "tenant = 'b'", "new.id > 100 AND new.tenant = 'a'")
    with db.begin() as connection:
        connection.execute(insert(table), {"id": 1, "s": "s"})
    update = table.update().where(table.c.id == 1)
    look = StoredMessages.marks_of

    def overtaken(*given: Any) -> Any:
        monkeypatch.setattr(StoredMessages, "marks_of", look)
        with db.begin() as other:
            other.execute(update.values(s="another's"))
        return look(*given)

    monkeypatch.setattr(StoredMessages, "marks_of", overtaken)
    with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(update.values(s="ours"))
    assert read(db, table) == [(1, "another's", None)]


@pytest.mark.parametrize("count", [1, 2])
def test_a_key_that_ignore_cuts_to_fit_is_found_out(innodb_db, count):
    """A strict server does so too, for the one statement."""
    table = made(innodb_db, cases(String(4)))
    rows = [{"id": "amy", "s": "s", "t": "t"}, {"id": "bob", "s": "s", "t": "t"}]
    with innodb_db.begin() as connection:
        connection.execute(insert(table), rows)
        connection.execute(update(table).where(table.c.id == "amy").values(s="of Amy"))
    long = [{"id": f"{n} is too long", "s": "s", "t": "t"} for n in range(count)]
    ignoring = update(table).prefix_with("IGNORE").where(table.c.id == "amy")
    for statement, given in (
        (insert(table).prefix_with("IGNORE"), [*rows, *long]),
        (insert(table).prefix_with("IGNORE").values(long), None),
        (ignoring.values(tenant="far more than twenty letters", t="t"), None),
    ):
        with pytest.raises(IdentityChangeError), innodb_db.begin() as connection:
            connection.execute(statement, given)
    with innodb_db.begin() as connection:  # what is skipped is no fault
        connection.execute(
            insert(table).prefix_with("IGNORE"), [*rows, {"id": "cyd", "s": "s", "t": None}]
        )
    assert read(innodb_db, table) == [
        ("amy", "of Amy", "t"),
        ("bob", "s", "t"),
        ("cyd", "s", None),
    ]


def test_a_role_that_sees_no_triggers_looks_at_its_first_write(innodb_db):
    db, table = innodb_db, made(innodb_db, cases())
    trigger(db, "INSERT", "id = new.id + 1000")
    with (
        role_with(db, "INSERT, SELECT") as engine,
        db.refused(IdentityChangeError, table),
        engine.begin() as connection,
    ):
        connection.execute(insert(table), {"id": 1, "s": "s"})


@pytest.mark.parametrize("when", ["BEFORE", "AFTER"])
def test_a_role_that_may_not_read_is_refused_what_it_cannot_look_at(postgresql_db, when):
    """What runs AFTER the INSERT, as audits do, is let be."""
    pg, table = postgresql_db, made(postgresql_db, cases())
    trigger(pg, "INSERT", "id = new.id + 1000", "new.id > 100")
    if when == "AFTER":
        pg.execute_plain("DROP TRIGGER tr ON casefile")
        pg.execute_plain(
            "CREATE TRIGGER tr AFTER INSERT ON casefile FOR EACH ROW EXECUTE FUNCTION f()"
        )
    with pg.begin() as connection:
        schema = connection.execute(text("SELECT current_schema()")).scalar_one()
    role = f"inserts_{uuid.uuid4().hex[:12]}"
    pg.execute_plain(f'CREATE ROLE "{role}"')
    try:
        pg.execute_plain(f'GRANT USAGE ON SCHEMA "{schema}" TO "{role}"')
        pg.execute_plain(f'GRANT INSERT ON casefile TO "{role}"')
        with pg.engine.connect() as connection, connection.begin() as transaction:
            connection.execute(text(f'SET LOCAL ROLE "{role}"'))
            if when == "BEFORE":
                with pytest.raises(UnknownIdentityError, match="GRANT SELECT"):
                    connection.execute(insert(table), {"id": 1, "s": "s"})
                transaction.rollback()
            else:
                connection.execute(insert(table), {"id": 1, "s": "s"})
    finally:
        pg.execute_plain(f'DROP OWNED BY "{role}"')
        pg.execute_plain(f'DROP ROLE "{role}"')
    assert len(pg.rows(table)) == (when == "AFTER")


def test_a_view_or_rule_that_stores_it_elsewhere_is_found_out(postgresql_db):
    pg = postgresql_db
    table = made(pg, cases())
    pg.execute_plain("ALTER TABLE casefile RENAME TO beneath")
    pg.execute_plain("CREATE VIEW casefile AS SELECT * FROM beneath")
    with pg.begin() as connection:
        connection.execute(insert(table), {"id": 1, "s": "s1"})
    pg.execute_plain(
        "CREATE RULE r AS ON INSERT TO casefile DO INSTEAD"
        " INSERT INTO beneath (id, tenant, s) VALUES (new.id + 1, new.tenant, new.s)"
    )
    with pg.refused(IdentityChangeError, table), pg.begin() as connection:
        connection.execute(insert(table), {"id": 2, "s": "s2"})
    with pg.begin() as connection:
        assert connection.execute(text("SELECT count(*) FROM beneath")).scalar_one() == 1


def test_a_role_that_may_not_read_the_values_may_write_despite_triggers_on_other_columns(
    postgresql_db,
):
    """Audits run AFTER; a schema that this role has no way into is none of its tables'."""
    pg, table = postgresql_db, made(postgresql_db, cases())
    pg.execute_plain(
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN new; END $$"
    )
    each_row = "casefile FOR EACH ROW EXECUTE FUNCTION f()"
    pg.execute_plain(f"CREATE TRIGGER au AFTER INSERT OR UPDATE ON {each_row}")
    with pg.begin() as connection:
        schema = connection.execute(text("SELECT current_schema()")).scalar_one()
    role = f"writes_{uuid.uuid4().hex[:12]}"
    pg.execute_plain(f'CREATE ROLE "{role}"')
    pg.execute_plain(f'CREATE SCHEMA "{role}_not"')
    try:
        pg.execute_plain(f'CREATE TABLE "{role}_not".casefile (id INTEGER)')
        pg.execute_plain(f'CREATE TRIGGER b BEFORE INSERT ON "{role}_not".{each_row}')
        pg.execute_plain(f'GRANT USAGE ON SCHEMA "{schema}" TO "{role}"')
        pg.execute_plain(f'GRANT INSERT, UPDATE, SELECT (id) ON casefile TO "{role}"')
        with pg.begin() as connection:
            connection.execute(text(f'SET LOCAL ROLE "{role}"'))
            connection.execute(insert(table), {"id": 1, "s": "s"})
            connection.execute(table.update().where(table.c.id == 1).values(s="t"))
        with pg.begin() as connection:  # of which the library's own engine gets to know
            connection.execute(text(f"CREATE TRIGGER b BEFORE UPDATE ON {each_row}"))
        with (
            pg.refused(UnknownIdentityError, table),
            pg.begin() as connection,
        ):
            connection.execute(text(f'SET LOCAL ROLE "{role}"'))
            connection.execute(table.update().where(table.c.id == 1).values(s="u"))
    finally:
        pg.execute_plain(f'DROP SCHEMA "{role}_not" CASCADE')
        pg.execute_plain(f'DROP OWNED BY "{role}"')
        pg.execute_plain(f'DROP ROLE "{role}"')


def test_the_database_is_asked_after_a_write_that_would_wait(sqlite_db):
    """A transaction of SQLite that began with a read is refused at once while another writes."""
    table = made(sqlite_db, cases())
    engine = sqlite_db.backend.create_engine(isolation_level="AUTOCOMMIT")
    attach_with_kept_keys(engine, bytes(32), plain=sqlite_db.plain)
    read_first: list[str] = []
    with engine.connect() as connection:
        connection.execute(text("BEGIN"))
        driver = connection.connection.driver_connection
        driver.set_trace_callback(read_first.append)
        connection.execute(insert(table), {"id": 1, "s": "s"})
        driver.set_trace_callback(None)
        connection.execute(text("COMMIT"))
    assert read_first[0].startswith("INSERT")
    assert "sqlite_master" in read_first[1]


def test_the_question_sees_no_state_of_before_the_write(innodb_db):
    """MySQL reads all of a transaction as of its first read, and the dictionary's count."""
    db, table = innodb_db, made(innodb_db, cases())
    asked: list[str] = []

    def listen(dialect_self: Any, cursor: Any, statement: str, *rest: Any) -> None:
        asked.append(statement)
        return executed(dialect_self, cursor, statement, *rest)

    executed = type(db.engine.dialect).do_execute
    with pytest.MonkeyPatch.context() as patch, db.begin() as connection:
        patch.setattr(type(db.engine.dialect), "do_execute", listen)
        connection.execute(insert(table), {"id": 1, "s": "s"})
    assert asked[0].startswith("INSERT")
    assert "information_schema" in asked[1]


def test_the_error_for_a_role_that_may_only_insert_says_what_a_before_trigger_needs(
    innodb_db, monkeypatch
):
    """What runs AFTER the INSERT, as audits do, is let be."""
    monkeypatch.setattr(triggered_tables, "KNOWN_SECONDS", 0.0)
    db, table = innodb_db, made(innodb_db, cases())
    db.execute_plain("CREATE TRIGGER au AFTER INSERT ON casefile FOR EACH ROW SET @seen = 1")
    with role_with(db, "INSERT, TRIGGER") as engine:
        with engine.begin() as connection:
            connection.execute(insert(table), {"id": 1, "s": "s"})
        trigger(db, "INSERT", "tenant = new.tenant")
        with db.refused(UnknownIdentityError, table), engine.begin() as connection:
            connection.execute(insert(table), {"id": 2, "s": "s"})


@contextmanager
def role_with(db: Database, rights: str) -> Iterator[Engine]:
    """An attached engine of a user who has these rights on `casefile`."""
    name = f"i_{uuid.uuid4().hex[:10]}"
    # MariaDB takes its nameless user at one of these hosts for one of any.
    users = [f"'{name}'@'{host}'" for host in ("localhost", "127.0.0.1", "%")]
    db.execute_plain(f"CREATE USER {', '.join(f'{user} IDENTIFIED BY {name!r}' for user in users)}")
    engine = create_engine(db.backend.url.set(username=name, password=name))
    try:
        for user in users:
            db.execute_plain(f"GRANT {rights} ON casefile TO {user}")
            db.execute_plain(f"GRANT SELECT ON encfields_keys TO {user}")
        attach_with_kept_keys(engine, bytes(32), plain=db.plain)
        yield engine
    finally:
        engine.dispose()
        db.execute_plain(f"DROP USER {', '.join(users)}")
