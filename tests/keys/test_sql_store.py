"""Keys in an SQL table: create, rotate, list, read, on three databases."""

from __future__ import annotations

import datetime as dt
import secrets
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine, create_engine, delete, event, inspect, select, text, update
from sqlalchemy.exc import IntegrityError

from encfields import keyrings
from encfields.errors import (
    ConfigurationError,
    KeyAccessError,
    KeyDestroyedError,
    KeyExistsError,
    KeyNotFoundError,
    KeyUnavailableError,
)
from encfields.keys.sql.store import SqlKeyStore
from encfields.testing import assert_absent
from tests.servers.process import free_port


def test_a_created_key_is_active_and_found_by_its_version(store):
    made = store.create("default")

    key = store.active("default")
    assert (key.id, key.version) == ("default", made.version)
    assert len(key.material) == 32
    assert store.version("default", made.version).material == key.material


def test_the_beacon_key_is_another_key_made_with_it_and_stays_the_same(store):
    store.create("default")
    beacon = store.beacon("default")

    assert len(beacon) == 32
    assert beacon != store.active("default").material
    store.rotate("default")
    assert store.beacon("default") == beacon


def test_rotation_makes_a_new_active_version_and_old_ones_stay_readable(store):
    store.create("default")
    keys = [store.active("default")]
    for _ in range(3):
        store.rotate("default")
        keys.append(store.active("default"))

    assert len({key.material for key in keys}) == 4
    for key in keys:
        assert store.version("default", key.version).material == key.material


def test_the_list_shows_versions_by_age_and_no_material(store):
    first = store.create("b")
    second = store.rotate("b")
    other = store.create("a")

    listed = store.list()

    assert [(one.id, one.version, one.active) for one in listed] == [
        ("a", other.version, True),
        ("b", first.version, False),
        ("b", second.version, True),
    ]
    for one in listed:
        assert abs(one.created_at - dt.datetime.now(dt.UTC)) < dt.timedelta(minutes=1)
        assert one.destroyed_at is None
    assert_absent(store.active("b").material, listed, repr(listed))
    assert listed[2] == second


def test_a_second_key_of_the_same_id_is_refused(store):
    store.create("default")
    before = store.active("default").material

    with pytest.raises(KeyExistsError):
        store.create("default")

    assert store.active("default").material == before


@pytest.mark.parametrize("other", ["Tenant/a", "tenant/A", "tenant/á", "tenant/aa"])
def test_key_ids_that_a_database_might_confuse_are_different_keys(store, other):
    store.create("tenant/a")

    with pytest.raises(KeyNotFoundError):
        store.active(other)
    store.create(other)
    assert store.active(other).material != store.active("tenant/a").material
    assert len(store.list()) == 2


@pytest.mark.parametrize("key_id", ["tenant/42", "ключ", "鍵🔑", "a'b\"c%d:e", "x" * 255])
def test_key_ids_are_any_printable_text(store, key_id):
    store.create(key_id)

    assert store.active(key_id).id == key_id


@pytest.mark.parametrize(
    "key_id", ["", " default", "default ", "a\nb", "a\0b", "x" * 256, "\ud800", "a\u200bb"]
)
def test_key_ids_that_could_not_be_told_apart_are_refused(sqlite_store, key_id):
    with pytest.raises(ConfigurationError) as caught:
        sqlite_store.create(key_id)

    assert caught.value.reason == "key-id"
    assert sqlite_store.list() == []


def test_a_missing_key_names_the_ways_to_make_it(store):
    for call in (store.active, store.beacon, store.rotate):
        with pytest.raises(KeyNotFoundError, match=r"encryption\.keys\.create\('default'\)"):
            call("default")


def test_a_missing_version_is_not_a_missing_key(store):
    store.create("default")

    with pytest.raises(KeyNotFoundError, match="has no version"):
        store.version("default", str(uuid.uuid4()))


def test_a_missing_table_names_the_ways_to_make_it(backend, keyring):
    store = SqlKeyStore(keyring, engine=backend.create_engine())
    calls = (
        lambda: store.active("default"),
        lambda: store.version("default", str(uuid.uuid4())),
        lambda: store.create("default"),
        lambda: store.rotate("default"),
        store.list,
    )

    for call in calls:
        with pytest.raises(ConfigurationError) as caught:
            call()
        assert caught.value.reason == "no-key-table"
        for way in ("keys.create_table()", "op.create_encryption_keys_table()", "create=True"):
            assert way in str(caught.value)
    assert not store.has_table()


def test_the_table_is_made_once_however_often_it_is_asked_for(backend, keyring):
    stores = [SqlKeyStore(keyring, engine=backend.create_engine()) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(SqlKeyStore.create_table, stores))

    stores[0].create_table()
    assert all(store.has_table() for store in stores)


def test_the_table_may_have_another_name(backend, keyring):
    engine = backend.create_engine()
    store = SqlKeyStore(keyring, table_name="app_keys", engine=engine)
    store.create_table()
    store.create("default")

    assert inspect(engine).get_table_names() == ["app_keys"]
    assert store.active("default").id == "default"


def test_the_table_may_be_in_a_schema(postgresql, keyring):
    engine = postgresql.create_engine()
    with engine.begin() as connection:
        connection.execute(text("CREATE SCHEMA vault"))
    store = SqlKeyStore(keyring, schema="vault", engine=engine)
    store.create_table()
    store.create("default")

    assert inspect(engine).get_table_names(schema="vault") == ["encfields_keys"]
    assert store.active("default").id == "default"
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA vault CASCADE"))


def test_the_database_holds_no_key_in_the_clear(store, backend):
    store.create("default")
    with backend.create_engine().connect() as connection:
        rows = connection.execute(
            text("SELECT * FROM encfields_keys WHERE purpose <> 'key-store'")
        ).all()

    assert len(rows) == 2
    for material in (store.active("default").material, store.beacon("default")):
        assert_absent(
            material,
            *[bytes(cell) for row in rows for cell in row if isinstance(cell, bytes | memoryview)],
        )


def test_another_keyring_cannot_open_the_stored_key(store, backend):
    version = store.create("default").version
    other = SqlKeyStore(keyrings.local(secrets.token_bytes(32)), engine=backend.create_engine())

    for call in (
        lambda: other.active("default"),
        lambda: other.version("default", version),
        lambda: other.beacon("default"),
    ):
        with pytest.raises(KeyAccessError) as caught:
            call()
        assert caught.value.reason == "wrong-keyring"
        assert caught.value.key_id == "default"


def test_a_wrapped_key_set_back_under_another_id_or_purpose_is_refused(store, backend):
    store.create("a")
    store.create("b")
    table = store.table
    with backend.create_engine().begin() as connection:
        for purpose in ("branch-key", "beacon-key"):
            taken = connection.scalar(
                select(table.c.wrapped).where(table.c.key_id == "a", table.c.purpose == purpose)
            )
            connection.execute(
                update(table)
                .where(table.c.key_id == "b", table.c.purpose == purpose)
                .values(wrapped=taken)
            )

    for call in (store.active, store.beacon):
        with pytest.raises(KeyAccessError) as caught:
            call("b")
        assert caught.value.reason == "tampered"


def test_the_database_itself_refuses_a_second_active_version(store, backend):
    store.create("default")
    store.rotate("default")

    with (
        backend.create_engine().begin() as connection,
        pytest.raises(IntegrityError),
        connection.begin_nested(),
    ):
        connection.execute(
            update(store.table).where(store.table.c.purpose == "branch-key").values(active=1)
        )


def test_a_destroyed_key_is_not_a_missing_one(store, backend):
    version = store.create("default").version
    table = store.table
    when = dt.datetime(2026, 5, 17, 12, tzinfo=dt.UTC)
    with backend.create_engine().begin() as connection:
        connection.execute(update(table).values(wrapped=None, active=None, destroyed_at=when))

    for call in (
        lambda: store.active("default"),
        lambda: store.beacon("default"),
        lambda: store.rotate("default"),
    ):
        with pytest.raises(KeyDestroyedError):
            call()
    with pytest.raises(KeyDestroyedError, match="on 2026-05-17"):
        store.version("default", version)
    assert store.list()[0].destroyed_at == when


def test_of_concurrent_creations_one_wins_and_its_key_is_everyones(backend, keyring):
    stores = [SqlKeyStore(keyring, engine=backend.create_engine()) for _ in range(6)]
    stores[0].create_table()
    barrier = threading.Barrier(len(stores))

    def create(store):
        barrier.wait()
        try:
            return store.create("default").version
        except KeyExistsError:
            return None

    with ThreadPoolExecutor(len(stores)) as pool:
        won = [version for version in pool.map(create, stores) if version]

    assert len(won) == 1
    assert {store.active("default").version for store in stores} == set(won)
    assert len({store.active("default").material for store in stores}) == 1
    assert len({store.beacon("default") for store in stores}) == 1
    assert len(stores[0].list()) == 1


def test_concurrent_rotations_each_make_a_version_and_leave_one_active(backend, keyring):
    stores = [SqlKeyStore(keyring, engine=backend.create_engine()) for _ in range(4)]
    stores[0].create_table()
    stores[0].create("default")
    barrier = threading.Barrier(len(stores))

    def rotate(store):
        barrier.wait()
        return store.rotate("default").version

    with ThreadPoolExecutor(len(stores)) as pool:
        made = list(pool.map(rotate, stores))

    listed = stores[0].list()
    assert {one.version for one in listed} >= set(made)
    assert len(listed) == 5
    assert [one.version for one in listed if one.active] == [stores[0].active("default").version]
    assert stores[0].active("default").version in made
    for version in made:
        assert stores[0].version("default", version).id == "default"


@pytest.mark.parametrize("drivername", ["postgresql+psycopg", "mysql+pymysql"])
def test_a_database_out_of_reach_is_an_outage(keyring, drivername):
    engine = create_engine(f"{drivername}://user:hunter2secret@127.0.0.1:{free_port()}/none")
    store = SqlKeyStore(keyring, engine=engine)

    for call in (lambda: store.active("default"), lambda: store.create("default"), store.list):
        with pytest.raises(KeyUnavailableError) as caught:
            call()
        assert caught.value.reason == "unreachable"
        assert_absent("hunter2secret", caught.value)


def test_a_database_that_denies_the_table_is_a_matter_of_access(postgresql, keyring):
    admin = postgresql.create_engine()
    SqlKeyStore(keyring, engine=admin).create_table()
    role = f"reader_{secrets.token_hex(4)}"
    with admin.begin() as connection:
        connection.execute(text(f"CREATE ROLE {role} LOGIN PASSWORD 'reader'"))
        connection.execute(text(f"GRANT USAGE ON SCHEMA public TO {role}"))
    reader = create_engine(postgresql.url.set(username=role, password="reader"))
    try:
        with pytest.raises(KeyUnavailableError) as caught:
            SqlKeyStore(keyring, engine=reader).active("default")
    finally:
        reader.dispose()
        with admin.begin() as connection:
            connection.execute(text(f"DROP OWNED BY {role}"))
            connection.execute(text(f"DROP ROLE {role}"))

    assert caught.value.reason == "denied"


def test_a_refused_key_is_told_of_once(postgresql, keyring, caplog):
    """psycopg logs it again if it was one of several parameters of one statement."""
    admin = postgresql.create_engine()
    SqlKeyStore(keyring, engine=admin).create_table()
    with admin.begin() as connection:
        connection.execute(
            text("ALTER TABLE encfields_keys ADD CHECK (purpose <> 'branch-key') NOT VALID")
        )
    sent: list[bool] = []  # whether with a list of parameters, of which psycopg may log the second

    def note(c: object, u: object, sql: str, p: object, x: object, is_many: bool) -> None:
        sent.extend([is_many] if "INSERT INTO encfields_keys" in sql else [])

    event.listen(Engine, "before_cursor_execute", note)
    try:
        with pytest.raises(KeyUnavailableError):
            SqlKeyStore(keyring, engine=admin).create("default")
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    assert sent == [False]
    assert [record for record in caplog.records if record.name == "psycopg"] == []


def test_a_locked_sqlite_says_so(sqlite, keyring):
    engine = sqlite.create_engine(connect_args={"timeout": 0.1})
    store = SqlKeyStore(keyring, engine=engine)
    store.create_table()
    store.create("default")
    with engine.connect() as connection:
        connection.execute(text("BEGIN IMMEDIATE"))

        assert store.active("default").id == "default"
        with pytest.raises(KeyUnavailableError, match="holds SQLite's lock"):
            store.create("other")
        connection.rollback()

    store.create("other")


def test_a_failed_read_keeps_no_exception_that_holds_parameters(store, backend):
    store.create("default")
    with backend.create_engine().begin() as connection:
        connection.execute(text("DROP TABLE encfields_keys"))

    with pytest.raises(ConfigurationError) as caught:
        store.active("default")

    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_a_wrapped_key_deleted_from_the_table_is_missed_at_once(store, backend):
    store.create("default")
    with backend.create_engine().begin() as connection:
        connection.execute(delete(store.table))

    with pytest.raises(KeyNotFoundError):
        store.active("default")


def test_a_store_without_a_database_says_how_to_give_it_one(keyring):
    with pytest.raises(ConfigurationError, match="attach"):
        SqlKeyStore(keyring).active("default")


def test_a_store_serves_one_engine(sqlite, keyring):
    engine = sqlite.create_engine()
    store = SqlKeyStore(keyring, engine=engine)
    store.bind(engine)
    store.bind(engine.execution_options(compiled_cache=None))

    with pytest.raises(ConfigurationError, match="another engine"):
        store.bind(sqlite.create_engine())


def test_repr_shows_neither_keys_nor_the_databases_password(store):
    store.create("default")

    assert "encfields_keys" in repr(store)
    assert_absent(store.active("default").material, repr(store), repr(store._wrapper.current))
