"""attach() serves one engine and its views; two engines of a process never mix."""

from __future__ import annotations

import gc
import secrets
import weakref
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, create_engine, event, insert, select, text
from sqlalchemy.orm import Session, sessionmaker

from encfields import Encryption, SqlKeyStore, attach, encryption_of, keyrings
from encfields.errors import (
    ConfigurationError,
    ContextMismatchError,
    KeyNotFoundError,
    NotAttachedError,
)
from encfields.testing import attach_locally, local_store
from tests.attach.model import ID, PATIENT, ROW, Base, Patient
from tests.servers.backends import Backend
from tests.turns import databases_by_turns

pytestmark = databases_by_turns


def _read(engine: Engine | Connection) -> str | None:
    with Session(engine) as session:
        return session.get_one(Patient, ID).ssn


def _write(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(insert(PATIENT), ROW)


# -- one engine --------------------------------------------------------------------------------


def test_whoever_has_the_engine_finds_its_encryption(engine: Engine) -> None:
    with pytest.raises(NotAttachedError):
        encryption_of(engine)
    encryption = attach(engine, local_store(), create=True)
    with Session(engine) as session, engine.connect() as connection:
        view = engine.execution_options(schema_translate_map={None: None})
        for bind in (engine, view, connection, session.get_bind()):
            assert encryption_of(bind) is encryption
    with pytest.raises(ConfigurationError):
        encryption_of("sqlite://")  # type: ignore[arg-type]


def test_attach_gives_the_encryption_back(engine: Engine) -> None:
    encryption = attach(engine, local_store(), create=True)
    assert isinstance(encryption, Encryption)
    _write(engine)
    assert _read(engine) == ROW["ssn"]


def test_the_views_that_execution_options_give_are_covered(engine: Engine) -> None:
    before = engine.execution_options(isolation_level="SERIALIZABLE")
    attach_locally(engine)
    after = engine.execution_options(logging_token="reader")
    _write(before)
    assert _read(after) == _read(before) == _read(engine) == ROW["ssn"]


def test_attaching_a_view_covers_its_engine(engine: Engine) -> None:
    attach_locally(engine.execution_options(logging_token="reader"))
    _write(engine)
    assert _read(engine) == ROW["ssn"]


def test_a_view_through_its_own_listeners_is_sealed_once(engine: Engine) -> None:
    encryption = attach_locally(engine)
    _write(engine.execution_options(logging_token="a").execution_options(logging_token="b"))
    assert encryption.stats.sealed == 1


def test_sessions_on_engines_and_on_connections_are_covered(engine: Engine) -> None:
    attach_locally(engine)
    with sessionmaker(engine).begin() as session:
        session.add(Patient(**ROW))
    with engine.connect() as connection:
        assert _read(connection) == ROW["ssn"]
        options = connection.execution_options(isolation_level="AUTOCOMMIT")
        assert options.execute(select(PATIENT.c.ssn)).scalar_one() == ROW["ssn"]


def test_sessions_with_a_bind_for_each_class_are_covered(engine: Engine) -> None:
    attach_locally(engine)
    with Session(binds={Patient: engine}) as session:
        session.add(Patient(**ROW))
        session.commit()
        assert session.get_one(Patient, ID).ssn == ROW["ssn"]


def test_connections_that_were_open_before_are_covered(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
        connection.rollback()
        attach_locally(engine)
        connection.execute(insert(PATIENT), ROW)
        assert connection.execute(select(PATIENT.c.ssn)).scalar_one() == ROW["ssn"]


def test_attaching_twice_is_refused(engine: Engine) -> None:
    first = attach_locally(engine)
    with pytest.raises(ConfigurationError, match="is attached already") as caught:
        attach_locally(engine)
    assert caught.value.reason == "attached-twice"
    with pytest.raises(ConfigurationError):
        attach_locally(engine.execution_options(logging_token="view"))
    _write(engine)
    assert first.stats.sealed == 1


# -- detach ------------------------------------------------------------------------------------


def test_a_detached_engine_refuses_reads_and_writes(engine: Engine) -> None:
    encryption = attach_locally(engine)
    _write(engine)
    encryption.detach()
    with pytest.raises(NotAttachedError):
        _read(engine)
    with pytest.raises(NotAttachedError), engine.begin() as connection:
        connection.execute(insert(PATIENT), {"ssn": "1"})
    assert "detached" in repr(encryption)


def test_detaching_twice_is_no_harm_and_an_engine_can_be_attached_again(engine: Engine) -> None:
    key = secrets.token_bytes(32)
    encryption = attach(engine, local_store(key), create=True)
    _write(engine)
    encryption.detach()
    encryption.detach()
    attach(engine, local_store(key))
    assert _read(engine) == ROW["ssn"]


def test_detach_leaves_no_listener_behind(engine: Engine) -> None:
    encryption = attach_locally(engine)
    listeners = list(encryption._listeners.each())
    assert all(event.contains(engine, name, listener) for name, listener, _ in listeners)
    encryption.detach()
    assert not any(event.contains(engine, name, listener) for name, listener, _ in listeners)


# -- two engines -------------------------------------------------------------------------------


def test_engines_with_different_stores_do_not_mix(backend: Backend, engine: Engine) -> None:
    ours = attach_locally(engine)
    other = backend.create_engine()
    theirs = attach(
        other, SqlKeyStore(keyrings.local(secrets.token_bytes(32)), table_name="k2"), create=True
    )
    _write(engine)
    with pytest.raises(KeyNotFoundError) as caught:
        _read(other)
    assert caught.value.key_id == "default"
    assert (caught.value.table, caught.value.column) == ("patient", "ssn")
    assert caught.value.row is not None
    assert str(caught.value).startswith(f"patient.ssn, row id={ID}, key 'default': ")
    assert (ours.stats.sealed, theirs.stats.sealed) == (1, 0)
    assert theirs.stats.opened == 0
    assert _read(engine) == ROW["ssn"]


def test_one_encrypted_engine_leaves_another_alone(backend: Backend, engine: Engine) -> None:
    attach_locally(engine)
    _write(engine)
    with pytest.raises(NotAttachedError):
        _read(backend.create_engine())


def test_two_engines_may_share_keys_through_stores_of_their_own(
    backend: Backend, engine: Engine
) -> None:
    key = secrets.token_bytes(32)
    attach(engine, local_store(key), create=True)
    other = backend.create_engine()
    attach(other, local_store(key))
    _write(engine)
    assert _read(other) == ROW["ssn"]


def test_a_store_serves_one_engine(backend: Backend, engine: Engine) -> None:
    store = SqlKeyStore(keyrings.local(secrets.token_bytes(32)), engine=engine)
    store.create_table()
    store.create("default")
    other = backend.create_engine()
    attach(other, store)  # keys in one database, values in another
    _write(other)
    assert _read(other) == ROW["ssn"]
    fresh = local_store()
    attach(engine, fresh)
    with pytest.raises(ConfigurationError, match="another engine"):
        fresh.bind(other)


def test_a_value_moved_between_two_tables_names_both_places(engine: Engine) -> None:
    attach_locally(engine)
    _write(engine)
    with engine.begin() as connection:
        sealed = bytes(connection.execute(text("SELECT ssn FROM patient")).scalar_one())
        other = Patient(ssn="x")
        with Session(connection) as session:
            session.add(other)
            session.flush()
            moved = other.id
        connection.execute(text("UPDATE patient SET ssn = :v"), {"v": sealed})
        with pytest.raises(ContextMismatchError) as caught:
            connection.execute(select(PATIENT.c.ssn).where(PATIENT.c.id == moved)).one()
    assert (str(ID) in str(caught.value), str(moved) in str(caught.value)) == (True, True)


# -- arguments ---------------------------------------------------------------------------------


@pytest.mark.parametrize("engine_like", [None, "sqlite://", object(), Session()])
def test_what_is_no_engine_is_refused(engine_like: Any) -> None:
    with pytest.raises(ConfigurationError, match="takes an Engine or AsyncEngine") as caught:
        attach(engine_like, local_store())
    assert type(engine_like).__name__ in str(caught.value)


def test_a_connection_is_refused(engine: Engine) -> None:
    with engine.connect() as connection, pytest.raises(ConfigurationError, match="Connection"):
        attach(connection, local_store())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options", [{"cache_ttl": 0}, {"cache_ttl": -1}, {"cache_grace": -1}, {"cache_entries": 0}]
)
def test_unusable_cache_options_are_refused_and_nothing_is_attached(
    engine: Engine, options: dict[str, Any]
) -> None:
    with pytest.raises(ConfigurationError, match=f"{next(iter(options))}= takes"):
        attach_locally(engine, **options)
    attach_locally(engine)


@pytest.mark.parametrize("store", [None, object(), keyrings.local(bytes(range(32)))])
def test_what_is_no_key_store_is_refused(engine: Engine, store: Any) -> None:
    with pytest.raises(ConfigurationError, match="key store") as caught:
        attach(engine, store)
    assert type(store).__name__ in str(caught.value)
    attach_locally(engine)


# -- create=True -------------------------------------------------------------------------------


def test_create_makes_the_table_and_the_keys_that_are_missing(engine: Engine) -> None:
    encryption = attach(engine, local_store(), create=True)
    _write(engine)
    assert [key.id for key in encryption.keys.list()] == ["default"]


def test_create_finds_what_is_there(backend: Backend, engine: Engine) -> None:
    key = secrets.token_bytes(32)
    attach(engine, local_store(key), create=True)
    _write(engine)
    again = backend.create_engine()
    encryption = attach(again, local_store(key), create=True)
    assert _read(again) == ROW["ssn"]
    assert len(encryption.keys.list()) == 1


def test_without_create_nothing_is_made(engine: Engine) -> None:
    encryption = attach(engine, local_store())
    with pytest.raises(ConfigurationError, match="key table 'encfields_keys' is missing"):
        encryption.keys.list()


# -- no state of its own -----------------------------------------------------------------------


def test_an_engine_that_is_gone_takes_its_encryption_along() -> None:
    engine = create_engine("sqlite://")
    gone = weakref.ref(attach_locally(engine))
    engine.dispose()
    del engine
    gc.collect()
    assert gone() is None


def test_other_listeners_of_the_engine_go_on_working(engine: Engine) -> None:
    seen: list[str] = []

    @event.listens_for(engine, "before_cursor_execute", retval=True)
    def comment(
        conn: Any, cursor: Any, statement: str, parameters: Any, *rest: Any
    ) -> tuple[str, Any]:
        seen.append(statement)
        return f"{statement} /* traced */", parameters

    attach_locally(engine)
    _write(engine)
    assert _read(engine) == ROW["ssn"]
    assert any(one.startswith("INSERT INTO patient") for one in seen)


def test_metadata_may_be_made_through_an_attached_engine(backend: Backend) -> None:
    engine = backend.create_engine()
    attach_locally(engine)
    Base.metadata.create_all(engine)
    _write(engine)
    Base.metadata.drop_all(engine)
