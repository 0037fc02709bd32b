"""Crypto-shredding: a destroyed key leaves its values unreadable, a tombstone, and a receipt."""

from __future__ import annotations

import datetime as dt
import enum
import json
import secrets

import pytest
from sqlalchemy import Engine, Table, insert, select, text, update

from encfields import Encryption, SqlKeyStore, attach, keyrings
from encfields.bulk.rows.spec import TableSpec
from encfields.engine import engine_encryption
from encfields.errors import (
    ConfigurationError,
    KeyDestroyedError,
    KeyNotFoundError,
    ValueEncodingError,
)
from encfields.keys.cache.key_cache import KeyCache
from tests.census.clinic import patient_table
from tests.servers.backends import Backend
from tests.turns import databases_by_turns, on_each_database
from tests.waiting import until_raises

pytestmark = databases_by_turns


KEY = "tenant/{name}"


class Gone(enum.Enum):
    """A sentinel of the application's."""

    FOREVER = enum.auto()


@pytest.fixture
def wrapping_key() -> bytes:
    return secrets.token_bytes(32)


@pytest.fixture
def engine(backend: Backend) -> Engine:
    return backend.create_engine()


@pytest.fixture
def encryption(engine: Engine, wrapping_key: bytes) -> Encryption:
    """Who destroys a key waits only for a moment until the other processes have noticed."""
    store = SqlKeyStore(keyrings.local(wrapping_key))
    return attach(engine, store, create=True, cache_check=0.2)


@pytest.fixture
def patients(engine: Engine, encryption: Encryption) -> Table:
    """Two tenants' patients: ``ssn`` under the tenant's key, ``notes`` under the default one."""
    table = patient_table(key=KEY)
    table.create(engine)
    rows = [
        {"id": number, "name": tenant, "ssn": f"{tenant} {number}", "notes": "n"}
        for number, tenant in enumerate(["a", "a", "a", "b"])
    ]
    with engine.begin() as connection:
        connection.execute(insert(table), rows)
    return table


def specs(table: Table) -> list[TableSpec]:
    return [TableSpec.from_table(table)]


def read(engine: Engine, table: Table, tenant: str) -> list[object]:
    with engine.connect() as connection:
        found = connection.scalars(
            select(table.c.ssn).where(table.c.name == tenant).order_by(table.c.id)
        )
        return list(found)


def test_without_confirmation_it_reports_what_would_be_lost_and_does_nothing(
    engine, encryption, patients
):
    encryption.keys.rotate("tenant/a")
    with engine.begin() as connection:
        connection.execute(update(patients).where(patients.c.id == 0).values(ssn="x", name="a"))
    for confirm in (None, "", "tenant/b", "tenant/A", "tenant/a "):
        with pytest.raises(ConfigurationError, match=r"patient\.ssn \(3 values\)") as caught:
            encryption.keys.destroy("tenant/a", confirm=confirm, specs=specs(patients))
        assert caught.value.reason == "not-confirmed"

    assert read(engine, patients, "a") == ["x", "a 1", "a 2"]


@on_each_database
def test_a_destroyed_key_takes_its_values_with_it_and_no_others(engine, encryption, patients):
    receipt = encryption.keys.destroy("tenant/a", confirm="tenant/a", specs=specs(patients))

    with pytest.raises(KeyDestroyedError, match="destroyed on") as caught:
        read(engine, patients, "a")
    assert (caught.value.table, caught.value.column) == ("patient", "ssn")
    assert read(engine, patients, "b") == ["b 3"]
    with pytest.raises(KeyDestroyedError), engine.begin() as connection:
        connection.execute(insert(patients), {"id": 9, "name": "a", "ssn": "new"})
    assert receipt.values == 3


@on_each_database
def test_nothing_of_the_wrapped_key_is_left_in_the_table(engine, encryption, patients):
    store = encryption._store
    assert isinstance(store, SqlKeyStore)
    encryption.keys.rotate("tenant/a")
    encryption.keys.destroy("tenant/a", confirm="tenant/a", specs=None)

    with engine.connect() as connection:
        rows = connection.execute(
            select(store.table).where(store.table.c.key_id == "tenant/a")
        ).all()
    assert sorted(row.purpose for row in rows) == ["beacon-key", "branch-key", "branch-key"]
    for row in rows:
        assert row.wrapped is None
        assert row.active is None
        assert abs(row.destroyed_at - dt.datetime.now(dt.UTC)) < dt.timedelta(minutes=5)
    listed = [one for one in encryption.keys.list() if one.id == "tenant/a"]
    assert [(one.active, one.destroyed_at is None) for one in listed] == 2 * [(False, False)]


def test_sqlite_keeps_no_copy_of_the_wrapped_key_in_its_file(sqlite: Backend, wrapping_key):
    engine = sqlite.create_engine()
    store = SqlKeyStore(keyrings.local(wrapping_key))
    encryption = attach(engine, store, create=True, cache_check=0.2)
    encryption.keys.create("tenant/a")
    with engine.connect() as connection:
        wrapped = connection.execute(
            text("SELECT wrapped FROM encfields_keys WHERE key_id = 'tenant/a'")
        ).scalars()
        pieces = [bytes(one)[-60:] for one in wrapped]
    engine.dispose()
    path = sqlite.url.database
    assert path is not None
    with open(path, "rb") as file:
        content = file.read()
    assert all(piece in content for piece in pieces)
    encryption.keys.destroy("tenant/a", confirm="tenant/a", specs=None)
    engine.dispose()
    with open(path, "rb") as file:
        content = file.read()
    assert not any(piece in content for piece in pieces)


def test_other_processes_lose_it_when_their_copy_expires(
    backend: Backend, engine, encryption, patients, wrapping_key
):
    store = SqlKeyStore(keyrings.local(wrapping_key), engine=backend.create_engine())
    other = KeyCache(store, ttl=0.5, grace=60)
    key = other.active("tenant/a")
    encryption.keys.destroy("tenant/a", confirm="tenant/a", specs=None)

    for ask in (lambda: other.active("tenant/a"), lambda: other.find("tenant/a", key.version)):
        until_raises(KeyDestroyedError, ask)


def test_the_receipt_says_what_when_and_how_much(encryption, patients):
    versions = [one.version for one in encryption.keys.list() if one.id == "tenant/a"]
    versions.append(encryption.keys.rotate("tenant/a").version)
    receipt = encryption.keys.destroy(
        "tenant/a", confirm="tenant/a", specs=specs(patients), signed_off_by="Data Protection"
    )

    told = json.loads(json.dumps(receipt.to_json()))
    assert told["key_id"] == "tenant/a"
    assert sorted(told["versions"]) == sorted(versions)
    assert told["tables_counted"] == ["patient"]
    assert told["values_unreadable"] == 3
    assert told["columns"] == [{"table": "patient", "column": "ssn", "values": 3}]
    assert told["signed_off_by"] == "Data Protection"
    destroyed, cached = (
        dt.datetime.fromisoformat(told[name]) for name in ("destroyed_at", "cached_until")
    )
    assert cached - destroyed >= dt.timedelta(seconds=4200)
    tombstone = next(one for one in encryption.keys.list() if one.id == "tenant/a")
    assert tombstone.destroyed_at == receipt.destroyed_at


def test_a_receipt_says_that_nothing_was_counted(encryption, patients):
    told = encryption.keys.destroy("tenant/a", confirm="tenant/a", specs=None).to_json()
    assert told["tables_counted"] is told["values_unreadable"] is None


def test_a_key_is_destroyed_once_and_its_id_is_never_free_again(encryption, patients):
    encryption.keys.destroy("tenant/a", confirm="tenant/a", specs=None)

    for again in (
        lambda: encryption.keys.destroy("tenant/a", confirm="tenant/a", specs=None),
        lambda: encryption.keys.create("tenant/a"),
        lambda: encryption.keys.rotate("tenant/a"),
        lambda: engine_encryption(encryption).active_key("tenant/a"),
    ):
        with pytest.raises(KeyDestroyedError):
            again()


def test_there_must_be_such_a_key(encryption):
    with pytest.raises(KeyNotFoundError):
        encryption.keys.destroy("tenant/x", confirm="tenant/x", specs=None)


@pytest.mark.parametrize("sentinel", [Gone.FOREVER, None], ids=["sentinel", "none"])
def test_reads_give_what_the_application_chose_instead(
    backend: Backend, encryption, patients, wrapping_key, sentinel
):
    encryption.keys.destroy("tenant/a", confirm="tenant/a", specs=None)
    engine = backend.create_engine()
    attach(engine, SqlKeyStore(keyrings.local(wrapping_key)), destroyed=sentinel)

    assert read(engine, patients, "a") == 3 * [sentinel]
    assert read(engine, patients, "b") == ["b 3"]
    with engine.connect() as connection:
        row = connection.execute(select(patients).where(patients.c.id == 0)).one()
    assert (row.ssn, row.notes) == (sentinel, "n")


def test_a_sentinel_cannot_be_written_back(backend: Backend, encryption, patients, wrapping_key):
    engine = backend.create_engine()
    attach(engine, SqlKeyStore(keyrings.local(wrapping_key)), destroyed=Gone.FOREVER)
    with pytest.raises(ValueEncodingError), engine.begin() as connection:
        connection.execute(
            update(patients).where(patients.c.id == 3, patients.c.name == "b"),
            {"ssn": Gone.FOREVER, "name": "b"},
        )
    assert read(engine, patients, "b") == ["b 3"]


@pytest.mark.parametrize("value", ["", "gone", b"", 0, {}], ids=repr)
def test_what_could_be_a_value_is_no_sentinel(sqlite: Backend, value):
    store = SqlKeyStore(keyrings.local(bytes(32)))
    with pytest.raises(ConfigurationError, match="destroyed="):
        attach(sqlite.create_engine(), store, destroyed=value)


def test_a_ciphertext_moved_to_another_row_is_refused_and_no_sentinel(
    backend: Backend, encryption, patients, wrapping_key
):
    encryption.keys.destroy("tenant/a", confirm="tenant/a", specs=None)
    engine = backend.create_engine()
    with engine.begin() as connection:
        taken = connection.execute(text("SELECT ssn FROM patient WHERE id = 0")).scalar_one()
        connection.execute(text("UPDATE patient SET ssn = :ssn WHERE id = 1"), {"ssn": taken})
    attach(engine, SqlKeyStore(keyrings.local(wrapping_key)), destroyed=Gone.FOREVER)

    with pytest.raises(Exception, match="sealed for"):
        read(engine, patients, "a")
