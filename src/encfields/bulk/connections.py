"""The run's own connections: never the application's, never in its transaction.

One reads, in autocommit; one writes, in short transactions.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.pool import SingletonThreadPool, StaticPool

from encfields.arguments import kind
from encfields.databases import MYSQL_NAMES
from encfields.errors import ConfigurationError
from encfields.keys.sql.connection import OwnConnection, hand_on_listeners


def sync_engine(engine: Any) -> Engine:
    """`engine`, if bulk work can use it.

    :raises ConfigurationError: it is an ``AsyncEngine``, or no engine.
    """
    inner = getattr(engine, "sync_engine", engine)
    if isinstance(inner, Engine) and inner.dialect.is_async:
        raise ConfigurationError(
            "bulk work runs on a plain Engine: make one with create_engine() for the same "
            f"database (a driver that is not asyncio's, in place of {inner.dialect.driver}). The "
            "AsyncEngine's Encryption serves it as it is",
            reason="async-engine",
        )
    if not isinstance(inner, Engine):
        raise ConfigurationError(f"bulk work takes an Engine, not {kind(engine)}", reason="engine")
    return inner


class Connections:
    """Connections to the database of `engine`, with its own connection arguments.

    :param engine: the application's. Its pool is not used, except that of a database in memory,
        which has no second connection.
    """

    def __init__(self, engine: Engine) -> None:
        self._shares = _has_one_connection(engine)
        # Without the listeners to statements: what is read and written here is ciphertext.
        self.engine = engine if self._shares else _engine_like(engine)
        self._application = engine
        self.dialect = engine.dialect
        self._driver_error: type[Exception] = engine.dialect.loaded_dbapi.Error
        self._isolation: str | None = None
        self._reads_binary = False
        self._reading: Connection | None = None
        self._writing: Connection | None = None

    @property
    def address(self) -> str | None:
        """Where the database is, for people: host and port, or the name of its file."""
        url = self._application.url
        return (url.host and (f"{url.host}:{url.port}" if url.port else url.host)) or url.database

    @property
    def may_overlap(self) -> bool:
        """Whether one thread may read while another writes; SQLite lets either wait at best."""
        return not self._shares and self.dialect.name != "sqlite"

    def reading(self) -> Connection:
        """A connection whose every statement is a transaction of its own.

        Where the application sets up its transactions, each call begins one of its kind instead:
        its ``SET LOCAL`` does nothing outside one. Except on SQLite, where it would hold a lock.
        """
        if self._shares:
            return self.writing()
        in_transactions = self._sets_up_transactions
        if self._reading is None:
            self._reading = (
                self._for_transactions()
                if in_transactions
                else self._at_level(self._connect(), "AUTOCOMMIT")
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
        """Have psycopg read in PostgreSQL's binary format, which takes bytes as they are.

        For values of ordinary types only: what it has no binary form of comes as bytes then.
        """
        if self.dialect.name == "postgresql" and self.dialect.driver == "psycopg":
            self._reads_binary = True
            if self._reading is not None:
                _read_binary(self._reading)

    def writing(self) -> Connection:
        """A connection for transactions that are begun and ended by whoever uses it."""
        if self._writing is None:
            self._writing = self.engine.connect() if self._shares else self._for_transactions()
        if self._writing.in_transaction():
            self._writing.rollback()
        return self._writing

    def _for_transactions(self) -> Connection:
        """A new connection, with the isolation level of a run's transactions."""
        connection = self._connect()
        if level := self._write_isolation(connection):
            connection.rollback()
            connection = self._at_level(connection, level)
        hand_on_listeners(self._application, connection, "begin")
        return connection

    def _connect(self) -> Connection:
        connection = self.engine.connect()
        if connection.in_transaction():
            connection.commit()  # What a listener has set up, in which no level can be set.
        return connection

    def _at_level(self, connection: Connection, level: str) -> Connection:
        try:
            return connection.execution_options(isolation_level=level)
        except self._driver_error as error:
            # The one statement whose errors SQLAlchemy passes on as the driver's own.
            failure = OperationalError("SET TRANSACTION ISOLATION LEVEL", None, error)
        self._give_up(connection)
        raise failure

    def _write_isolation(self, connection: Connection) -> str | None:
        name = self.dialect.name
        if name == "sqlite":
            return None
        if self._isolation is None:
            self._isolation = "READ COMMITTED"
            # There, MySQL would lock the gaps between rows as well, hence the application's
            # INSERTs; but with a log of statements it writes under no lower level.
            if name in MYSQL_NAMES and _logs_statements(connection):
                self._isolation = "REPEATABLE READ"
        return self._isolation

    def reset(self) -> None:
        """Give both connections up, after one has failed."""
        for connection in (self._reading, self._writing):
            if connection is not None:
                self._give_up(connection)
        self._reading = self._writing = None

    def _give_up(self, connection: Connection) -> None:
        for end in (connection.invalidate, connection.close):
            with suppress(SQLAlchemyError, OSError, self._driver_error):
                end()

    def close(self) -> None:
        """End both connections and, unless it is the application's, the pool."""
        for connection in (self._reading, self._writing):
            if connection is not None:
                with suppress(SQLAlchemyError, OSError, self._driver_error):
                    connection.close()
        self._reading = self._writing = None
        if not self._shares:
            self.engine.dispose()


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


def _engine_like(engine: Engine) -> Engine:
    options = engine.get_execution_options()
    kept = {name: options[name] for name in ("schema_translate_map",) if name in options}
    # recreate() keeps the creator and the pool's listeners, and makes no connection yet.
    own = Engine(
        engine.pool.recreate(),
        engine.dialect,
        engine.url,
        execution_options=kept,
        hide_parameters=True,
    )
    hand_on_listeners(engine, own, "engine_connect")
    return own


def _logs_statements(connection: Connection) -> bool:
    row = connection.execute(text("SELECT @@log_bin, @@binlog_format")).one()
    return bool(row[0]) and str(row[1]).upper() == "STATEMENT"
