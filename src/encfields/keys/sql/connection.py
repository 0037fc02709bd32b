"""Connections for key reads and writes, separate from the application's.

Keys are never read inside the application's transaction: a rollback would remove a new key, a
failed read would abort the transaction on PostgreSQL, and waiting for a second connection from a
pool of one would never end. So connections are opened with the application's own arguments (URL,
``connect_args``, ``creator``, ``do_connect`` and pool events), outside its pool. They are closed
again, but for one on MariaDB and MySQL (:mod:`encfields.keys.sql.kept_connection`).

An in-memory SQLite database, and any pool with only one connection (``StaticPool``,
``SingletonThreadPool``), cannot have a second one. There the application's connection is borrowed,
and neither committed, rolled back nor closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.pool import NullPool, Pool, SingletonThreadPool, StaticPool
from sqlalchemy.util import LRUCache, await_only, greenlet_spawn
from sqlalchemy.util.concurrency import in_greenlet

from encfields.databases import MYSQL_NAMES
from encfields.errors import ConfigurationError
from encfields.kept_state import OWN_STATEMENTS
from encfields.keys.fetching.loop_runner import needs_prefetch, on_event_loop
from encfields.keys.fetching.threads import fetch_threads
from encfields.keys.sql.altered_bytes import ASYNCMY, refuse_altered_bytes
from encfields.keys.sql.event_loops import belongs_to_another_loop, refuse_another_loops
from encfields.keys.sql.kept_connection import KeptConnection, Likeness, kept_connection

T = TypeVar("T")
EngineWork = Callable[[Engine], T]
"""Uses an engine in any way; the engine is gone when it returns."""


def hand_on_listeners(engine: Engine, own: Engine | Connection, name: str) -> None:
    """Add the listeners of the application's engine to another engine or connection.

    :param name: ``"engine_connect"`` or ``"begin"``, in which applications set a role, a schema or
        a session variable; without these, a different table of the same name may be used.
    """
    own_listeners = [*getattr(own.dispatch, name)]
    for listener in getattr(engine.dispatch, name):
        if listener not in own_listeners:  # Listeners on all engines are already there.
            event.listen(own, name, listener)


def engine_like(engine: Engine, pool: Pool | None = None) -> Engine:
    """A new engine for the same database, without listeners on its statements.

    :param engine: the application's.
    :param pool: of its connections; otherwise a new pool like the application's, with its creator
        and its listeners. Nothing is connected yet.
    """
    options = engine.get_execution_options()
    kept = {name: options[name] for name in ("schema_translate_map",) if name in options}
    # An engine that is made for one piece of work would begin with nothing compiled. PostgreSQL's
    # catalog alone is asked by ten statements that take longer to compile than to be answered.
    compiled = vars(engine.dialect).setdefault(OWN_STATEMENTS, LRUCache(100))
    own = Engine(
        pool or engine.pool.recreate(),
        engine.dialect,
        engine.url,
        execution_options={**kept, "compiled_cache": compiled},
        hide_parameters=True,
    )
    if engine.dialect.is_async and pool is None:
        event.listen(own.pool, "connect", refuse_another_loops, insert=True)
    if engine.dialect.driver == ASYNCMY:
        event.listen(own, "engine_connect", refuse_altered_bytes)
    return own


class OwnConnection:
    """Runs database work on its own connection, from any thread, greenlet or process.

    :param engine: the application's engine; for an ``AsyncEngine``, its ``sync_engine``.
    :param keeps: whether the connection may stay open for the next piece of work.
    """

    def __init__(self, engine: Engine, *, keeps: bool = False) -> None:
        self.engine = engine
        self._kept = kept_connection(engine) if keeps else None
        self.is_async = bool(engine.dialect.is_async)
        self.is_borrowed = isinstance(engine.pool, (StaticPool, SingletonThreadPool))
        self.is_private_memory = _is_private_memory(engine)

    @property
    def on_caller(self) -> bool:
        """Whether the work must run on the caller's own greenlet and event loop."""
        return self.is_async and (self.is_borrowed or self.is_private_memory)

    @property
    def is_ours_alone(self) -> bool:
        """Whether work gets its own connection, so that any thread may do it at any time."""
        return not self.is_borrowed and not self.is_private_memory

    def run(self, work: EngineWork[T]) -> T:
        """Do `work`; blocks, except that in a greenlet the event loop stays free.

        :raises KeyUnavailableError: it needs a greenlet, and the caller is not in one.
        """
        if not self.is_async:
            return self._run_here(work)
        if self.on_caller:
            if not in_greenlet():
                raise needs_prefetch()
            return self._run_here(work)
        if not on_event_loop():
            return self._run_on_own_loop(work)
        future = fetch_threads().submit(partial(self.run, work))
        return await_only(asyncio.wrap_future(future)) if in_greenlet() else future.result()

    def _run_on_own_loop(self, work: EngineWork[T]) -> T:
        try:
            result: T = asyncio.run(greenlet_spawn(self._run_here, work))
        except RuntimeError as error:
            if "different" not in str(error) or "loop" not in str(error):
                raise
            raise belongs_to_another_loop() from None
        return result

    def _run_here(self, work: EngineWork[T]) -> T:
        if self.is_private_memory and not self.is_borrowed:
            return work(self.engine)
        if self.is_borrowed:
            return self._run_borrowed(work)
        if self._kept is not None:
            return self._run_on_kept(work, self._kept)
        own = engine_like(self.engine)
        try:
            return work(own)
        finally:
            own.dispose()

    def _run_on_kept(self, work: EngineWork[T], kept: KeptConnection) -> T:
        like = Likeness.of(self.engine)
        own = engine_like(self.engine, kept.take(self.engine))
        try:
            result = work(own)
        except BaseException:
            own.dispose()
            raise
        kept.keep(own.pool, like, self.engine)
        return result

    def _run_borrowed(self, work: EngineWork[T]) -> T:
        pool = self.engine.pool
        if isinstance(pool, StaticPool):
            # Checking it out and in again would roll back the application's transaction.
            connection = pool.connection
            is_free = not connection.in_use
            return self._work_on(connection.get_connection(), work, is_free=is_free)
        fairy = self.engine.raw_connection()
        try:
            # If the application does not use it, it is reset as it is put back.
            return self._work_on(fairy.dbapi_connection, work, is_free=False)
        finally:
            fairy.close()

    def _work_on(self, dbapi_connection: Any, work: EngineWork[T], *, is_free: bool) -> T:
        """Do `work` on the application's connection, and end no transaction of its.

        :param is_free: whether the application has put the connection back. Of a server's drivers,
            few can tell whether a transaction is open.
        """
        was_idle = is_free
        if self.engine.dialect.name == "sqlite":
            was_idle = not is_in_transaction(dbapi_connection)
        borrowed = _Borrowed(dbapi_connection)
        own = engine_like(
            self.engine,
            NullPool(lambda: borrowed, dialect=self.engine.dialect, reset_on_return=None),
        )
        try:
            result = work(own)
        except BaseException:
            if was_idle:
                dbapi_connection.rollback()
            raise
        if was_idle:
            dbapi_connection.commit()
        return result

    def joins_user_transaction(self) -> bool:
        """Whether work done now could be rolled back with the application's transaction."""
        pool = self.engine.pool
        if not self.is_borrowed or (self.is_async and not in_greenlet()):
            return False
        if isinstance(pool, StaticPool):
            return is_in_transaction(pool.connection.get_connection())
        fairy = self.engine.raw_connection()
        try:
            return is_in_transaction(fairy.dbapi_connection)
        finally:
            fairy.close()

    def require_sqlite_if_borrowed(self) -> None:
        """Refuse a write that the application might roll back unnoticed.

        :raises ConfigurationError: a single-connection pool of another database than SQLite.
        """
        if self.is_borrowed and self.engine.dialect.name != "sqlite":
            raise ConfigurationError(
                f"{type(self.engine.pool).__name__} has a single connection, whose transaction is "
                "the application's; create and rotate keys through an engine with an ordinary pool",
                reason="single-connection",
            )


def is_in_transaction(dbapi_connection: Any) -> bool:
    """Whether an SQLite connection, or the async adaption of one, has a transaction open."""
    driver = getattr(dbapi_connection, "driver_connection", dbapi_connection)
    return bool(getattr(driver, "in_transaction", False))


def _is_private_memory(engine: Engine) -> bool:
    """Whether each new connection would see an empty database of its own."""
    if engine.dialect.name != "sqlite":
        return False
    database, query = engine.url.database or "", engine.url.query
    if query.get("cache") == "shared" or "cache=shared" in database:
        return False
    in_memory = database in ("", ":memory:") or database.startswith("file::memory:")
    return in_memory or query.get("mode") == "memory" or "mode=memory" in database


class _Borrowed:
    """The application's DBAPI connection, which we must not commit, roll back or close."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def commit(self) -> None: ...

    def rollback(self) -> None: ...

    def close(self) -> None: ...

    def terminate(self) -> None: ...


# -- a change of the key table in one transaction ----------------------------------------------

TableChange = Callable[[Connection], None]


def at_level(connection: Connection, level: str) -> Connection:
    """Set a connection's isolation level.

    :param connection: outside a transaction. :param level: by its SQLAlchemy name.
    :raises OperationalError: the connection has ended. It is given up.
    """
    drivers: type[Exception] = connection.dialect.loaded_dbapi.Error
    try:
        return connection.execution_options(isolation_level=level)
    except drivers as error:
        # SQLAlchemy does not wrap the driver's errors from this one statement.
        failure = OperationalError("SET TRANSACTION ISOLATION LEVEL", None, error)
    give_up(connection)
    raise failure


@contextmanager
def connected(engine: Engine) -> Iterator[Connection]:
    """A connection for :func:`at_level`, which ends unnoticed if the server is gone by then.

    As it is put back, SQLAlchemy sets its former isolation level and does not wrap what the driver
    raises. By then all is committed that was to be.
    """
    drivers: type[Exception] = engine.dialect.loaded_dbapi.Error
    connection = engine.connect()
    try:
        yield connection
    finally:
        try:
            connection.close()
        except drivers:
            give_up(connection)


def give_up(connection: Connection) -> None:
    """Discard a connection that may have ended, which is no error."""
    drivers: type[Exception] = connection.dialect.loaded_dbapi.Error
    for end in (connection.invalidate, connection.close):
        with suppress(SQLAlchemyError, OSError, drivers):
            end()


def change_as_one(connection: Connection, change: TableChange) -> None:
    """Make a change atomic, even if the engine is set to AUTOCOMMIT."""
    name = connection.dialect.name
    if name == "sqlite":
        # A savepoint begins a transaction if there is none, and nests in one if there is.
        with connection.begin():
            _change_in_savepoint(connection, change)
        return
    # Not READ COMMITTED on MariaDB: a server with statement-based replication refuses it.
    level = "REPEATABLE READ" if name in MYSQL_NAMES else "READ COMMITTED"
    with at_level(connection, level).begin():
        change(connection)


def _change_in_savepoint(connection: Connection, change: TableChange) -> None:
    connection.exec_driver_sql("SAVEPOINT encfields_keys")
    try:
        change(connection)
    except BaseException:
        # SQLite ends the transaction by itself in some cases, such as a full disk.
        with suppress(DBAPIError):
            connection.exec_driver_sql("ROLLBACK TO encfields_keys")
            connection.exec_driver_sql("RELEASE encfields_keys")
        raise
    connection.exec_driver_sql("RELEASE encfields_keys")
