"""What a reader sees when a backup is put back in part, too old, or in another place."""

from __future__ import annotations

import pytest
from sqlalchemy import URL, Engine, MetaData, Table, create_engine, delete, insert, select, update

from encfields import SqlKeyStore, attach
from encfields.errors import (
    ConfigurationError,
    ContextMismatchError,
    KeyAccessError,
    KeyDestroyedError,
    KeyNotFoundError,
)
from encfields.keyrings import Keyring
from encfields.keys.sql.schema import key_table
from tests.backups.clinic import ALL, OLD, PATIENTS, make, opened, patients, values, write
from tests.backups.tools import my
from tests.servers.backends import Backend

KEYS = key_table()


@pytest.fixture
def plain(sqlite: Backend, keyring: Keyring) -> Engine:
    """The database of a clinic without encfields, as an administrator has it."""
    make(sqlite.url, keyring)
    return sqlite.create_engine()


def key_rows(engine: Engine) -> list[dict[str, object]]:
    """A backup of the key table."""
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(select(KEYS)).mappings()]


def put_back(engine: Engine, rows: list[dict[str, object]]) -> None:
    """The key table as a backup has it."""
    with engine.begin() as connection:
        connection.execute(delete(KEYS))
        connection.execute(insert(KEYS), rows)


def before_the_rotation(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """The rows that a backup of that time has."""
    return [row for row in rows if row["active"] != 2]


def read(engine: Engine, keyring: Keyring, row_id: int) -> str:
    with opened(engine.url, keyring) as (_, connection):
        return str(
            connection.execute(select(PATIENTS.c.ssn).where(PATIENTS.c.id == row_id)).scalar_one()
        )


# -- the data ----------------------------------------------------------------------------------


def test_one_table_alone_opens_where_it_came_from(plain: Engine, keyring: Keyring):
    stored = Table("patient", MetaData(), autoload_with=plain)
    with plain.begin() as connection:
        backup = [dict(row) for row in connection.execute(select(stored)).mappings()]
        connection.execute(delete(stored))
    with opened(plain.url, keyring) as (encryption, _):
        encryption.keys.rotate("default")  # a time later
    with plain.begin() as connection:
        connection.execute(insert(stored), backup)

    assert values(plain.url, keyring) == ALL


def test_a_table_put_back_under_another_name_is_refused_until_its_name_is_pinned(
    plain: Engine, keyring: Keyring
):
    with plain.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE patient RENAME TO patient_restored")

    with pytest.raises(ContextMismatchError, match=r"patient\.ssn"):
        values(plain.url, keyring, patients("patient_restored"))

    pinned = patients("patient_restored", logical_name="patient.ssn")
    assert values(plain.url, keyring, pinned) == ALL


def test_rows_put_back_under_other_keys_are_refused(plain: Engine, keyring: Keyring):
    with plain.begin() as connection:
        connection.exec_driver_sql("UPDATE patient SET id = id + 100 WHERE id = 1")

    with pytest.raises(ContextMismatchError):
        read(plain, keyring, 101)
    assert read(plain, keyring, 2) == OLD[2]


# -- the key table -----------------------------------------------------------------------------


def test_data_without_its_key_table_says_that_it_is_missing(plain: Engine, keyring: Keyring):
    rows = key_rows(plain)
    with plain.begin() as connection:
        connection.exec_driver_sql("DROP TABLE encfields_keys")
    with pytest.raises(ConfigurationError, match="is missing") as caught:
        values(plain.url, keyring)
    assert caught.value.reason == "no-key-table"

    with opened(plain.url, keyring) as (encryption, _):
        encryption.keys.create_table()
        encryption.keys.create("default")  # the mistake: another key of the same id
    with pytest.raises(KeyNotFoundError, match="restore it from a backup") as missing:
        values(plain.url, keyring)
    assert missing.value.reason == "no-version"

    put_back(plain, rows)
    assert values(plain.url, keyring) == ALL


def test_a_key_table_older_than_the_data_opens_what_is_as_old(plain: Engine, keyring: Keyring):
    rows = key_rows(plain)
    put_back(plain, before_the_rotation(rows))

    assert read(plain, keyring, 1) == OLD[1]
    with pytest.raises(KeyNotFoundError) as caught:
        read(plain, keyring, 3)
    assert caught.value.reason == "no-version"

    (lost,) = [row for row in rows if row["active"] == 2]
    with plain.begin() as connection:
        connection.execute(insert(KEYS), [lost])
    assert values(plain.url, keyring) == ALL


def test_the_lost_version_comes_back_below_the_newest_after_an_older_key_table_was_rotated(
    plain: Engine, keyring: Keyring
):
    """Two versions have the number 2 then, and a third one is the newest beyond doubt."""
    rows = key_rows(plain)
    put_back(plain, before_the_rotation(rows))
    (lost,) = [{**row, "active": None} for row in rows if row["active"] == 2]
    with opened(plain.url, keyring) as (encryption, connection):
        encryption.keys.rotate("default")
        write(connection.engine, {4: "under the other second version"})
        encryption.keys.rotate("default")

    with plain.begin() as connection:
        connection.execute(insert(KEYS), [lost])

    assert values(plain.url, keyring) == {**ALL, 4: "under the other second version"}
    with opened(plain.url, keyring) as (_, connection):
        write(connection.engine, {5: "under the third version"})
    assert read(plain, keyring, 5) == "under the third version"


def test_two_newest_versions_seal_nothing(plain: Engine, keyring: Keyring):
    rows = key_rows(plain)
    put_back(plain, before_the_rotation(rows))
    (lost,) = [{**row, "active": None} for row in rows if row["active"] == 2]
    with opened(plain.url, keyring) as (encryption, _):
        encryption.keys.rotate("default")
    with plain.begin() as connection:
        connection.execute(insert(KEYS), [lost])

    assert values(plain.url, keyring) == ALL
    with opened(plain.url, keyring) as (_, connection), pytest.raises(KeyAccessError, match="2"):
        write(connection.engine, {4: "under which?"})


def test_data_older_than_the_key_table_opens(plain: Engine, keyring: Keyring):
    with opened(plain.url, keyring) as (encryption, _):
        for _ in range(2):
            encryption.keys.rotate("default")

    assert values(plain.url, keyring) == ALL


def test_data_from_before_a_version_was_retired_wants_that_version_back(
    plain: Engine, keyring: Keyring
):
    rows = key_rows(plain)
    first = next(str(row["version"]) for row in rows if row["active"] == 1)
    with opened(plain.url, keyring) as (encryption, _):
        encryption._store.retire("default", first)
    with pytest.raises(KeyDestroyedError, match="from a backup") as caught:
        read(plain, keyring, 1)
    assert caught.value.reason == "retired"

    (kept,) = [row for row in rows if row["version"] == first]
    with plain.begin() as connection:
        connection.execute(update(KEYS).where(KEYS.c.version == first).values(kept))
    assert values(plain.url, keyring) == ALL


def test_an_old_key_table_brings_destroyed_keys_back_until_they_are_destroyed_again(
    plain: Engine, keyring: Keyring
):
    rows = key_rows(plain)
    with opened(plain.url, keyring) as (encryption, _):
        encryption.keys.each(["default"]).destroy(confirm=1, specs=None)
    with pytest.raises(KeyDestroyedError):
        values(plain.url, keyring)

    put_back(plain, rows)
    assert values(plain.url, keyring) == ALL
    with opened(plain.url, keyring) as (encryption, _):
        encryption.keys.each(["default"]).destroy(confirm=1, specs=None)
    with pytest.raises(KeyDestroyedError):
        values(plain.url, keyring)


def test_a_key_table_of_another_key_store_opens_nothing(plain: Engine, keyring: Keyring, tmp_path):
    """Staging's key table in production's database, under the same wrapping key."""
    other = create_engine(f"sqlite:///{tmp_path / 'staging.sqlite'}")
    encryption = attach(other, SqlKeyStore(keyring, name="staging"))
    encryption.keys.create_table()
    encryption.keys.create("default")
    put_back(plain, key_rows(other))

    with pytest.raises(KeyNotFoundError):
        values(plain.url, keyring)
    with opened(plain.url, keyring) as (encryption, connection), pytest.raises(KeyAccessError):
        write(connection.engine, {7: "under a key of staging"})


# -- another database's name -------------------------------------------------------------------


def test_a_schema_of_mariadb_is_a_database_whose_name_is_bound(
    mariadb: Backend, mariadb_copy: URL, keyring: Keyring
):
    """A table that is declared with a schema has it in its values' context."""
    name, copy = mariadb.url.database, mariadb_copy.database
    make(mariadb.url, keyring, patients(schema=name))
    my(("mariadb",), mariadb_copy, stdin=my(("mariadb-dump",), mariadb.url))

    with pytest.raises(ContextMismatchError, match=name):
        values(mariadb_copy, keyring, patients(schema=copy))
    pinned = patients(schema=copy, logical_name=f"{name}.patient.ssn")
    assert values(mariadb_copy, keyring, pinned) == ALL
