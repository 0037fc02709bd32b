"""PostgreSQL's logical replication, across a rotation: what a subscriber opens, and when."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import URL

from encfields.errors import KeyNotFoundError
from encfields.keyrings import Keyring
from tests.backups.clinic import ALL, NEW, OLD, PATIENTS, make, opened, values, write
from tests.backups.tools import pg, psql
from tests.servers import postgresql
from tests.waiting import until, until_raises

pytestmark = pytest.mark.skipif(
    not postgresql.installed(), reason="there are no binaries of PostgreSQL to start one from"
)


@pytest.fixture(scope="module")
def server() -> Iterator[URL]:
    """A PostgreSQL that logs what logical replication wants to know."""
    binaries = postgresql.installed()
    assert binaries is not None
    private = postgresql.PrivateServer(binaries, settings=("wal_level=logical",))
    yield private.url.set(drivername="postgresql+psycopg")
    private.stop()


@pytest.fixture
def databases(server: URL, request: pytest.FixtureRequest) -> tuple[URL, URL]:
    """A publisher and a subscriber, which has the tables and nothing in them yet."""
    names = [f"{request.function.__name__[:40]}_{one}" for one in ("from", "to")]
    for name in names:
        psql(server, f'CREATE DATABASE "{name}"'.encode())
    publisher, subscriber = (server.set(database=name) for name in names)
    return publisher, subscriber


def publish(publisher: URL, subscriber: URL, *tables: str) -> None:
    """Have tables follow those of the publisher, what is in them already first."""
    slot = f"s_{publisher.database}"
    psql(
        publisher,
        f"CREATE PUBLICATION p_{tables[0]} FOR TABLE {', '.join(tables)};"
        f"SELECT pg_create_logical_replication_slot('{slot}_{tables[0]}', 'pgoutput');".encode(),
    )
    place = f"host={publisher.host} port={publisher.port} dbname={publisher.database} user=postgres"
    psql(
        subscriber,
        f"CREATE SUBSCRIPTION {slot}_{tables[0]} CONNECTION '{place}' PUBLICATION p_{tables[0]} "
        f"WITH (create_slot = false, slot_name = '{slot}_{tables[0]}')".encode(),
    )


def opens_all(subscriber: URL, keyring: Keyring) -> bool:
    """Whether all is there: each table is copied by itself, and the keys may come last."""
    try:
        return values(subscriber, keyring) == ALL
    except KeyNotFoundError:
        return False


def test_a_subscriber_of_both_tables_opens_what_is_written_before_and_after_a_rotation(
    databases: tuple[URL, URL], keyring: Keyring
):
    publisher, subscriber = databases
    make(publisher, keyring)
    psql(subscriber, pg("pg_dump", publisher, "--schema-only"))
    publish(publisher, subscriber, "encfields_keys", "patient")
    until(lambda: opens_all(subscriber, keyring), "the first copy")

    with opened(publisher, keyring) as (encryption, connection):
        encryption.keys.rotate("default")
        write(connection.engine, {4: "after a rotation more"})
    with opened(subscriber, keyring) as (_, connection):
        # One process, from before the row came on.
        query = PATIENTS.select().where(PATIENTS.c.id == 4)

        def has_come() -> bool:
            connection.rollback()
            row = connection.execute(query).first()
            return row is not None and row.ssn == "after a rotation more"

        until(has_come, "the value under the new version")


def test_a_subscriber_of_only_the_data_lacks_each_new_version_until_it_arrives(
    databases: tuple[URL, URL], keyring: Keyring
):
    publisher, subscriber = databases
    with opened(publisher, keyring) as (encryption, connection):
        encryption.keys.create_table()
        encryption.keys.create("default")
        PATIENTS.create(connection.engine)
        write(connection.engine, OLD)
        psql(subscriber, pg("pg_dump", publisher, "--schema-only"))
        keys = pg("pg_dump", publisher, "--data-only", "--table=encfields_keys")
        psql(subscriber, keys)  # once, as a backup
        publish(publisher, subscriber, "patient")
        until(lambda: values(subscriber, keyring) == OLD, "the first copy")
        encryption.keys.rotate("default")
        write(connection.engine, NEW)

    error = until_raises(KeyNotFoundError, lambda: values(subscriber, keyring))
    assert error.reason == "no-version"

    psql(subscriber, b"TRUNCATE encfields_keys")
    publish(publisher, subscriber, "encfields_keys")

    until(lambda: opens_all(subscriber, keyring), "the keys")
