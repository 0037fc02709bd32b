"""A change of the key table in one transaction, whatever the engine is set to."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

TableChange = Callable[[Connection], None]


def change_as_one(connection: Connection, change: TableChange) -> None:
    """Keep all of a change or nothing, even if the engine is set to AUTOCOMMIT."""
    name = connection.dialect.name
    if name == "sqlite":
        # A savepoint opens a transaction where there is none and nests in one where there is.
        with connection.begin():
            _change_in_savepoint(connection, change)
        return
    # Not READ COMMITTED on MariaDB: a server with statement-based replication refuses it.
    level = "REPEATABLE READ" if name in ("mysql", "mariadb") else "READ COMMITTED"
    connection.execution_options(isolation_level=level)
    with connection.begin():
        change(connection)


def _change_in_savepoint(connection: Connection, change: TableChange) -> None:
    connection.exec_driver_sql("SAVEPOINT encfields_keys")
    try:
        change(connection)
    except BaseException:
        # SQLite has ended the transaction by itself if the disk is full, for instance.
        with suppress(DBAPIError):
            connection.exec_driver_sql("ROLLBACK TO encfields_keys")
            connection.exec_driver_sql("RELEASE encfields_keys")
        raise
    connection.exec_driver_sql("RELEASE encfields_keys")
