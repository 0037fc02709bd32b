"""Rows of the key table, written by somebody else: copied, swapped, rolled back, malformed."""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, delete, insert, select, update
from sqlalchemy.exc import DBAPIError

from encfields import SqlKeyStore, keyrings
from encfields.errors import (
    ConfigurationError,
    KeyAccessError,
    KeyDestroyedError,
    KeyNotFoundError,
)
from encfields.keys.sql.rows import BEACON, BRANCH
from tests.servers.backends import Backend
from tests.turns import databases_by_turns, on_each_database

pytestmark = databases_by_turns

WRAPPING_KEY = secrets.token_bytes(32)


def a_store(backend: Backend, table_name: str = "encfields_keys", **options: Any) -> SqlKeyStore:
    """A new process's view of the key table."""
    keyring = keyrings.local(WRAPPING_KEY)
    return SqlKeyStore(keyring, engine=backend.create_engine(), table_name=table_name, **options)


_rows: dict[tuple[str, str], list[Any]] = {}
"""By database and key table, what the library made there for the first test: every one gets it."""


def filled(backend: Backend, store: SqlKeyStore, make_keys: Callable[[], object]) -> SqlKeyStore:
    """A key store with its table and keys, and who knows its own name."""
    place = backend.name, store.table.name
    engine = backend.create_engine()
    if place in _rows:
        with engine.begin() as connection:
            store.table.create(connection)
            connection.execute(insert(store.table), _rows[place])
    else:
        store.create_table()
        make_keys()
        with engine.connect() as connection:
            found = connection.execute(select(store.table)).mappings()
            _rows[place] = [dict(row) for row in found]
    assert store.name
    return store


@pytest.fixture
def store(backend: Backend) -> SqlKeyStore:
    """Production's: ``default`` with two versions and two beacon keys, ``other`` with one."""
    made = a_store(backend)

    def make_keys() -> None:
        made.create("default")
        made.rotate("default")
        made.rotate_beacon("default")
        made.create("other")

    return filled(backend, made, make_keys)


@pytest.fixture
def staging(backend: Backend) -> SqlKeyStore:
    """Another key store under the same wrapping key."""
    made = a_store(backend, "staging_keys")
    return filled(backend, made, lambda: made.create("default"))


def change(attacker: Engine, store: SqlKeyStore, row: Any, **values: Any) -> None:
    """Overwrite columns of one row."""
    here = update(store.table).where(store.table.c.version == row.version)
    with attacker.begin() as connection:
        connection.execute(here.values(**values))


def copy_row(attacker: Engine, source: SqlKeyStore, target: SqlKeyStore, row: Any) -> None:
    """Insert another store's row, byte for byte."""
    with attacker.begin() as connection:
        of_row = select(source.table).where(source.table.c.version == row.version)
        found = dict(connection.execute(of_row).mappings().one())
        connection.execute(insert(target.table), [found])


def newest(store: SqlKeyStore, purpose: Any = BRANCH, key_id: str = "default") -> Any:
    return max(store._table.rows_of(key_id, purpose), key=lambda row: row.number)


def oldest(store: SqlKeyStore, purpose: Any = BRANCH) -> Any:
    return min(store._table.rows_of("default", purpose), key=lambda row: row.number)


def test_a_row_of_another_key_store_seals_and_opens_nothing(backend, store, staging, attacker):
    foreign = newest(staging)
    with attacker.begin() as connection:
        gone = delete(store.table).where(store.table.c.key_id == "default")
        connection.execute(gone.where(store.table.c.purpose == BRANCH))
    copy_row(attacker, staging, store, foreign)

    fresh = a_store(backend)
    for call in (
        lambda: fresh.active("default"),
        lambda: fresh.version("default", foreign.version),
        lambda: fresh.rotate("default"),
    ):
        with pytest.raises(KeyAccessError) as caught:
            call()
        assert caught.value.reason == "other-key-store"
        assert foreign.version in str(caught.value)


def test_a_row_of_another_key_store_beside_ours_is_refused_and_not_chosen(
    backend, store, staging, attacker
):
    change(attacker, store, oldest(store), active=None)
    copy_row(attacker, staging, store, newest(staging))

    with pytest.raises(KeyAccessError) as caught:
        a_store(backend).active("default")
    assert caught.value.reason == "other-key-store"


def test_the_other_stores_name_in_the_table_opens_nothing_of_ours(
    backend, store, staging, attacker
):
    with attacker.begin() as connection:
        its_name = staging.name.encode()
        is_name = store.table.c.purpose == "key-store"
        connection.execute(update(store.table).where(is_name).values(wrapped=its_name))

    with pytest.raises(KeyAccessError):
        a_store(backend).active("default")
    # Who was told its name by its configuration opens its keys, and makes no others.
    pinned = a_store(backend, name=store.name)
    assert pinned.active("default").material == store.active("default").material
    with pytest.raises(ConfigurationError) as caught:
        pinned.create("new")
    assert caught.value.reason == "store-name"


def test_without_the_row_of_its_name_no_key_opens_and_none_is_made_under_another(
    backend, store, attacker
):
    with attacker.begin() as connection:
        connection.execute(delete(store.table).where(store.table.c.purpose == "key-store"))

    for call in (SqlKeyStore.active, SqlKeyStore.create):
        with pytest.raises(ConfigurationError) as caught:
            call(a_store(backend), "default" if call is SqlKeyStore.active else "new")
        assert caught.value.reason == "no-store-name"
    assert a_store(backend, name=store.name).active("default").number == 2


def test_no_column_makes_an_older_version_the_active_one(backend, store, attacker):
    new, old = newest(store), oldest(store)
    change(attacker, store, new, active=None)
    change(attacker, store, old, active=1_000)

    assert a_store(backend).active("default").version == new.version
    assert [one.active for one in a_store(backend).list() if one.version == new.version] == [True]


def test_no_column_swaps_the_beacon_keys(backend, store, attacker):
    before = [one.material for one in store.beacons("default")]
    first, second = store._table.rows_of("default", BEACON)
    change(attacker, store, first, active=9)
    change(attacker, store, second, active=first.active)
    change(attacker, store, first, active=second.active)

    assert [one.material for one in a_store(backend).beacons("default")] == before


@pytest.mark.parametrize("purpose", [BRANCH, BEACON])
def test_a_wrapped_key_put_in_another_versions_place_is_refused(backend, store, attacker, purpose):
    new, old = newest(store, purpose), oldest(store, purpose)
    change(attacker, store, new, wrapped=old.wrapped)

    read: Callable[[str], Any] = a_store(backend).active
    if purpose == BEACON:
        read = a_store(backend).beacons
    with pytest.raises(KeyAccessError) as caught:
        read("default")
    assert caught.value.reason == "tampered"
    assert new.version in str(caught.value)
    assert "version" in str(caught.value)


def test_a_number_altered_in_the_wrapped_key_itself_opens_nothing(backend, store, attacker):
    old = oldest(store)
    forged = old.wrapped.replace(b"enc:key-number\x00\x011", b"enc:key-number\x00\x019")
    assert forged != old.wrapped
    change(attacker, store, old, wrapped=forged)

    for call in (a_store(backend).active, a_store(backend).rotate):
        with pytest.raises(KeyAccessError):
            call("default")


def test_a_process_goes_back_to_no_older_version_than_it_has_seen(backend, store, attacker):
    running, new = a_store(backend), newest(store)
    running.active("default")
    with attacker.begin() as connection:
        connection.execute(delete(store.table).where(store.table.c.version == new.version))

    with pytest.raises(KeyAccessError) as caught:
        running.active("default")
    assert caught.value.reason == "rolled-back"


def test_two_genuine_rows_of_one_number_are_refused(backend, store, attacker):
    new, wrapped = newest(store), newest(store).wrapped
    with attacker.begin() as connection:
        connection.execute(delete(store.table).where(store.table.c.version == new.version))
    a_store(backend).rotate("default")
    with attacker.begin() as connection:
        row = {"key_id": "default", "version": new.version, "purpose": BRANCH, "wrapped": wrapped}
        connection.execute(insert(store.table), [{**row, "created_at": dt.datetime.now(dt.UTC)}])

    with pytest.raises(KeyAccessError, match="number 2"):
        a_store(backend).active("default")


MALFORMED: dict[str, list[Any]] = {
    "wrapped": [b"", b"\x02", b"no message", b"\x02\x04\x78" + bytes(60), bytes(40_000)],
    "version": ["", "NOT-A-UUID", "00000000-0000-0000-0000-00000000000G"],
}


@pytest.mark.parametrize(
    "field, value",
    [(field, value) for field, values in MALFORMED.items() for value in values],
    ids=lambda value: str(value)[:12],
)
def test_a_malformed_row_is_named_and_stops_its_own_key_alone(
    backend, store, attacker, field, value
):
    change(attacker, store, newest(store), **{field: value})
    fresh = a_store(backend)

    for call in (fresh.active, fresh.rotate):
        with pytest.raises(KeyAccessError, match=f"malformed: {field}"):
            call("default")
    assert fresh.active("other").number == 1
    faults = {one.id: one.fault for one in fresh.list() if one.fault}
    assert list(faults) == ["default"]
    assert faults["default"].startswith(field)


@on_each_database
@pytest.mark.parametrize("field", ["created_at", "destroyed_at"])
@pytest.mark.parametrize(
    "database, value",
    [
        ("sqlite", "'the other day'"),
        ("sqlite", "X'00ff'"),
        ("sqlite", "'99999-01-01'"),
        ("postgresql", "'infinity'"),
        ("postgresql", "'20000-01-01'"),
    ],
)
def test_a_time_that_is_none_stops_its_own_key_alone(
    backend, store, attacker, field, database, value
):
    if backend.name != database:
        pytest.skip("another database's")
    version = newest(store).version
    with attacker.begin() as connection:
        connection.exec_driver_sql(
            f"UPDATE encfields_keys SET {field} = {value} WHERE version = '{version}'"
        )
    fresh = a_store(backend)

    assert fresh.active("other").number == 1
    assert {one.key_version.id for one in fresh.wrapped_many(None)} == {"default", "other"}
    with pytest.raises((KeyAccessError, KeyDestroyedError)):
        fresh.version("default", version)


def test_a_forged_tombstone_ends_in_an_error_and_never_in_plaintext(backend, store, attacker):
    new = newest(store)
    change(attacker, store, new, wrapped=None, active=None, destroyed_at=dt.datetime.now(dt.UTC))

    with pytest.raises(KeyDestroyedError) as caught:
        a_store(backend).version("default", new.version)
    assert caught.value.reason == "retired"


def test_a_deleted_tombstone_ends_in_an_error_and_never_in_plaintext(backend, store, attacker):
    version = newest(store).version
    store.destroy("default")
    with attacker.begin() as connection:
        connection.execute(delete(store.table).where(store.table.c.key_id == "default"))

    with pytest.raises(KeyNotFoundError):
        a_store(backend).version("default", version)


def put_back(attacker: Engine, store: SqlKeyStore, rows: list[Any]) -> None:
    for row in rows:
        values = {"wrapped": row.wrapped, "active": row.active, "destroyed_at": None}
        change(attacker, store, row, **values)


def all_rows(store: SqlKeyStore) -> list[Any]:
    return [row for purpose in (BRANCH, BEACON) for row in store._table.rows_of("default", purpose)]


@pytest.mark.parametrize("saw", ["destroyed", "active", "version", "beacons"])
def test_a_process_that_has_seen_a_key_destroyed_uses_it_no_more(backend, store, attacker, saw):
    rows, version = all_rows(store), newest(store).version
    uses = {
        "active": lambda of: of.active("default"),
        "version": lambda of: of.version("default", version),
        "beacons": lambda of: of.beacons("default"),
    }
    running = store if saw == "destroyed" else a_store(backend)
    store.destroy("default")
    if saw != "destroyed":
        with pytest.raises(KeyDestroyedError):
            uses[saw](running)
    put_back(attacker, store, rows)

    uses[saw if saw in uses else "active"](a_store(backend))  # a new process cannot know
    for name in uses if saw == "destroyed" else [saw]:
        with pytest.raises(KeyDestroyedError) as caught:
            uses[name](running)
        assert caught.value.reason == "put-back"


def test_a_key_whose_destruction_was_undone_is_used_again(backend, store):
    running = a_store(backend)
    store.refuse("default")
    with pytest.raises(KeyDestroyedError):
        running.active("default")
    store.readmit("default")

    assert running.active("default").version == newest(store).version


def test_a_retired_version_whose_row_is_restored_opens_again(backend, store, attacker):
    old = oldest(store)
    store.retire("default", old.version)
    running = a_store(backend)
    with pytest.raises(KeyDestroyedError):
        running.version("default", old.version)
    put_back(attacker, store, [old])

    assert running.version("default", old.version).version == old.version


@on_each_database
def test_a_second_row_of_a_number_is_refused_by_the_database(store, attacker):
    """What keeps two processes that rotate at once from making the same version."""
    new = newest(store)
    row = {"key_id": "default", "version": "x", "purpose": BRANCH, "active": new.active}
    with attacker.connect() as connection, pytest.raises(DBAPIError):
        connection.execute(insert(store.table), [{**row, "created_at": dt.datetime.now(dt.UTC)}])
