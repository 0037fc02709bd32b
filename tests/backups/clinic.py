"""A database that is copied: a key that was rotated, and values under both of its versions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import (
    URL,
    Column,
    Connection,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    insert,
    select,
)

from encfields import BlindIndex, EncryptedType, Encryption, SqlKeyStore, attach
from encfields.keyrings import Keyring

STORE = "clinic"
OLD = {1: "under the first version", 2: "ä'\\\0\n\x1a\t%s,;"}
NEW = {3: "under the second version"}
ALL = {**OLD, **NEW}


def patients(
    name: str = "patient", *, schema: str | None = None, logical_name: str | None = None
) -> Table:
    """The table, as an application declares it."""
    return Table(
        name,
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("ssn", EncryptedType(String, name=logical_name, index=BlindIndex())),
        schema=schema,
    )


PATIENTS = patients()


@contextmanager
def opened(url: URL, keyring: Keyring) -> Iterator[tuple[Encryption, Connection]]:
    """A new process's way into a database: nothing in memory."""
    engine = create_engine(url)
    encryption = attach(engine, SqlKeyStore(keyring, name=STORE), cache_check=0.01)
    try:
        with engine.connect() as connection:
            yield encryption, connection
    finally:
        encryption.detach()
        engine.dispose()


def write(engine: Engine, values: dict[int, str], table: Table = PATIENTS) -> None:
    """Insert rows; the engine is attached."""
    with engine.begin() as connection:
        connection.execute(insert(table), [{"id": i, "ssn": text} for i, text in values.items()])


def make(url: URL, keyring: Keyring, table: Table = PATIENTS) -> None:
    """Tables, a key that is rotated once, and values under both versions."""
    with opened(url, keyring) as (encryption, connection):
        encryption.keys.create_table()
        encryption.keys.create("default")
        table.create(connection.engine)
        write(connection.engine, OLD, table)
        encryption.keys.rotate("default")
        write(connection.engine, NEW, table)


def values(url: URL, keyring: Keyring, table: Table = PATIENTS) -> dict[int, str]:
    """What a reader sees: each value opened where it is."""
    with opened(url, keyring) as (_, connection):
        found = connection.execute(select(table.c.id, table.c.ssn)).all()
        return {row.id: row.ssn for row in found}


def is_usable(url: URL, keyring: Keyring) -> bool:
    """Whether values open, are found by their blind index, and new ones are written and read."""
    if values(url, keyring) != ALL:
        return False
    with opened(url, keyring) as (encryption, connection):
        by_value = select(PATIENTS.c.id).where(PATIENTS.c.ssn == OLD[2])
        found = connection.execute(by_value).scalar_one()
        connection.rollback()
        encryption.keys.rotate("default")
        write(connection.engine, {9: "written in the copy"})
    return found == 2 and values(url, keyring) == {**ALL, 9: "written in the copy"}
