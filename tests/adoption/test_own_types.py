"""Plaintext that is read through a type which only the application has, not SQLAlchemy's own."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any, NoReturn

import pytest
from sqlalchemy import Column, Engine, Integer, MetaData, String, Table, insert, select, text
from sqlalchemy.exc import DBAPIError, StatementError
from sqlalchemy.types import TypeDecorator

from encfields import BlindIndex, EncryptedType, Plaintext
from encfields.adopt import Adoption, AdoptionError, adopt, begin_adoption, ensure_adopted
from encfields.adopt.adoption import declared_types_of
from encfields.adopt.operations import adopting_run
from encfields.bulk import Options
from encfields.bulk.recorded_runs import work
from encfields.errors import ConfigurationError, DeclarationError
from tests.alembic.project import WRAPPING_KEY, Project
from tests.attached import attach_with_kept_keys
from tests.database import Database
from tests.servers.backends import Backend

KEY = "canary-4711, the key of the other library"


class Backwards(TypeDecorator[str]):
    """A type of the application's own, which holds a key and shows it."""

    impl = String(80)
    cache_ok = True

    def __init__(self, key: Any = KEY) -> None:
        super().__init__()
        self.key = key

    def __repr__(self) -> str:
        return f"Backwards({self.key!r})"

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        if len(value) > 40:
            raise ValueError("too long")
        return value[::-1]

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        return value[::-1]


class Salted(Backwards):
    """Another ciphertext each time."""

    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return f"{random.randrange(10**9):09}{value[::-1]}"

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        return value[9:][::-1]


class Withdrawn(Backwards):
    """The application makes a value NULL when the run has read it and has not written it yet."""

    cache_ok = True

    def __init__(self, plain: Engine) -> None:
        super().__init__()
        self.plain = plain

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        with self.plain.begin() as connection:
            connection.execute(text("UPDATE t SET email = NULL WHERE id = 1"))
        return super().process_result_value(value, dialect)


def table(phase: str | None, declared: Any = None) -> Table:
    """The table of one version of the application, whose phase may be over."""
    declared = declared or Backwards()
    columns: list[Column[Any]] = [Column("id", Integer, primary_key=True)]
    if phase == "old":
        columns.append(Column("email", declared))
    else:
        adopts: Any = phase and Plaintext("email", declared, phase=phase)  # type: ignore[arg-type]
        sealed = EncryptedType(
            String(80), name="t.email", index=BlindIndex(unique=True), adopts=adopts
        )
        columns.append(Column("email_enc", sealed, key="email"))
    return Table("t", MetaData(), *columns)


def filled(db: Database, declared: Any = None) -> Adoption:
    """A table with two rows of before, whose adoption has begun."""
    old = table("old", declared)
    old.create(db.plain)
    with db.plain.begin() as connection:
        connection.execute(insert(old), [{"id": 1, "email": "ada"}, {"id": 2, "email": "eve"}])
    adoption = Adoption.of(table("write-both", declared).c.email)
    begin_adoption(db.engine, adoption)
    return adoption


@pytest.fixture
def one(sqlite: Backend) -> Database:
    return Database(sqlite)


def test_a_worker_without_the_models_is_told_what_it_lacks(one: Database) -> None:
    run_id = adopting_run(one.engine, one.encryption, filled(one)).record()

    with pytest.raises(DeclarationError, match=r"Backwards.*--models"):
        work(one.engine, one.encryption, run_id=run_id)
    types = declared_types_of(table("write-both").metadata)
    (report,) = work(
        one.engine, one.encryption, run_id=run_id, options=Options(declared_types=types)
    )

    assert (report.finished, report.rows_written) == (True, 2)


def never_called() -> NoReturn:
    """A setup that worker processes could import."""
    raise AssertionError


def test_worker_processes_are_refused_that_could_not_be_given_the_type(one: Database) -> None:
    declared = Backwards(lambda: KEY)
    adoption = filled(one, declared)
    options = Options(workers=2, setup=never_called)

    with pytest.raises(ConfigurationError, match="they share the run") as raised:
        adopt(one.engine, one.encryption, adoption, options=options)

    assert "canary" not in str(raised.value)


def test_no_text_of_a_declaration_shows_what_the_type_holds(one: Database) -> None:
    declared = table("write-both")
    adoption = Adoption.of(declared.c.email)
    texts = [repr(declared), repr(declared.c.email.type), repr(adoption), repr(Options())]
    texts += [repr(adoption.declared_types), repr(adoption.job())]
    texts += [repr(column.type) for column in declared.columns]
    assert "canary" not in "".join(texts)


def test_what_the_type_does_not_take_is_refused_without_the_value(db: Database) -> None:
    filled(db)
    for phase in ("write-both", "read-sealed"):
        with db.begin() as connection, pytest.raises(StatementError) as raised:
            connection.execute(insert(table(phase)), {"id": 3, "email": "canary-4711" * 5})
        assert "canary" not in str(raised.value)
    with db.begin() as connection, pytest.raises(DBAPIError) as raised:
        connection.execute(insert(table("write-both")), {"id": 1, "email": "yranac-canary"})
    assert "canary" not in str(raised.value)


def test_what_was_made_null_between_reading_and_writing_stays_null(db: Database) -> None:
    adoption = filled(db)
    adopt(db.engine, db.encryption, adoption)
    ensure_adopted(db.engine, db.encryption, adoption)  # from now on a sealed value may be alone
    db.execute_plain("UPDATE t SET email = 'eda' WHERE id = 1")
    now = table("read-sealed", Withdrawn(db.plain))

    assert adopt(db.engine, db.encryption, Adoption.of(now.c.email)).finished

    with db.begin() as connection:
        rows = connection.execute(select(now.c.id, now.c.email).order_by(now.c.id)).all()
    assert [tuple(row) for row in rows] == [(1, None), (2, "eve")]


def test_a_pending_row_is_found_unless_its_ciphertext_is_never_the_same(db: Database) -> None:
    filled(db)
    version = table("read-sealed")
    found = select(version.c.id).where(version.c.email.in_(["eve", "bob"]))
    with db.engine.connect() as connection:
        assert connection.scalars(found).all() == [2]


def test_a_look_up_of_random_ciphertext_waits_for_the_last_phase(one: Database) -> None:
    adoption = filled(one, Salted())
    for phase in ("write-both", "read-sealed"):
        version = table(phase, Salted())
        asked = select(version.c.id).where(version.c.email == "eve")
        with one.engine.connect() as connection, pytest.raises(Exception, match="write-sealed"):
            connection.execute(asked)
    adopt(one.engine, one.encryption, adoption)
    ensure_adopted(one.engine, one.encryption, adoption)
    version = table("write-sealed", Salted())
    with one.engine.connect() as connection:
        asked = select(version.c.id).where(version.c.email == "eve")
        assert connection.scalars(asked).all() == [2]


def test_migrations_take_the_type_from_the_models(tmp_path: Path, sqlite: Backend) -> None:
    engine = sqlite.create_engine()
    attach_with_kept_keys(engine, WRAPPING_KEY)
    old = table("old")
    old.create(engine)
    with engine.begin() as connection:
        connection.execute(insert(old), [{"id": 1, "email": "ada"}])
    project = Project(tmp_path, sqlite)
    for phase in ("write-both", "write-both", "write-sealed"):
        code = project.autogenerate(table(phase).metadata)
        assert "plain_type='declared'" in code
        assert "canary" not in code
        project.upgrade()

    code = project.autogenerate(table(None).metadata)
    assert "op.close_plaintext" in code
    with pytest.raises((DeclarationError, AdoptionError), match="plain_type="):
        project.upgrade()
    project.config.attributes["metadata"] = table("write-sealed").metadata
    project.upgrade()
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT email FROM t").scalars().all() == [None]
