"""Keys are read on a connection of the store's own, made like the application's."""

from __future__ import annotations

import sqlite3

import pytest
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.engine.interfaces import CacheStats
from sqlalchemy.pool import NullPool, SingletonThreadPool, StaticPool

from encfields.errors import ConfigurationError, KeyUnavailableError
from encfields.keys.sql.store import SqlKeyStore
from tests.waiting import until


def test_a_pool_of_one_connection_in_use_does_not_stand_in_the_way(backend, keyring):
    engine = backend.create_engine(pool_size=1, max_overflow=0, pool_timeout=2)
    store = SqlKeyStore(keyring, engine=engine)
    store.create_table()
    with engine.connect() as connection, connection.begin():
        connection.execute(text("SELECT 1"))

        store.create("default")
        store.rotate("default")
        assert store.active("default").id == "default"
        assert len(store.list()) == 2


def test_the_applications_rollback_takes_no_key_with_it(backend, keyring):
    engine = backend.create_engine()
    store = SqlKeyStore(keyring, engine=engine)
    store.create_table()
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
        store.create("default")
        connection.rollback()

    assert store.active("default").id == "default"


def test_a_failed_key_read_does_not_spoil_the_applications_transaction(backend, keyring):
    engine = backend.create_engine()
    store = SqlKeyStore(keyring, engine=engine)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE word (word VARCHAR(9))"))
        with pytest.raises(ConfigurationError):
            store.active("default")
        connection.execute(text("INSERT INTO word VALUES ('kept')"))

    with engine.connect() as connection:
        assert connection.scalar(text("SELECT word FROM word")) == "kept"


def test_no_connection_stays_open(postgresql, keyring):
    engine = postgresql.create_engine(connect_args={"application_name": "encfields-own"})
    store = SqlKeyStore(keyring, engine=engine)
    store.create_table()
    store.create("default")
    store.active("default")
    others = text(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'encfields-own'"
        " AND pid <> pg_backend_pid()"
    )
    # The server takes a moment to notice that a client has left.
    with engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT")
        until(lambda: connection.scalar(others) == 0)


def test_an_engine_wide_autocommit_does_not_store_half_a_key(backend, keyring):
    engine = backend.create_engine(isolation_level="AUTOCOMMIT")
    store = SqlKeyStore(keyring, engine=engine)
    store.create_table()
    version = store.create("default").version

    # The retired version must come back when the new one cannot be inserted.
    with pytest.raises(Exception, match="new version cannot be inserted"):
        store._table.add(
            lambda connection: _retire_and_fail(connection, store), [{"key_id": "default"}]
        )

    assert store.active("default").version == version


def _retire_and_fail(connection, store):
    connection.execute(store.table.update().values(active=None))
    raise LookupError("new version cannot be inserted")


def test_a_connection_that_ends_is_told_wherever_it_does(mariadb, keyring):
    engine = mariadb.create_engine()
    store = SqlKeyStore(keyring, engine=engine)
    store.create_table()
    out = ended = 0

    def end(connection, *_):
        nonlocal out
        out += 1
        if out == ended:
            with mariadb.create_engine().connect() as other:
                other.exec_driver_sql(f"KILL {connection.thread_id()}")

    event.listen(engine, "checkout", end)
    while out >= ended:
        out, ended = 0, ended + 1
        try:
            store.create(f"key-{ended}")
        except KeyUnavailableError:
            assert out >= ended
    assert ended > 2


ENDS = {
    "postgresql": ("SELECT pg_backend_pid()", "SELECT pg_terminate_backend({})"),
    "mariadb": ("SELECT CONNECTION_ID()", "KILL {}"),
}


def test_a_connection_that_ends_after_the_commit_loses_nobody_a_key(backend, keyring):
    if backend.name not in ENDS:
        pytest.skip("no server ends a connection")
    asks, ends = ENDS[backend.name]
    # Else the pool's own rollback meets it, unless it ends just afterwards.
    engine = backend.create_engine(pool_reset_on_return=None)
    store = SqlKeyStore(keyring, engine=engine)
    store.create_table()
    own = []

    @event.listens_for(engine, "checkout")
    def note(connection, *_):
        cursor = connection.cursor()
        cursor.execute(asks)
        own.append(cursor.fetchone()[0])
        cursor.close()
        connection.rollback()

    @event.listens_for(engine, "reset")
    def end(connection, *_):
        with backend.create_engine().connect() as other:
            other.exec_driver_sql(ends.format(own[-1]))

    version = store.create("default").version
    rotated = store.rotate("default").version
    assert len(own) >= 2
    event.remove(engine, "reset", end)
    assert {one.version for one in store.list()} == {version, rotated}


def test_the_applications_creator_is_used(sqlite, keyring):
    made = []

    def creator():
        made.append(1)
        return sqlite3.connect(str(sqlite.url.database))

    engine = create_engine("sqlite:///elsewhere.sqlite", creator=creator, poolclass=NullPool)
    store = SqlKeyStore(keyring, engine=engine)
    store.create_table()
    store.create("default")

    assert made
    elsewhere = SqlKeyStore(keyring, engine=sqlite.create_engine())
    assert elsewhere.active("default").id == "default"


def test_the_applications_connection_events_take_effect(postgresql, keyring):
    """A search path, a role, a password from a vault: whatever makes a connection usable."""
    engine = postgresql.create_engine(connect_args={"application_name": "from-arguments"})
    seen = []

    @event.listens_for(engine, "do_connect")
    def connect_with_token(dialect, record, arguments, parameters):
        seen.append(parameters["application_name"])
        parameters["options"] = "-c search_path=vault"

    @event.listens_for(engine, "connect")
    def prepare(connection, record):
        seen.append("connect")

    with engine.begin() as connection:
        connection.execute(text("CREATE SCHEMA vault"))
    before = len(seen)
    store = SqlKeyStore(keyring, engine=engine)
    store.create_table()
    store.create("default")

    assert seen[before:].count("from-arguments") == seen[before:].count("connect") > 0
    with engine.begin() as connection:
        assert (
            connection.scalar(text("SELECT count(*) FROM vault.encfields_keys WHERE key_id <> ''"))
            == 2
        )
        connection.execute(text("DROP SCHEMA vault CASCADE"))


def test_the_applications_statement_events_do_not_see_key_statements(backend, keyring):
    engine = backend.create_engine()
    store = SqlKeyStore(keyring, engine=engine)
    store.create_table()
    statements = []
    event.listen(engine, "before_cursor_execute", lambda *a: statements.append(a[2]))
    store.create("default")
    store.active("default")

    assert statements == []


def test_a_statement_that_was_compiled_before_is_not_compiled_again(backend, keyring, request):
    """Though each piece of work has an engine, and so a cache of SQLAlchemy's, of its own."""
    store = SqlKeyStore(keyring, engine=backend.create_engine())
    store.create_table()
    store.create("default")
    store.active("default")
    hits = []

    def note(connection, cursor, statement, parameters, context, executemany):
        hits.append(context.cache_hit)

    event.listen(Engine, "before_cursor_execute", note)
    request.addfinalizer(lambda: event.remove(Engine, "before_cursor_execute", note))
    store.active("default")

    assert set(hits) == {CacheStats.CACHE_HIT}


def test_a_schema_translate_map_of_the_engine_applies(postgresql, keyring):
    engine = postgresql.create_engine(execution_options={"schema_translate_map": {None: "vault"}})
    with engine.begin() as connection:
        connection.execute(text("CREATE SCHEMA vault"))
    store = SqlKeyStore(keyring, engine=engine)
    store.create_table()
    store.create("default")
    with engine.begin() as connection:
        assert (
            connection.scalar(text("SELECT count(*) FROM vault.encfields_keys WHERE key_id <> ''"))
            == 2
        )
        connection.execute(text("DROP SCHEMA vault CASCADE"))


@pytest.fixture(params=["SingletonThreadPool", "StaticPool"])
def memory_engine(request):
    """An in-memory database, whose one connection the store has to share."""
    options = {"poolclass": StaticPool} if request.param == "StaticPool" else {}
    engine = create_engine("sqlite://", **options)
    yield engine
    engine.dispose()


def test_in_memory_keys_are_kept_beside_the_data(memory_engine, keyring):
    store = SqlKeyStore(keyring, engine=memory_engine)
    store.create_table()
    store.create("default")
    store.rotate("default")

    assert store.active("default").id == "default"
    with memory_engine.connect() as connection:
        assert (
            connection.scalar(text("SELECT count(*) FROM encfields_keys WHERE key_id <> ''")) == 3
        )


@pytest.mark.parametrize("outcome", ["commit", "rollback"])
def test_in_memory_reads_neither_commit_nor_roll_back_the_applications_work(
    memory_engine, keyring, outcome
):
    store = SqlKeyStore(keyring, engine=memory_engine)
    store.create_table()
    store.create("default")
    with memory_engine.begin() as connection:
        connection.execute(text("CREATE TABLE word (word TEXT)"))
    with memory_engine.connect() as connection:
        connection.execute(text("INSERT INTO word VALUES ('mine')"))
        assert store.active("default").id == "default"
        assert connection.scalar(text("SELECT count(*) FROM word")) == 1
        getattr(connection, outcome)()

    with memory_engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM word")) == (outcome == "commit")


def test_in_memory_a_key_made_within_a_transaction_survives_its_rollback(memory_engine, keyring):
    """The cache has it by then, and may have sealed values of other transactions with it."""
    store = SqlKeyStore(keyring, engine=memory_engine)
    store.create_table()
    with memory_engine.begin() as connection:
        connection.execute(text("CREATE TABLE word (word TEXT)"))
    with memory_engine.connect() as connection:
        connection.execute(text("INSERT INTO word VALUES ('mine')"))
        made = store.create("default")
        material = store.active("default").material
        connection.rollback()

    assert store.version("default", made.version).material == material
    assert store.active("default").material == material
    with memory_engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM word")) == 0


def test_a_pool_of_one_fixed_connection_is_read_but_not_written(postgresql, keyring):
    """Whether its open transaction will be committed is not for the store to know."""
    writer = SqlKeyStore(keyring, engine=postgresql.create_engine())
    writer.create_table()
    writer.create("default")
    fixed = create_engine(postgresql.url, poolclass=StaticPool)
    store = SqlKeyStore(keyring, engine=fixed)
    with fixed.connect() as connection:
        connection.execute(text("CREATE TABLE word (word TEXT)"))
        assert store.active("default").id == "default"
        with pytest.raises(ConfigurationError, match="ordinary pool"):
            store.create("other")
        connection.commit()
        assert connection.scalar(text("SELECT count(*) FROM word")) == 0
    fixed.dispose()


@pytest.mark.parametrize("pool", [StaticPool, SingletonThreadPool])
@pytest.mark.parametrize("server", ["postgresql", "mariadb"])
def test_reading_keys_ends_no_transaction_on_a_servers_only_connection(
    request, keyring, server, pool
):
    backend = request.getfixturevalue(server)
    store = SqlKeyStore(keyring, engine=backend.create_engine())
    store.create_table()
    store.create("default")
    single = backend.create_engine(poolclass=pool)
    reader = SqlKeyStore(keyring, engine=single)
    with single.begin() as connection:
        connection.execute(text("CREATE TABLE word (word VARCHAR(9))"))
    with single.connect() as connection:
        connection.execute(text("INSERT INTO word VALUES ('undone')"))
        assert reader.active("default").id == "default"
        connection.rollback()

        assert connection.scalars(text("SELECT word FROM word")).all() == []


@pytest.mark.parametrize("pool", [StaticPool, SingletonThreadPool])
@pytest.mark.parametrize("server", ["postgresql", "mariadb"])
def test_reading_keys_leaves_no_transaction_on_a_servers_only_connection(
    request, keyring, server, pool
):
    backend = request.getfixturevalue(server)
    with backend.create_engine().begin() as other:
        other.execute(text("CREATE TABLE word (word VARCHAR(9))"))
    store = SqlKeyStore(keyring, engine=backend.create_engine())
    store.create_table()
    made = store.create("default")
    single = backend.create_engine(poolclass=pool, isolation_level="REPEATABLE READ")
    reader = SqlKeyStore(keyring, engine=single)
    assert reader.newest_versions(["default"]) == {"default": made.version}
    with backend.create_engine().begin() as other:
        other.execute(text("INSERT INTO word VALUES ('new')"))

    with single.connect() as connection:
        assert connection.scalar(text("SELECT word FROM word")) == "new"


def test_a_shared_in_memory_database_gets_a_connection_of_its_own(keyring):
    url = "sqlite:///file:shared?mode=memory&cache=shared&uri=true"
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as keeper:
        store = SqlKeyStore(keyring, engine=engine)
        store.create_table()
        store.create("default")
        assert store.active("default").id == "default"
        assert keeper.scalar(text("SELECT count(*) FROM encfields_keys WHERE key_id <> ''")) == 2


@pytest.mark.parametrize("delivered_as", [bytes, bytearray, str])
@pytest.mark.parametrize("place", ["memory", "file"])
def test_keys_are_read_whatever_the_connection_makes_of_texts(
    tmp_path, keyring, delivered_as, place
):
    engine = create_engine("sqlite://" if place == "memory" else f"sqlite:///{tmp_path}/keys.db")

    @event.listens_for(engine, "connect")
    def deliver(connection, _record):
        connection.text_factory = delivered_as if delivered_as is not str else bytes.decode

    store = SqlKeyStore(keyring, engine=engine)
    store.create_table()
    created = store.create("default")
    rotated = store.rotate("default")

    assert store.active("default").version == rotated.version
    assert store.version("default", created.version).version == created.version
    listed = {one.version: one for one in store.list()}
    assert listed[created.version].created_at == created.created_at
    assert not listed[created.version].fault
