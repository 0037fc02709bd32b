"""What a database refuses a row for is named, and the other rows are written."""

from __future__ import annotations

import secrets

import pytest
from sqlalchemy import (
    Column,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    insert,
    inspect,
    select,
    text,
)

from encfields import BlindIndex, EncryptedType
from encfields.bulk import (
    Options,
    ProgressState,
    Reencryption,
    ReencryptionError,
    SealedColumn,
    TableSpec,
)
from encfields.bulk.errors import DatabaseUnavailableError
from encfields.errors import DeclarationError
from tests.database import Database
from tests.servers.backends import Backend

LONG = secrets.token_hex(8_000)
"""More than a page of an index has room for, compressed as well."""

TRIGGERS = {
    "postgresql": "CREATE TRIGGER closed BEFORE UPDATE ON doc FOR EACH ROW WHEN (OLD.id = 2) "
    "EXECUTE FUNCTION refused()",
    "mariadb": "CREATE TRIGGER closed BEFORE UPDATE ON doc FOR EACH ROW "
    "IF OLD.id = 2 THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'closed'; END IF",
    "sqlite": "CREATE TRIGGER closed BEFORE UPDATE ON doc WHEN OLD.id = 2 "
    "BEGIN SELECT RAISE(ABORT, 'closed'); END",
}
REFUSED = (
    "CREATE FUNCTION refused() RETURNS trigger LANGUAGE plpgsql AS "
    "'BEGIN RAISE EXCEPTION ''closed''; END'"
)


CUT = {
    "postgresql": "NEW.body := substring(NEW.body FOR 90);",
    "mariadb": "SET NEW.body = LEFT(NEW.body, 90);",
    "sqlite": "UPDATE doc SET body = substr(body, 1, 90) WHERE id = NEW.id;",
}
UNDONE = {
    "postgresql": "NEW.body := OLD.body;",
    "mariadb": "SET NEW.body = OLD.body;",
    "sqlite": "UPDATE doc SET body = OLD.body WHERE id = NEW.id;",
}
EMPTIED = {
    "postgresql": "NEW.body := NULL;",
    "mariadb": "SET NEW.body = NULL;",
    "sqlite": "UPDATE doc SET body = NULL WHERE id = NEW.id;",
}
MOVED = {
    "postgresql": "NEW.id := 20;",
    "mariadb": "SET NEW.id = 20;",
    "sqlite": "UPDATE doc SET id = 20 WHERE id = NEW.id;",
}
UNFINDABLE = {
    "postgresql": "NEW.body_bidx := set_byte(OLD.body_bidx, 0, 255 - get_byte(OLD.body_bidx, 0));",
    "mariadb": "SET NEW.body_bidx = REVERSE(OLD.body_bidx);",
    "sqlite": "UPDATE doc SET body_bidx = x'00' WHERE id = NEW.id;",
}
BESIDE = {
    "postgresql": "NEW.note := NULL;",
    "mariadb": "SET NEW.note = NULL;",
    "sqlite": "UPDATE doc SET note = NULL WHERE id = NEW.id;",
}
REBOUND = {
    "postgresql": "NEW.tenant := 7;",
    "mariadb": "SET NEW.tenant = 7;",
    "sqlite": "UPDATE doc SET tenant = 7 WHERE id = NEW.id;",
}
LEFT_OUT = {
    "postgresql": "RETURN NULL;",
    "sqlite": "SELECT RAISE(IGNORE);",
}


def alter_the_second(db: Database, body: dict[str, str]) -> None:
    """Have a trigger make something else of what row 2 is given."""
    does = body[db.backend.family]
    if db.name == "postgresql":
        db.execute_plain(
            "CREATE FUNCTION altered() RETURNS trigger LANGUAGE plpgsql AS "
            f"'BEGIN IF OLD.id = 2 THEN {does} END IF; RETURN NEW; END'"
        )
        row = "ON doc FOR EACH ROW EXECUTE FUNCTION altered()"
    elif db.name == "sqlite":
        row = f"ON doc WHEN OLD.id = 2 BEGIN {does} END"
    else:
        row = f"ON doc FOR EACH ROW BEGIN IF OLD.id = 2 THEN {does} END IF; END"
    when = "AFTER" if db.name == "sqlite" and "RAISE" not in does else "BEFORE"
    db.execute_plain(f"CREATE TRIGGER altering {when} UPDATE {row}")


def four_documents(db: Database, index: BlindIndex | None = None) -> Table:
    sealed = EncryptedType(String(40), name="doc.body", index=index)
    key: Column[int] = Column("id", Integer, primary_key=True, autoincrement=False)
    table = Table("doc", MetaData(), key, Column("body", sealed))
    table.create(db.engine)
    with db.begin() as connection:
        connection.execute(insert(table), [{"id": n, "body": f"b{n}"} for n in range(1, 5)])
    return table


def values(db: Database, table: Table) -> list[str]:
    with db.engine.connect() as connection:
        return list(connection.scalars(select(table.c.body).order_by(table.c.id)))


@pytest.mark.parametrize("body", [CUT, UNDONE, EMPTIED, MOVED, UNFINDABLE, LEFT_OUT])
def test_a_row_that_a_trigger_would_alter_is_not_changed(
    backend: Backend, body: dict[str, str]
) -> None:
    if backend.family not in body:
        pytest.skip("no trigger leaves a row out there")
    db = Database(backend)
    table = four_documents(db, BlindIndex())
    alter_the_second(db, body)
    db.encryption.keys.rotate("default")

    report = Reencryption(db.engine, db.encryption, TableSpec.from_table(table)).run()
    assert [(one.column, one.key, one.reason) for one in report.quarantined] == [
        ("body", {"id": "2"}, "altered")
    ]
    assert report.rows_written == 3
    assert values(db, table) == ["b1", "b2", "b3", "b4"]


@pytest.mark.parametrize("body", [BESIDE, REBOUND])
def test_a_trigger_that_destroys_what_stands_beside_a_value_is_noticed(
    backend: Backend, body: dict[str, str]
) -> None:
    db = Database(backend)
    sealed: list[Column[str]] = [
        Column(name, EncryptedType(String(40), key=name, name=f"doc.{name}", bind_to="tenant"))
        for name in ("body", "note")
    ]
    key: Column[int] = Column("id", Integer, primary_key=True, autoincrement=False)
    table = Table("doc", MetaData(), key, Column("tenant", Integer, nullable=False), *sealed)
    table.create(db.engine)
    for name in ("body", "note"):
        db.encryption.keys.create(name)
    rows = [{"id": n, "tenant": n, "body": f"b{n}", "note": f"n{n}"} for n in range(1, 5)]
    with db.begin() as connection:
        connection.execute(insert(table), rows)
    alter_the_second(db, body)
    db.encryption.keys.rotate("body")

    report = Reencryption(db.engine, db.encryption, TableSpec.from_table(table)).run()
    assert [(one.key, one.reason) for one in report.quarantined] == [({"id": "2"}, "altered")]
    with db.engine.connect() as connection:
        stored = connection.execute(select(table).order_by(table.c.id)).mappings()
        assert [dict(row) for row in stored] == rows


def test_a_server_that_is_not_strict_cuts_no_value(backend: Backend) -> None:
    if backend.family != "mariadb":
        pytest.skip("the others are always strict")
    db = Database(backend)
    table = four_documents(db)
    with db.plain.connect() as connection:
        longest = connection.scalar(text("SELECT MAX(LENGTH(body)) FROM doc"))
    db.execute_plain(f"ALTER TABLE doc MODIFY body VARBINARY({longest})")
    lax = create_engine(db.engine.url, connect_args={"init_command": "SET sql_mode = ''"})
    db.encryption.keys.create("a-key-whose-id-is-longer")
    was = SealedColumn("body", key="default")
    to = SealedColumn("body", key="a-key-whose-id-is-longer")

    run = Reencryption(lax, db.encryption, TableSpec("doc", (to,)), source=TableSpec("doc", (was,)))
    assert {one.reason for one in run.run().quarantined} == {"altered"}
    lax.dispose()
    assert values(db, table) == ["b1", "b2", "b3", "b4"]


@pytest.mark.parametrize("is_indexed", [False, True])
def test_a_trigger_that_refuses_a_row_is_called_so(backend: Backend, is_indexed: bool) -> None:
    db = Database(backend)
    table = four_documents(db, BlindIndex() if is_indexed else None)
    if db.name == "postgresql":
        db.execute_plain(REFUSED)
    db.execute_plain(TRIGGERS[db.backend.family])
    db.encryption.keys.rotate("default")

    report = Reencryption(db.engine, db.encryption, TableSpec.from_table(table)).run()
    assert [(one.key, one.reason) for one in report.quarantined] == [({"id": "2"}, "trigger")]
    assert report.rows_written == 3
    assert values(db, table) == ["b1", "b2", "b3", "b4"]


@pytest.mark.parametrize(
    "change", ["ALTER TABLE doc RENAME COLUMN body TO was", "DROP TABLE encfields_ranges"]
)
def test_what_goes_missing_under_a_run_is_called_so_at_once(
    backend: Backend, told: None, change: str
) -> None:
    db = Database(backend)
    table = four_documents(db)
    db.encryption.keys.rotate("default")
    changed: list[int] = []

    def make_away(state: ProgressState) -> None:
        if not changed:
            changed.append(state.rows_done)
            db.execute_plain(change)

    run = Reencryption(
        db.engine,
        db.encryption,
        TableSpec.from_table(table),
        options=Options(batch_rows=1, range_rows=2),
    )
    with pytest.raises(ReencryptionError, match="is no longer there: it was dropped") as caught:
        run.run(progress=make_away)
    assert caught.value.reason == "missing"


def test_a_column_that_the_database_computes_is_refused_for_the_plaintext(
    backend: Backend,
) -> None:
    """Before the run is recorded: every one of its statements would fail."""
    db = Database(backend)
    table = four_documents(db)
    db.execute_plain(
        "ALTER TABLE doc ADD COLUMN body_plain VARCHAR(40) GENERATED ALWAYS AS ('x') "
        + ("STORED" if backend.name == "postgresql" else "VIRTUAL")
    )
    run = Reencryption(
        db.engine,
        db.encryption,
        TableSpec.from_table(table),
        to_plaintext={"body": "body_plain"},
        options=Options(outage_seconds=1),
    )
    with pytest.raises(DeclarationError, match="itself computes body_plain") as caught:
        run.run()
    assert caught.value.reason == "computed"
    assert not inspect(db.engine).has_table("encfields_runs")


FAULTY = {
    "postgresql": "CREATE TRIGGER faulty BEFORE UPDATE ON doc FOR EACH ROW EXECUTE FUNCTION f()",
    "mariadb": "CREATE TRIGGER faulty BEFORE UPDATE ON doc FOR EACH ROW "
    "SET NEW.id = no_such_function(NEW.id)",
    "sqlite": "CREATE TRIGGER faulty BEFORE UPDATE ON doc "
    "BEGIN SELECT no_such_function(NEW.id); END",
}


def test_a_trigger_that_cannot_run_is_no_outage(backend: Backend) -> None:
    """A run does not wait for a function that this connection does not have."""
    db = Database(backend)
    table = four_documents(db)
    db.encryption.keys.rotate("default")
    if backend.name == "postgresql":
        db.execute_plain(
            "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN ASSERT false; END'"
        )
    db.execute_plain(FAULTY[backend.family])
    with pytest.raises(ReencryptionError, match="the database refused a statement") as caught:
        Reencryption(db.engine, db.encryption, TableSpec.from_table(table)).run()
    assert not isinstance(caught.value, DatabaseUnavailableError)
    assert values(db, table) == ["b1", "b2", "b3", "b4"]


def test_a_limit_that_no_statement_keeps_is_no_outage(backend: Backend) -> None:
    if backend.family != "mariadb":
        pytest.skip("no such limit there")
    db = Database(backend)
    table = four_documents(db)
    db.encryption.keys.rotate("default")
    limits = {"init_command": "SET max_join_size = 1, sql_big_selects = 0"}
    limited = create_engine(db.engine.url, connect_args=limits)
    with pytest.raises(ReencryptionError, match="SET sql_big_selects = 1") as caught:
        Reencryption(limited, db.encryption, TableSpec.from_table(table)).run()
    limited.dispose()
    assert not isinstance(caught.value, DatabaseUnavailableError)


def test_a_plaintext_that_an_index_has_no_room_for_is_a_refused_row(backend: Backend) -> None:
    if backend.name != "postgresql":
        pytest.skip("an index takes what its column takes there")
    db = Database(backend)
    sealed: Column[str] = Column("body", EncryptedType(String, name="doc.body"))
    table = Table("doc", MetaData(), Column("id", Integer, primary_key=True), sealed)
    table.create(db.engine)
    db.execute_plain("ALTER TABLE doc ADD COLUMN plain TEXT")
    db.execute_plain("CREATE INDEX ix_plain ON doc (plain)")
    with db.begin() as connection:
        connection.execute(insert(table), [{"id": 1, "body": "b"}, {"id": 2, "body": LONG}])

    spec, options = TableSpec.of("doc", ["body"]), Options(outage_seconds=1)
    to = {"body": "plain"}
    report = Reencryption(db.engine, db.encryption, spec, to_plaintext=to, options=options).run()
    assert [(one.key, one.reason) for one in report.quarantined] == [({"id": "2"}, "value")]
    assert report.rows_written == 1
