"""A step that is killed at whatever statement is done again, and nothing is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    event,
    inspect,
    select,
    text,
)

from encfields import BlindIndex, EncryptedType, Plaintext
from encfields.adopt import (
    Adoption,
    AdoptionError,
    adopt,
    begin_adoption,
    close_plaintext,
    end_adoption,
    ensure_adopted,
    refill_plaintext,
    reopen_plaintext,
    schema,
    schema_transactions,
    withdraw_adoption,
)
from encfields.bulk import DatabaseUnavailableError
from tests.database import Database
from tests.servers.backends import Backend
from tests.waiting import until

CHANGES = ("ALTER", "CREATE", "DROP", "LOCK", "UPDATE")


def person(phase: str | None = "write-both") -> Table:
    adopts: Any = Plaintext("mail", phase=phase) if phase else None  # type: ignore[arg-type]
    type_ = EncryptedType(String(60), name="person.mail", index=BlindIndex(), adopts=adopts)
    key: Any = Column("id", Integer, primary_key=True, autoincrement=False)
    return Table("person", MetaData(), key, Column("mail_enc", type_))


class Killed(BaseException):
    """Ends a step where it stands: on MySQL and MariaDB each statement before it holds."""


@contextmanager
def killed_at(number: int) -> Iterator[None]:
    """End whatever changes anything at its n-th statement that does."""
    seen = 0

    def count(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        nonlocal seen
        seen += statement.lstrip().upper().startswith(CHANGES)
        if seen == number:
            raise Killed

    event.listen(Engine, "before_cursor_execute", count)
    try:
        yield
    finally:
        event.remove(Engine, "before_cursor_execute", count)


def killed_at_each_statement(step: Callable[[], object], begin: Callable[[], object]) -> int:
    """Do a step that is killed at its first statement, then at its second, until it ends."""
    for number in range(1, 100):
        try:
            with killed_at(number):
                step()
            return number - 1
        except Killed:
            continue
        except AdoptionError as error:  # on MySQL, which replaces no trigger at once
            if "run begin_adoption first" not in str(error):
                raise
            begin()
    raise AssertionError("it never ends")


def test_a_step_is_done_again_wherever_it_was_killed(db: Database) -> None:
    db.execute_plain(
        "CREATE TABLE person (id INT NOT NULL PRIMARY KEY, mail VARCHAR(60) NOT NULL DEFAULT 'x')"
    )
    db.execute_plain("INSERT INTO person (id, mail) VALUES (1, 'ada@x'), (2, 'eve@x')")
    before = [(one["name"], one["nullable"]) for one in inspect(db.plain).get_columns("person")]
    adoption = Adoption.of(person().c.mail_enc)
    engine, keys = db.engine, db.encryption

    def begin() -> None:
        begin_adoption(engine, adoption)

    def step(work: Callable[[], object]) -> None:
        assert killed_at_each_statement(work, begin) > 1

    step(begin)
    step(lambda: withdraw_adoption(engine, adoption))
    after = [(one["name"], one["nullable"]) for one in inspect(db.plain).get_columns("person")]
    assert after == before

    begin()
    assert adopt(engine, keys, adoption).finished
    step(lambda: ensure_adopted(engine, keys, adoption))
    step(lambda: close_plaintext(engine, keys, adoption))
    step(lambda: reopen_plaintext(engine, adoption))
    assert refill_plaintext(engine, keys, adoption).finished
    ensure_adopted(engine, keys, adoption)
    close_plaintext(engine, keys, adoption)
    step(lambda: end_adoption(engine, adoption))
    assert {one["name"] for one in inspect(db.plain).get_columns("person")} == {
        "id",
        "mail_enc",
        "mail_enc_bidx",
    }
    with engine.connect() as connection:
        found = connection.scalars(select(person(None).c.mail_enc)).all()
    assert sorted(found) == ["ada@x", "eve@x"]


@pytest.mark.parametrize("stage", ["open", "ready", "closed"])
def test_triggers_that_are_gone_in_part_come_back_at_their_stage(mariadb: Any, stage: str) -> None:
    db = Database(mariadb)
    db.execute_plain("CREATE TABLE person (id INT NOT NULL PRIMARY KEY, mail VARCHAR(60))")
    adoption = Adoption.of(person().c.mail_enc)
    begin_adoption(db.engine, adoption)
    if stage != "open":
        ensure_adopted(db.engine, db.encryption, adoption)
    if stage == "closed":
        close_plaintext(db.engine, db.encryption, adoption)
    db.execute_plain("DROP TRIGGER zzz_encfields_person_mail_upd")
    with pytest.raises(AdoptionError, match="run begin_adoption first"):
        ensure_adopted(db.engine, db.encryption, adoption)
    begin_adoption(db.engine, adoption)
    with db.plain.connect() as connection:
        texts = [row[3] for row in connection.exec_driver_sql("SHOW TRIGGERS").all()]
    assert [f'"stage": "{stage}"' in text for text in texts] == [True, True]


def test_an_index_that_waited_for_a_lock_in_vain_is_made_anew(
    postgresql_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = postgresql_db
    db.execute_plain("CREATE TABLE person (id INT NOT NULL PRIMARY KEY, mail VARCHAR(60))")
    unfinished = (
        "SELECT count(*) FROM pg_index WHERE indrelid = 'person'::regclass AND NOT indisvalid"
    )
    monkeypatch.setattr(schema_transactions, "TRIES", 1)
    monkeypatch.setattr(schema_transactions, "LOCK_SECONDS", 0.1)
    adoption = Adoption.of(person().c.mail_enc)
    create_indexes = schema.Schema._create_indexes

    def beside_a_writer(self: schema.Schema) -> None:
        with db.plain.begin() as connection:
            connection.execute(text("INSERT INTO person VALUES (1, 'ada@x')"))
            create_indexes(self)

    with monkeypatch.context() as patched:
        patched.setattr(schema.Schema, "_create_indexes", beside_a_writer)
        with pytest.raises(DatabaseUnavailableError):
            begin_adoption(db.engine, adoption)
    with db.plain.connect() as connection:
        assert connection.scalar(text(unfinished)) == 1
    begin_adoption(db.engine, adoption)
    with db.plain.connect() as connection:
        assert connection.scalar(text(unfinished)) == 0
    assert [one["name"] for one in inspect(db.plain).get_indexes("person")] == [
        "ix_person_mail_enc_bidx"
    ]


def test_a_connection_that_ends_is_told_wherever_it_does(mariadb: Backend) -> None:
    db = Database(mariadb)
    db.execute_plain("CREATE TABLE person (id INT NOT NULL PRIMARY KEY, mail VARCHAR(60) NOT NULL)")
    connected = ended = 0

    def end(connection: Connection) -> None:
        nonlocal connected
        connected += 1
        if connected == ended:
            driver: Any = connection.connection.driver_connection
            db.execute_plain(f"KILL {driver.thread_id()}")

    event.listen(db.engine, "engine_connect", end)
    while connected >= ended:
        connected, ended = 0, ended + 1
        try:
            begin_adoption(db.engine, Adoption.of(person().c.mail_enc))
        except DatabaseUnavailableError:
            assert connected == ended
    assert ended > 3


def test_postgresql_looks_for_missing_values_while_others_write(postgresql_db: Database) -> None:
    db, engine, keys = postgresql_db, postgresql_db.engine, postgresql_db.encryption
    db.execute_plain("CREATE TABLE person (id INT NOT NULL PRIMARY KEY, mail VARCHAR(60) NOT NULL)")
    adoption = Adoption.of(person().c.mail_enc)
    written: list[str] = []

    def write(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if "VALIDATE" in statement:
            db.execute_plain("SET lock_timeout = '1s'; DELETE FROM person WHERE id = 9")
            written.append(statement)

    begin_adoption(engine, adoption)
    event.listen(Engine, "before_cursor_execute", write)
    try:
        withdraw_adoption(engine, adoption)
        begin_adoption(engine, adoption)
        ensure_adopted(engine, keys, adoption)
        close_plaintext(engine, keys, adoption)
        with pytest.raises(Killed), killed_at(6):
            end_adoption(engine, adoption)
    finally:
        event.remove(Engine, "before_cursor_execute", write)
    assert len(written) == 2

    # What the killed step demanded is gone with the way back.
    reopen_plaintext(engine, adoption)
    assert refill_plaintext(engine, keys, adoption).finished
    db.execute_plain("INSERT INTO person VALUES (1, 'ada@x')")
    assert inspect(db.plain).get_check_constraints("person") == []


def test_a_step_that_another_host_takes_first_is_done_all_the_same(mariadb: Backend) -> None:
    """PostgreSQL and SQLite let one host wait for the other."""
    db = Database(mariadb)
    db.execute_plain("CREATE TABLE person (id INT NOT NULL PRIMARY KEY, mail VARCHAR(60) NOT NULL)")
    db.execute_plain("INSERT INTO person VALUES (1, 'ada@x')")
    adoption = Adoption.of(person().c.mail_enc)
    other: list[Callable[..., object]] = []

    def take(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if other and statement.startswith(CHANGES):
            other.pop()(db.engine, adoption)

    def at_once(step: Callable[..., object]) -> None:
        """Have another host take the whole step when the first is about to change something."""
        other.append(step)
        step(db.engine, adoption)
        assert not other

    event.listen(Engine, "before_cursor_execute", take)
    try:
        at_once(begin_adoption)
        at_once(withdraw_adoption)
        at_once(begin_adoption)
        assert adopt(db.engine, db.encryption, adoption).finished
        ensure_adopted(db.engine, db.encryption, adoption)
        close_plaintext(db.engine, db.encryption, adoption)
        at_once(end_adoption)
    finally:
        event.remove(Engine, "before_cursor_execute", take)
    with db.engine.connect() as connection:
        assert connection.scalars(select(person(None).c.mail_enc)).all() == ["ada@x"]


def test_an_index_that_another_host_is_creating_is_not_dropped(
    postgresql_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = postgresql_db
    db.execute_plain("CREATE TABLE person (id INT NOT NULL PRIMARY KEY, mail VARCHAR(60))")
    monkeypatch.setattr(schema_transactions, "TRIES", 1)
    adoption = Adoption.of(person().c.mail_enc)
    begin_adoption(db.engine, adoption)
    drop, create = "DROP INDEX ix_person_mail_enc_bidx", "CREATE INDEX CONCURRENTLY"
    db.execute_plain(drop)

    def is_creating() -> bool:
        with db.plain.connect() as connection:
            counted = "SELECT count(*) FROM pg_stat_progress_create_index"
            return bool(connection.scalar(text(counted)))

    def other() -> None:
        with db.plain.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            index = f"{create} ix_person_mail_enc_bidx ON person (mail_enc_bidx)"
            connection.exec_driver_sql(index)

    thread = Thread(target=other)
    with db.plain.begin() as writer:
        writer.execute(text("INSERT INTO person VALUES (1, 'ada@x')"))
        thread.start()
        until(is_creating)
        with pytest.raises(AdoptionError, match="another process creates an index"):
            schema.Schema(db.engine, adoption)._create_indexes()
    thread.join()
    begin_adoption(db.engine, adoption)
