"""A run's own connections, apart from the application's and its transactions.

One reads in autocommit; the other writes in short transactions.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import SingletonThreadPool, StaticPool

from encfields.arguments import kind
from encfields.databases import MYSQL_NAMES
from encfields.errors import ConfigurationError
from encfields.keys.sql.connection import (
    OwnConnection,
    at_level,
    engine_like,
    give_up,
    hand_on_listeners,
)


def sync_engine(engine: Any) -> Engine:
    """The plain engine that bulk work uses.

    :raises ConfigurationError: `engine` is an ``AsyncEngine``, or not an engine.
    """
    inner = getattr(engine, "sync_engine", engine)
    if isinstance(inner, Engine) and inner.dialect.is_async:
        raise ConfigurationError(
            "bulk work runs on a plain Engine: make one with create_engine() for the same "
            f"database (with a synchronous driver in place of {inner.dialect.driver}). It can use "
            "the AsyncEngine's Encryption",
            reason="async-engine",
        )
    if not isinstance(inner, Engine):
        raise ConfigurationError(f"bulk work takes an Engine, not {kind(engine)}", reason="engine")
    return inner


class Connections:
    """Connections to the database of `engine`, with its own connection arguments.

    :param engine: the application's. Its pool is used only for an in-memory database, which has no
        second connection.
    """

    def __init__(self, engine: Engine) -> None:
        self._shares = _has_one_connection(engine)
        # Without statement listeners: bulk work reads and writes ciphertext.
        self.engine = engine if self._shares else self._own(engine)
        self._application = engine
        self.dialect = engine.dialect
        self._driver_error: type[Exception] = engine.dialect.loaded_dbapi.Error
        self._isolation: str | None = None
        self._reads_binary = False
        self._reading: Connection | None = None
        self._writing: Connection | None = None

    @staticmethod
    def _own(engine: Engine) -> Engine:
        own = engine_like(engine)
        hand_on_listeners(engine, own, "engine_connect")
        return own

    @property
    def address(self) -> str | None:
        """Where the database is, for messages: host and port, or its file name."""
        url = self._application.url
        return (url.host and (f"{url.host}:{url.port}" if url.port else url.host)) or url.database

    @property
    def may_overlap(self) -> bool:
        """Whether one thread may read while another writes; on SQLite they block each other."""
        return not self._shares and self.dialect.name != "sqlite"

    def reading(self) -> Connection:
        """A connection that runs each statement in its own transaction.

        If the application listens to "begin", each call begins a transaction instead, since a ``SET
        LOCAL`` does nothing outside one. Not on SQLite, where it would hold a lock.
        """
        if self._shares:
            return self.writing()
        in_transactions = self._sets_up_transactions
        if self._reading is None:
            self._reading = (
                self._for_transactions()
                if in_transactions
                else at_level(self._connect(), "AUTOCOMMIT")
            )
            if self._reads_binary:
                _read_binary(self._reading)
        if in_transactions and self._reading.in_transaction():
            self._reading.rollback()
        return self._reading

    @property
    def _sets_up_transactions(self) -> bool:
        return self.dialect.name != "sqlite" and bool([*self._application.dispatch.begin])

    def read_binary(self) -> None:
        """Make psycopg read PostgreSQL's binary format, which needs no decoding of bytes.

        Only for ordinary types: values of types without a binary loader arrive as bytes.
        """
        if self.dialect.name == "postgresql" and self.dialect.driver == "psycopg":
            self._reads_binary = True
            if self._reading is not None:
                _read_binary(self._reading)

    def writing(self) -> Connection:
        """A connection whose transactions the caller begins and ends."""
        if self._writing is None:
            self._writing = self.engine.connect() if self._shares else self._for_transactions()
        if self._writing.in_transaction():
            self._writing.rollback()
        return self._writing

    def _for_transactions(self) -> Connection:
        """A new connection at the isolation level of a run's writes."""
        connection = self._connect()
        if level := self._write_isolation(connection):
            connection.rollback()
            connection = at_level(connection, level)
        hand_on_listeners(self._application, connection, "begin")
        return connection

    def _connect(self) -> Connection:
        connection = self.engine.connect()
        if connection.in_transaction():
            connection.commit()  # A listener began it; no level can be set inside.
        if self.dialect.name == "postgresql" and self.dialect.driver == "psycopg":
            _read_times(connection)
        return connection

    def _write_isolation(self, connection: Connection) -> str | None:
        name = self.dialect.name
        if name == "sqlite":
            return None
        if self._isolation is None:
            self._isolation = "READ COMMITTED"
            # MySQL's default level also locks gaps between rows, so the application's INSERTs would
            # wait. With statement-based logging the server accepts writes at no lower level.
            if name in MYSQL_NAMES and _logs_statements(connection):
                self._isolation = "REPEATABLE READ"
        return self._isolation

    def reset(self) -> None:
        """Discard both connections after one has failed."""
        for connection in (self._reading, self._writing):
            if connection is not None:
                give_up(connection)
        self._reading = self._writing = None

    def close(self) -> None:
        """Close both connections and, unless it is the application's, the pool."""
        for connection in (self._reading, self._writing):
            if connection is not None:
                with suppress(SQLAlchemyError, OSError, self._driver_error):
                    connection.close()
        self._reading = self._writing = None
        if not self._shares:
            self.engine.dispose()


def _read_times(connection: Connection) -> None:
    """Set the only DateStyle in which psycopg reads a timestamptz, such as those of a run's row."""
    driver_connection: Any = connection.connection.dbapi_connection
    if not (driver_connection.info.parameter_status("DateStyle") or "ISO").startswith("ISO"):
        connection.exec_driver_sql("SET datestyle = ISO")
        connection.commit()


def _read_binary(connection: Connection) -> None:
    import psycopg

    class BinaryCursor(psycopg.Cursor[Any]):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self.format = psycopg.pq.Format.BINARY

    driver_connection: Any = connection.connection.dbapi_connection
    driver_connection.cursor_factory = BinaryCursor


def _has_one_connection(engine: Engine) -> bool:
    return (
        isinstance(engine.pool, StaticPool | SingletonThreadPool)
        or OwnConnection(engine).is_private_memory
    )


def _logs_statements(connection: Connection) -> bool:
    row = connection.execute(text("SELECT @@log_bin, @@binlog_format")).one()
    return bool(row[0]) and str(row[1]).upper() == "STATEMENT"
