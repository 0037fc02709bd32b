"""How an adoption changes the schema: in one transaction, where the database has such of DDL.

A lock is not waited for long, because whoever comes after would wait as well: it is given up, and
asked for again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import DBAPIError

from encfields.bulk.connections import Connections
from encfields.databases import MYSQL_NAMES

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

LOCK_SECONDS = 2
"""For which a table's lock is waited for."""

TRIES = 15
"""How often it is asked for, with a pause in between."""


class SchemaTransactions:
    """Transactions that change the schema of one database.

    :param engine: of the database; connections of its own are made from it.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._name = "mysql" if engine.dialect.name in MYSQL_NAMES else engine.dialect.name

    def change(self, change: Callable[[Connection], None]) -> None:
        """Make a change.

        :param change: makes it, and may be called again after it was undone.
        """

        def attempt() -> None:
            with self._autocommitting() as connection:
                if self._name == "sqlite":
                    connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
                if self._name == "mysql":
                    change(connection)
                    return
                connection.exec_driver_sql("BEGIN" if self._name != "sqlite" else "BEGIN IMMEDIATE")
                try:
                    change(connection)
                except BaseException:
                    if not connection.invalidated:  # as it is where Ctrl-C has ended it
                        connection.exec_driver_sql("ROLLBACK")
                    raise
                connection.exec_driver_sql("COMMIT")

        self._patiently(attempt)

    def outside(self, sql: str) -> None:
        """Execute a statement that may not stand in a transaction, as ``CREATE INDEX
        CONCURRENTLY``."""
        with self._autocommitting() as connection:
            self._patiently(lambda: connection.exec_driver_sql(sql))

    def _patiently(self, attempt: Callable[[], Any]) -> None:
        """Try again where a lock was not granted."""
        for number in range(TRIES):
            try:
                attempt()
                return
            except DBAPIError as error:
                if number == TRIES - 1 or not _is_lock(error):
                    raise
            time.sleep(0.2 * (number + 1))

    @contextmanager
    def _autocommitting(self) -> Iterator[Connection]:
        with self.connection() as connection:
            connection = connection.execution_options(isolation_level="AUTOCOMMIT")
            if self._name == "postgresql":
                connection.exec_driver_sql(f"SET lock_timeout = '{LOCK_SECONDS}s'")
            if self._name == "mysql":
                connection.exec_driver_sql(f"SET SESSION lock_wait_timeout = {LOCK_SECONDS}")
            yield connection

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection to look with."""
        own = Connections(self._engine)
        try:
            with own.engine.connect() as connection:
                yield connection
        finally:
            own.close()


_LOCKED = ("lock timeout", "lock wait timeout", "database is locked", "database table is locked")


def _is_lock(error: DBAPIError) -> bool:
    text = str(error.orig).lower()
    return any(word in text for word in _LOCKED) or "canceling statement due to lock" in text
