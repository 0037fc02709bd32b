"""Transactions that change a table's columns and triggers, beside its application and other hosts.

Waits for locks are short, since later statements would queue behind them; then it tries again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from sqlalchemy.exc import DBAPIError

from encfields.adopt.adoption import AdoptionError
from encfields.bulk.connections import Connections
from encfields.bulk.error_codes import MISSING, THERE_ALREADY, Code, code_of
from encfields.databases import MYSQL_NAMES
from encfields.keys.sql.connection import at_level, connected

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

_P = ParamSpec("_P")
_R = TypeVar("_R")


class TableInUseError(AdoptionError):
    """Another process is at work on the table; trying again later can help."""


LOCK_SECONDS = 2
"""Longest wait for a table's lock."""

TRIES = 15
"""Attempts to get it, with a pause in between."""


class SchemaTransactions:
    """Transactions that change the schema of one database.

    :param engine: of the database, for separate connections.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._name = "mysql" if engine.dialect.name in MYSQL_NAMES else engine.dialect.name

    def change(self, change: Callable[[Connection], None]) -> None:
        """Make a change.

        :param change: makes it; may be called again after a rollback.
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
                    if not connection.invalidated:  # Ctrl-C invalidates it
                        connection.exec_driver_sql("ROLLBACK")
                    raise
                connection.exec_driver_sql("COMMIT")

        self._patiently(attempt)

    def outside(self, change: Callable[[Connection], None]) -> None:
        """Make a change outside transactions, such as ``CREATE INDEX CONCURRENTLY``.

        :param change: makes it; may be called again after a failure.
        """
        with self._autocommitting() as connection:
            self._patiently(lambda: change(connection))

    def _patiently(self, attempt: Callable[[], Any]) -> None:
        """Retry if a lock was not granted."""
        for number in range(TRIES):
            try:
                attempt()
                return
            except TableInUseError:
                if number == TRIES - 1:
                    raise
            except DBAPIError as error:
                if number == TRIES - 1 or not _is_lock(error):
                    raise
            time.sleep(0.2 * (number + 1))

    @contextmanager
    def _autocommitting(self) -> Iterator[Connection]:
        """A connection that waits for locks only briefly."""
        with self.connection() as connection:
            connection = at_level(connection, "AUTOCOMMIT")
            if self._name == "postgresql":
                connection.exec_driver_sql(f"SET lock_timeout = '{LOCK_SECONDS}s'")
            if self._name == "mysql":
                connection.exec_driver_sql(f"SET SESSION lock_wait_timeout = {LOCK_SECONDS}")
            yield connection

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection of its own."""
        own = Connections(self._engine)
        try:
            with connected(own.engine) as connection:
                yield connection
        finally:
            own.close()


_LOCKED = ("lock timeout", "lock wait timeout", "database is locked", "database table is locked")


def _is_lock(error: DBAPIError) -> bool:
    text = str(error.orig).lower()
    return any(word in text for word in _LOCKED) or "canceling statement due to lock" in text


_OF_ANOTHER_HOST: frozenset[Code] = (
    MISSING
    | THERE_ALREADY
    # what is to be dropped is gone; a trigger is there, or gone
    | {1091, 1359, 1360}
    # an object that is gone, or there; two entries in the catalog, "tuple concurrently updated"
    | {"42704", "42710", "23505", "XX000"}
    # deadlocks
    | {1213, "40P01"}
)
"""What a statement meets if another host has just made or dropped the same."""

_ATTEMPTS = 4
"""How often a step is taken before what it meets is raised."""


def done_again_beside_another_host(step: Callable[_P, _R]) -> Callable[_P, _R]:
    """Decorator of a step that may be repeated: if another host takes it at the same time, what
    either finds can have changed when it comes to change it. Then the step begins anew."""

    @wraps(step)
    def repeated(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        for number in range(1, _ATTEMPTS):
            try:
                return step(*args, **kwargs)
            except DBAPIError as error:
                is_missing = str(error.orig).startswith("no such")  # SQLite, which has no code
                if not is_missing and code_of(error.orig) not in _OF_ANOTHER_HOST:
                    raise
            time.sleep(0.2 * number)
        return step(*args, **kwargs)

    return repeated
