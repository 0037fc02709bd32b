"""From plaintext to encrypted and back, one step after the other."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import create_engine, inspect, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.compiler import SQLCompiler

from encfields.adopt import (
    Adoption,
    AdoptionError,
    adopt,
    begin_adoption,
    close_plaintext,
    compare_adopted,
    end_adoption,
    ensure_adopted,
    refill_plaintext,
    reopen_plaintext,
    withdraw_adoption,
)
from encfields.adopt.schema import Schema
from encfields.bulk import DatabaseUnavailableError
from encfields.errors import ConfigurationError
from tests.adoption.models import customer
from tests.database import Database
from tests.servers.backends import Backend
from tests.turns import databases_by_turns, on_each_database

pytestmark = databases_by_turns

EMAILS = [f"c{n}@x" for n in range(1, 6)]


@pytest.fixture
def adoption() -> Adoption:
    return Adoption.of(customer("write-both").__table__.c.email_enc)


@pytest.fixture
def legacy(db: Database) -> Database:
    """Five customers in plaintext, as the old application left them."""
    old = customer("old")
    old.metadata.create_all(db.plain)
    with db.session() as session:
        session.add_all([old(id=n, email=email) for n, email in enumerate(EMAILS, start=1)])
        session.commit()
    return db


def read(db: Database, phase: str) -> list[str]:
    model = customer(phase)
    with db.session() as session:
        return list(session.scalars(select(model.email).order_by(model.id)))


def write(db: Database, phase: str, key: int, email: str) -> None:
    with db.session() as session:
        session.add(customer(phase)(id=key, email=email))
        session.commit()


def plaintexts(db: Database) -> list[str | None]:
    with db.plain.connect() as connection:
        return list(connection.scalars(text("SELECT email FROM customer ORDER BY id")))


def columns(db: Database) -> dict[str, bool]:
    """The table's columns, and whether each may be NULL."""
    found = inspect(db.plain).get_columns("customer")
    return {str(column["name"]): bool(column["nullable"]) for column in found}


def test_a_step_without_its_database_says_so(adoption: Adoption):
    nowhere = create_engine("postgresql+psycopg://nobody@127.0.0.1:1/nothing")
    for step in (begin_adoption, reopen_plaintext, withdraw_adoption):
        with pytest.raises(DatabaseUnavailableError, match=r"port 1 failed: .* start it"):
            step(nowhere, adoption)


@on_each_database
def test_a_column_goes_from_plaintext_to_encrypted_and_every_version_reads_it(
    legacy: Database, adoption: Adoption
):
    db, engine = legacy, legacy.engine
    begin_adoption(engine, adoption)
    write(db, "old", 6, "six@x")
    write(db, "write-both", 7, "seven@x")
    expected = [*EMAILS, "six@x", "seven@x"]
    assert read(db, "old") == read(db, "write-both") == read(db, "read-sealed") == expected

    report = adopt(engine, db.encryption, adoption)
    assert (report.finished, report.rows_written) == (True, 6)
    assert db.encryption.stats.adoption.fallback_reads > 0
    assert ensure_adopted(engine, db.encryption, adoption).both == 7

    write(db, "write-sealed", 8, "eight@x")
    expected.append("eight@x")
    assert read(db, "read-sealed") == read(db, "write-sealed") == expected
    assert close_plaintext(engine, db.encryption, adoption).both == 7
    assert plaintexts(db) == [None] * 8
    write(db, "done", 9, "nine@x")
    expected.append("nine@x")

    remains = end_adoption(engine, adoption)

    assert read(db, "done") == expected
    assert columns(db)["email_enc"] is False
    assert "email" not in columns(db)
    assert any("VACUUM" in line or "FORCE" in line for line in remains)


@on_each_database
def test_the_way_back_leads_to_the_application_of_before(legacy: Database, adoption: Adoption):
    db, engine = legacy, legacy.engine
    begin_adoption(engine, adoption)
    adopt(engine, db.encryption, adoption)
    ensure_adopted(engine, db.encryption, adoption)
    write(db, "write-sealed", 6, "six@x")
    close_plaintext(engine, db.encryption, adoption)

    report = refill_plaintext(engine, db.encryption, adoption)

    assert (report.finished, report.rows_written) == (True, 6)
    expected = [*EMAILS, "six@x"]
    assert plaintexts(db) == read(db, "old") == read(db, "read-sealed") == expected
    assert compare_adopted(engine, db.encryption, adoption).both == 6
    withdraw_adoption(engine, adoption)
    assert columns(db) == {"id": False, "note": True, "email": False}
    write(db, "old", 7, "seven@x")


def test_a_plaintext_that_a_trigger_has_put_beside_another_value_is_not_gone_back_to(
    postgresql: Backend, adoption: Adoption
):
    db = Database(postgresql)
    engine = db.engine
    customer("old").metadata.create_all(db.plain)
    begin_adoption(engine, adoption)
    write(db, "write-both", 1, "one@x")
    ensure_adopted(engine, db.encryption, adoption)
    with db.plain.begin() as connection:
        connection.execute(
            text(
                "CREATE FUNCTION filled() RETURNS trigger LANGUAGE plpgsql AS "
                "'BEGIN NEW.email = coalesce(NEW.email, OLD.email); RETURN NEW; END'"
            )
        )
        connection.execute(
            text(
                "CREATE TRIGGER filled BEFORE UPDATE ON customer "
                "FOR EACH ROW EXECUTE FUNCTION filled()"
            )
        )
    with db.session() as session:
        session.get_one(customer("write-sealed"), 1).email = "other@x"
        session.commit()
    assert (plaintexts(db), read(db, "read-sealed")) == (["one@x"], ["other@x"])

    report = refill_plaintext(engine, db.encryption, adoption)

    assert [(q.key, q.reason) for q in report.quarantined] == [({"id": "1"}, "different")]
    with pytest.raises(AdoptionError, match="run refill_plaintext first"):
        withdraw_adoption(engine, adoption)


@on_each_database
def test_the_database_refuses_an_old_process_once_plaintext_is_closed(
    legacy: Database, adoption: Adoption
):
    db = legacy
    begin_adoption(db.engine, adoption)
    adopt(db.engine, db.encryption, adoption)
    ensure_adopted(db.engine, db.encryption, adoption)
    close_plaintext(db.engine, db.encryption, adoption)

    for phase in ("old", "write-both", "read-sealed"):
        with pytest.raises(ConfigurationError, match="after close_plaintext"):
            write(db, phase, 9, "nine@x")
    with pytest.raises(DBAPIError, match="closed"):
        db.execute_plain("UPDATE customer SET email = 'new@x' WHERE id = 1")
    db.execute_plain("UPDATE customer SET note = 'n' WHERE id = 1")
    with pytest.raises(DBAPIError, match="sealed anew"):
        db.execute_plain("UPDATE customer SET id = 77 WHERE id = 1")


@on_each_database
def test_reopened_plaintext_lets_every_phase_write_that_the_way_back_needs(
    legacy: Database, adoption: Adoption
):
    db, engine = legacy, legacy.engine
    with pytest.raises(AdoptionError, match="run begin_adoption first"):
        reopen_plaintext(engine, adoption)
    begin_adoption(engine, adoption)
    adopt(engine, db.encryption, adoption)
    ensure_adopted(engine, db.encryption, adoption)
    close_plaintext(engine, db.encryption, adoption)

    reopen_plaintext(engine, adoption)
    reopen_plaintext(engine, adoption)
    write(db, "write-sealed", 6, "six@x")
    write(db, "read-sealed", 7, "seven@x")
    refill_plaintext(engine, db.encryption, adoption)
    assert read(db, "old") == [*EMAILS, "six@x", "seven@x"]


def test_a_step_before_its_time_says_which_comes_first(legacy: Database, adoption: Adoption):
    db, engine, keys = legacy, legacy.engine, legacy.encryption
    with pytest.raises(AdoptionError, match="run begin_adoption first"):
        adopt(engine, keys, adoption)
    with pytest.raises(AdoptionError, match="begin_adoption"):
        close_plaintext(engine, keys, adoption)
    begin_adoption(engine, adoption)
    begin_adoption(engine, adoption)  # after a failure, say
    with pytest.raises(AdoptionError, match=r"pending 5.*run adopt first"):
        ensure_adopted(engine, keys, adoption)
    with pytest.raises(AdoptionError, match="run ensure_adopted first"):
        close_plaintext(engine, keys, adoption)
    adopt(engine, keys, adoption)
    ensure_adopted(engine, keys, adoption)
    with pytest.raises(AdoptionError, match="run close_plaintext first"):
        end_adoption(engine, adoption)
    write(db, "write-sealed", 6, "six@x")
    with pytest.raises(AdoptionError, match="run refill_plaintext first"):
        withdraw_adoption(engine, adoption)


@pytest.mark.parametrize("step", [end_adoption, withdraw_adoption])
def test_a_misspelt_column_is_no_adoption_that_is_over(
    legacy: Database, adoption: Adoption, step: Any
):
    sealed = replace(adoption.spec.columns[0], name="emial_enc")
    spec = replace(adoption.spec, columns=(sealed,), indexes=())
    with pytest.raises(AdoptionError, match="neither this column nor emial_enc") as caught:
        step(legacy.engine, replace(adoption, plain="emial", spec=spec))
    assert caught.value.reason == "column"


def test_what_is_the_only_copy_is_not_withdrawn(legacy: Database, adoption: Adoption):
    engine, encryption = legacy.engine, legacy.encryption
    begin_adoption(engine, adoption)
    adopt(engine, encryption, adoption)
    ensure_adopted(engine, encryption, adoption)
    close_plaintext(engine, encryption, adoption)
    end_adoption(engine, adoption)
    with pytest.raises(AdoptionError, match="only copy"):
        withdraw_adoption(engine, adoption)
    assert read(legacy, "done") == EMAILS


def test_values_that_differ_are_reported_by_row_and_stop_the_next_steps(
    legacy: Database, adoption: Adoption
):
    db = legacy
    begin_adoption(db.engine, adoption)
    adopt(db.engine, db.encryption, adoption)
    with db.plain.begin() as connection:  # whoever writes both, and not the same
        other = connection.scalar(text("SELECT email_enc FROM customer WHERE id = 2"))
        change = "UPDATE customer SET email = 'canary-4711@x', email_enc = :s WHERE id = 1"
        connection.execute(text(change), {"s": other})

    with pytest.raises(AdoptionError, match=r"unreadable 1.*id=1") as caught:
        ensure_adopted(db.engine, db.encryption, adoption)

    assert "canary" not in str(caught.value)


@on_each_database
@pytest.mark.parametrize("phase", ["write-both", "read-sealed"])
def test_no_error_of_the_database_quotes_a_plaintext(
    legacy: Database, adoption: Adoption, phase: str
):
    begin_adoption(legacy.engine, adoption)
    with pytest.raises(DBAPIError, match="email") as caught:
        write(legacy, phase, 9, EMAILS[0])
    assert EMAILS[0] not in f"{caught.value} {caught.value.orig!r}"

    if legacy.name == "postgresql":
        legacy.execute_plain("ALTER TABLE customer ADD CHECK (id < 100)")
        with pytest.raises(DBAPIError, match="check constraint") as caught:
            write(legacy, phase, 100, "canary-4711@x")
        assert "canary-4711" not in f"{caught.value} {caught.value.orig!r}"


@on_each_database
def test_a_trigger_that_would_run_after_the_adoptions_own_is_refused(
    legacy: Database, adoption: Adoption
):
    later = {
        "postgresql": "CREATE TRIGGER zzzz BEFORE UPDATE ON customer FOR EACH ROW "
        "EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "mariadb": "CREATE TRIGGER later BEFORE UPDATE ON customer FOR EACH ROW "
        "SET NEW.email = LOWER(NEW.email)",
        "sqlite": "CREATE TRIGGER zzzz AFTER UPDATE ON customer BEGIN "
        "UPDATE customer SET email = LOWER(email) WHERE id = NEW.id; END",
    }
    begin_adoption(legacy.engine, adoption)
    adopt(legacy.engine, legacy.encryption, adoption)
    legacy.execute_plain(later[legacy.name.replace("mysql", "mariadb")])
    # SQLite's triggers change rows by statements, which ours see, and are refused for what they do.
    refused = "may assign it" if legacy.name == "sqlite" else "changes rows after"
    with pytest.raises(AdoptionError, match=refused):
        ensure_adopted(legacy.engine, legacy.encryption, adoption)


def test_a_trigger_that_only_reads_the_plaintext_may_stay_as_long_as_the_column_is_there(
    sqlite: Backend, adoption: Adoption
):
    db = Database(sqlite)
    customer("old").metadata.create_all(db.plain)
    with db.plain.begin() as connection:
        connection.execute(
            text("CREATE TRIGGER seen AFTER UPDATE ON customer BEGIN SELECT NEW.email; END")
        )
    begin_adoption(db.engine, adoption)
    assert ensure_adopted(db.engine, db.encryption, adoption).is_clean


def test_what_the_catalog_is_asked_is_compiled_once(
    postgresql_db: Database, adoption: Adoption, monkeypatch: pytest.MonkeyPatch
):
    """By each step on a connection of its own: to compile it takes longer than the answer."""
    customer("old").metadata.create_all(postgresql_db.plain)
    begin_adoption(postgresql_db.engine, adoption)
    compiled: list[str] = []
    original = SQLCompiler.__init__

    def note(compiler: SQLCompiler, *arguments: Any, **options: Any) -> None:
        original(compiler, *arguments, **options)
        compiled.append(str(compiler))

    monkeypatch.setattr(SQLCompiler, "__init__", note)
    Schema(postgresql_db.engine, adoption).state()
    assert compiled == []
    Schema(postgresql_db.backend.create_engine(), adoption).state()
    assert len(compiled) > 4  # of another engine


def test_triggers_that_a_user_does_not_see_are_told_from_missing_ones(
    mariadb: Backend, adoption: Adoption
) -> None:
    """MariaDB and MySQL show triggers to who has a right of its own."""
    db = Database(mariadb)
    db.execute_plain(
        "CREATE TABLE customer (id INT PRIMARY KEY, note VARCHAR(80), email VARCHAR(120))"
    )
    begin_adoption(db.engine, adoption)
    name = f"w{secrets.token_hex(4)}"
    users = [f"{name}@'{host}'" for host in ("localhost", "127.0.0.1")]
    for user in users:
        db.execute_plain(f"CREATE USER {user} IDENTIFIED BY 'worker'")
        db.execute_plain(f"GRANT SELECT, INSERT, UPDATE ON customer TO {user}")
    engine = create_engine(mariadb.url.set(username=name, password="worker"))
    try:
        with pytest.raises(AdoptionError, match=r"does not see them; .* GRANT TRIGGER ON customer"):
            reopen_plaintext(engine, adoption)
        for user in users:
            db.execute_plain(f"GRANT TRIGGER ON customer TO {user}")
        engine.dispose()
        reopen_plaintext(engine, adoption)
    finally:
        engine.dispose()
        db.execute_plain(f"DROP USER {', '.join(users)}")
