"""Each driver on each server that it speaks to, with the same tables and an encryption."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pytest
from sqlalchemy import URL, Connection, create_engine, delete, insert
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from encfields import Encryption, attach
from encfields.testing import local_store
from tests.drivers.model import Base
from tests.servers.drivers import with_driver

SERVERS = {
    "sqlite": ["pysqlite", "aiosqlite"],
    "postgresql": ["psycopg", "psycopg2", "asyncpg", "pg8000"],
    "mariadb": ["pymysql", "mysqldb", "mysqlconnector", "mariadbconnector", "asyncmy"],
    "mysql": ["pymysql", "mysqldb", "mysqlconnector", "mariadbconnector", "asyncmy"],
}
ASYNC = frozenset({"aiosqlite", "asyncpg", "asyncmy", "psycopg_async"})
BUILT_FROM_SOURCE = {"mysqldb": "MySQLdb", "mariadbconnector": "mariadb"}
"""Drivers that have no wheels for Linux: module to import, where they could be built."""

LEGS = [f"{server}-{driver}" for server, drivers in SERVERS.items() for driver in drivers]
WRAPPING_KEY = bytes(range(32))
_T = TypeVar("_T")


class Leg:
    """One driver on one server. What is tested is synchronous; an asyncio driver runs it too.

    :ivar server: which. :ivar driver: SQLAlchemy's name of it.
    :ivar url: of a database of the test session. :ivar engine: attached, and synchronous or not.
    """

    def __init__(self, server: str, url: URL, **options: Any) -> None:
        self.server = server
        self.url = url
        self.driver = url.get_driver_name()
        self.is_async = self.driver in ASYNC
        self.engine: Any
        # A connection of an asyncio driver belongs to one event loop: here each use has its own.
        if self.is_async:
            self.engine = create_async_engine(url, poolclass=NullPool, **options)
        else:
            self.engine = create_engine(url, **options)
        self.encryption: Encryption

    def attach(self) -> Leg:
        self.encryption = attach(self.engine, local_store(WRAPPING_KEY), create=True)
        return self

    def run(self, work: Callable[[Connection], _T]) -> _T:
        """What `work` returns, done in one transaction."""
        if not self.is_async:
            with self.engine.begin() as connection:
                return work(connection)

        async def inside() -> _T:
            async with self.engine.begin() as connection:
                result: _T = await connection.run_sync(work)
                return result

        return asyncio.run(inside())

    def session(self, work: Callable[[Session], _T]) -> _T:
        """What `work` returns, done in one ORM session, and committed."""

        def with_session(connection: Connection) -> _T:
            with Session(connection) as session:
                result = work(session)
                session.commit()
                return result

        return self.run(with_session)

    def insert(self, model: Any, rows: list[dict[str, Any]], way: str) -> None:
        """Insert rows by ``"execute"``, ``"values"`` or ``"orm"``."""
        if way == "orm":
            self.session(lambda session: session.add_all(model(**row) for row in rows))
        elif way == "values":
            self.run(lambda connection: connection.execute(insert(model).values(rows)))
        else:
            given = rows if len(rows) > 1 else rows[0]
            self.run(lambda connection: connection.execute(insert(model), given))

    def dispose(self) -> None:
        getattr(self.engine, "sync_engine", self.engine).dispose()


@pytest.fixture(scope="module", params=LEGS)
def leg(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Leg]:
    """The driver with tables that were made through it; they are empty for each test."""
    server, _, driver = request.param.partition("-")
    module = BUILT_FROM_SOURCE.get(driver)
    if module and importlib.util.find_spec(module) is None:
        pytest.skip(f"{driver} is not installed: it has to be built, with MariaDB's headers")
    database = None
    if server == "sqlite":
        url = URL.create("sqlite", database=str(tmp_path_factory.mktemp("drivers") / "db.sqlite"))
    else:
        request.getfixturevalue(f"_{server}_tables").remove()
        database = request.getfixturevalue(f"_{server}_database")
        url = database.url
    made = Leg(server, with_driver(url, driver))
    made.attach()
    made.run(Base.metadata.create_all)
    yield made
    made.dispose()
    if database is not None:
        database.empty()


@pytest.fixture
def driver(leg: Leg) -> Leg:
    """The leg with its tables empty."""

    def empty(connection: Connection) -> None:
        for table in Base.metadata.sorted_tables:
            connection.execute(delete(table))

    leg.run(empty)
    return leg
