"""One empty database for one test, whichever server it lives in."""

from __future__ import annotations

import os
from typing import Any

import pytest
from sqlalchemy import URL, Engine, create_engine
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from tests.servers import mariadb
from tests.servers.kept_connections import KeptConnections
from tests.servers.shared_tables import SharedFiles, SharedTables

BACKENDS = os.environ.get("ENCFIELDS_TEST_BACKENDS", "sqlite,postgresql,mariadb").split(",")
"""The databases that tests run on."""

BUSY_SECONDS = 60.0
"""How long SQLite waits for another connection's writing, on a machine that has other things to do
than the five seconds of its driver allow for."""


class Backend:
    """An empty database and the engines on it.

    :ivar name: ``"sqlite"``, ``"postgresql"``, ``"mariadb"`` or ``"mysql"``.
    :param kept: connections for its engines that outlive it.
    :param shared: the tables in it that outlive it.
    :ivar url: its URL, driver included.
    """

    def __init__(
        self,
        name: str,
        url: URL,
        kept: KeptConnections | None = None,
        shared: SharedTables | SharedFiles | None = None,
    ) -> None:
        self.name = name
        self.url = url
        self.shared = shared
        self._kept = kept
        self._engines: list[Engine] = []

    @property
    def url_text(self) -> str:
        """The URL as text, password included, for what takes no :class:`~sqlalchemy.URL`."""
        return self.url.render_as_string(hide_password=False)

    @property
    def has_returning(self) -> bool:
        """Whether an INSERT reports rows. Of the servers, MySQL alone has no RETURNING at all."""
        return self.name != "mysql"

    @property
    def updates_from_itself(self) -> bool:
        """Whether an UPDATE may select from the table that it changes, in a subquery."""
        return self.name != "mysql"

    @property
    def family(self) -> str:
        """The name, with MySQL under MariaDB's: what both spell alike."""
        return "mariadb" if self.name == "mysql" else self.name

    def require_returning(self) -> None:
        """Skip a test of RETURNING where there is none."""
        if not self.has_returning:
            pytest.skip("the database has no RETURNING")

    def create_engine(self, **options: Any) -> Engine:
        """A new engine, disposed of when the test ends.

        :param options: as for :func:`sqlalchemy.create_engine`.
        """
        if self.url.drivername.startswith("postgresql+psycopg"):
            # Else each engine looks into the catalog for a type that no test uses.
            options = {"use_native_hstore": False, **options}
        engine = create_engine(self.url, **_patient(self.name, options))
        if self._kept:
            self._kept.serve(engine)
        self._engines.append(engine)
        return engine

    def end_kept(self) -> None:
        """End the connections that other tests have left: the next ones are new."""
        if self._kept:
            self._kept.end()

    def dispose(self) -> None:
        while self._engines:
            self._engines.pop().dispose()

    def __repr__(self) -> str:
        return f"<Backend {self.url!r}>"


class AsyncBackend:
    """The same database through an asyncio driver.

    :ivar name: ``"sqlite"``, ``"postgresql"``, ``"mariadb"`` or ``"mysql"``.
    :ivar url: its URL, asyncio driver included.
    :ivar sync: the same database through the synchronous driver, to look at what is stored.
    """

    def __init__(self, sync: Backend, drivername: str) -> None:
        self.name = sync.name
        self.sync = sync
        self.url = mariadb.for_any_driver(sync.url.set(drivername=drivername))
        self._engines: list[AsyncEngine] = []

    def create_engine(self, **options: Any) -> AsyncEngine:
        """A new engine, disposed of in the test's own event loop when the test ends.

        :param options: as for :func:`sqlalchemy.ext.asyncio.create_async_engine`.
        """
        engine = create_async_engine(self.url, **_patient(self.name, options))
        self._engines.append(engine)
        return engine

    async def dispose(self) -> None:
        while self._engines:
            await self._engines.pop().dispose()

    def __repr__(self) -> str:
        return f"<AsyncBackend {self.url!r}>"


def _patient(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """An engine's options, with which SQLite waits for locks as long as the servers do."""
    if name != "sqlite" or "creator" in options:
        return options
    return {**options, "connect_args": {"timeout": BUSY_SECONDS, **options.get("connect_args", {})}}
