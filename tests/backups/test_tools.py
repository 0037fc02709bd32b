"""Copies made by each database's own tools open under the same key store's name and keys."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import URL

from encfields.keyrings import Keyring
from tests.backups.clinic import ALL, is_usable, make, values
from tests.backups.tools import my, pg, psql, sqlite_shell
from tests.servers.backends import Backend

TABLES = ("encfields_keys", "patient")


@pytest.mark.parametrize(
    "options",
    [
        ("--format=plain",),
        ("--inserts",),
        ("--column-inserts", "--rows-per-insert=2"),
        ("--format=custom",),
    ],
    ids=lambda options: options[0],
)
def test_pg_dump(postgresql: Backend, postgresql_copy: URL, keyring: Keyring, options, tmp_path):
    make(postgresql.url, keyring)

    if "--format=custom" in options:
        dump = str(tmp_path / "dump")
        pg("pg_dump", postgresql.url, *options, "--file", dump)
        pg("pg_restore", postgresql_copy, "--exit-on-error", dump)
    else:
        psql(postgresql_copy, pg("pg_dump", postgresql.url, *options))

    assert is_usable(postgresql_copy, keyring)


def test_copy_binary(postgresql: Backend, postgresql_copy: URL, keyring: Keyring):
    make(postgresql.url, keyring)

    psql(postgresql_copy, pg("pg_dump", postgresql.url, "--schema-only"))
    for table in TABLES:
        copy = f"COPY {table} {{}} (FORMAT binary)"
        content = pg("psql", postgresql.url, "-qc", copy.format("TO STDOUT"))
        pg("psql", postgresql_copy, "-qc", copy.format("FROM STDIN"), stdin=content)

    assert is_usable(postgresql_copy, keyring)


@pytest.mark.parametrize("names", [("mariadb-dump",), ("mysqldump",)], ids=lambda names: names[0])
@pytest.mark.parametrize("options", [(), ("--hex-blob", "--skip-extended-insert")], ids=str)
def test_mariadb_dump(mariadb: Backend, mariadb_copy: URL, keyring: Keyring, names, options):
    make(mariadb.url, keyring)

    dump = my(names, mariadb.url, *options)
    my(("mariadb", "mysql"), mariadb_copy, stdin=dump)

    assert is_usable(mariadb_copy, keyring)


def by_copying(file: Path, copy: Path) -> None:
    shutil.copyfile(file, copy)


def by_vacuum_into(file: Path, copy: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("VACUUM INTO ?", [str(copy)])


def by_the_backup_api(file: Path, copy: Path) -> None:
    with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)


def by_pythons_dump(file: Path, copy: Path) -> None:
    with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(copy)) as target:
        target.executescript("\n".join(source.iterdump()))


def by_the_shells_dump(file: Path, copy: Path) -> None:
    sqlite_shell(copy, sqlite_shell(file, ".dump").decode())


@pytest.mark.parametrize(
    "way", [by_copying, by_vacuum_into, by_the_backup_api, by_pythons_dump, by_the_shells_dump]
)
def test_sqlite(sqlite: Backend, keyring: Keyring, tmp_path, way):
    make(sqlite.url, keyring)
    file, copy = Path(sqlite.url.database or ""), tmp_path / "renamed.sqlite"

    way(file, copy)

    assert is_usable(sqlite.url.set(database=str(copy)), keyring)
    assert values(sqlite.url, keyring) == ALL


def test_a_copy_of_sqlites_file_without_its_log_is_of_an_earlier_time(
    sqlite: Backend, keyring: Keyring, tmp_path
):
    """Under WAL the newest commits lie beside the file: keys and values are missing together."""
    make(sqlite.url, keyring)
    file, copy = Path(sqlite.url.database or ""), tmp_path / "copy.sqlite"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("DELETE FROM patient WHERE id = 1")
        connection.commit()
        shutil.copyfile(file, copy)

    assert values(sqlite.url.set(database=str(copy)), keyring) == ALL
