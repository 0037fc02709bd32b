"""The database that both sides share; on SQLite a file for each, which has one writer."""

from __future__ import annotations

import asyncio
import gc
import secrets
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from encfields import Encryption, attach
from encfields.engine import engine_encryption
from encfields.testing import local_store
from tests.differential.models import Schema
from tests.differential.stage import Stage
from tests.servers import mariadb

T = TypeVar("T")


KEYS = ("default", "tenant/1", "tenant/2", "tenant/a", "tenant/b%2F%C3%A4")
"""Ids of the branch keys of every schema; of each there are two versions of its beacon key."""

ASYNC_DRIVERS = {
    "sqlite": "aiosqlite",
    "postgresql": "asyncpg",
    "mysql": "asyncmy",
    "mariadb": "asyncmy",
}


@dataclass(frozen=True)
class Engines:
    """Those of a trial, of both sides.

    :ivar encryption: of the encrypted one.
    """

    plain: sa.Engine
    encrypted: sa.Engine
    encryption: Encryption


class Database:
    """Engines of the two sides, for ordinary drivers and for asyncio's.

    :param url: of an empty database.
    :ivar engines: the ordinary ones.
    """

    def __init__(self, url: sa.URL | str) -> None:
        self.url = sa.make_url(url)
        self._folder: Path | None = None
        self._urls = [_named_as_it_is(self.url)] * 2
        if self.url.get_backend_name() == "sqlite":
            self._folder = Path(tempfile.mkdtemp(prefix="encfields-"))
            self._urls = [
                sa.URL.create("sqlite", database=str(self._folder / n)) for n in ("p", "e")
            ]
        self._wrapping_key = secrets.token_bytes(32)
        plain, encrypted = (sa.create_engine(url, **_options(url)) for url in self._urls)
        for engine in (plain, encrypted):
            _hurry_on(engine)
        encryption = attach(encrypted, local_store(self._wrapping_key), create=True)
        for key_id in KEYS:
            engine_encryption(encryption).active_key(key_id)
            encryption.keys.rotate_beacon(key_id)
        self.engines = Engines(plain, encrypted, encryption)
        self._stage: Stage | None = None
        self._runner = asyncio.Runner()
        self._asynchronous: tuple[AsyncEngine, AsyncEngine, Engines] | None = None

    def stage(self, schema: Schema) -> Stage:
        """The empty tables of a schema: those of the program before, if it had the same."""
        if self._stage is not None and self._stage.schema == schema:
            self._stage.empty()
            return self._stage
        self._strike()
        self._stage = Stage(schema, self.engines.plain, self.engines.encrypted)
        return self._stage

    def _strike(self) -> None:
        if self._stage is not None:
            self._stage.close()
            self._stage = None
        # Connections have prepared statements about tables that are no more, and engines compiled
        # ones.
        for engine in (self.engines.encrypted, self.engines.plain):
            engine.dispose()
            engine.clear_compiled_cache()
        self._runner.run(self._dispose())
        gc.collect()  # or the engine would compare new tables with more and more old ones

    def close(self) -> None:
        """Give everything back."""
        self._strike()
        self._runner.close()
        if self._folder is not None:
            shutil.rmtree(self._folder)

    def run(self, trial: Callable[[Engines], T], *, asynchronous: bool) -> T:
        """Have a trial run on the engines, maybe those of asyncio and in its event loop."""
        if not asynchronous:
            return trial(self.engines)
        return self._runner.run(self._run(trial))

    async def _run(self, trial: Callable[[Engines], T]) -> T:
        if self._asynchronous is None:
            self._asynchronous = self._async_engines()
        plain, encrypted, engines = self._asynchronous
        try:
            async with AsyncSession(plain) as session:
                # What a coroutine may call, though not with this session.
                return await session.run_sync(lambda _: trial(engines))
        finally:
            if self.url.get_backend_name() == "sqlite":
                await plain.dispose()  # a statement that failed may still be open
                await encrypted.dispose()

    def _async_engines(self) -> tuple[AsyncEngine, AsyncEngine, Engines]:
        driver = ASYNC_DRIVERS[self._urls[0].get_backend_name()]
        urls = [
            mariadb.for_any_driver(u.set(drivername=f"{u.get_backend_name()}+{driver}"))
            for u in self._urls
        ]
        plain, encrypted = (create_async_engine(url, **_options(url)) for url in urls)
        for engine in (plain, encrypted):
            _hurry_on(engine.sync_engine)
        encryption = attach(encrypted, local_store(self._wrapping_key))
        return plain, encrypted, Engines(plain.sync_engine, encrypted.sync_engine, encryption)

    async def _dispose(self) -> None:
        if self._asynchronous is not None:
            for engine in self._asynchronous[:2]:
                await engine.dispose()
                engine.sync_engine.clear_compiled_cache()


def _named_as_it_is(url: sa.URL) -> sa.URL:
    """MariaDB under its own name, for its collations are not MySQL's."""
    if url.get_backend_name() != "mysql":
        return url
    engine = sa.create_engine(url)
    with engine.connect():
        is_mariadb = engine.dialect.is_mariadb  # type: ignore[attr-defined]
    engine.dispose()
    return url.set(drivername=f"mariadb+{url.get_driver_name()}") if is_mariadb else url


def _options(url: sa.URL) -> dict[str, Any]:
    """Without the context for TLS that PyMySQL makes for each connection, which takes longer than
    the rest of it; a run of re-encryption has ten."""
    return {"connect_args": {"ssl_disabled": True}} if url.get_driver_name() == "pymysql" else {}


def _hurry_on(engine: sa.Engine) -> None:
    how = {"sqlite": _hurry, "postgresql": _be_impatient}.get(engine.dialect.name)
    if how is not None:
        sa.event.listen(engine, "connect", how)


def _hurry(connection: Any, record: Any) -> None:
    """A trial's file need not outlive the machine; who reads it does not wait for who writes."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=OFF")
    connection.execute("PRAGMA busy_timeout=30")


def _be_impatient(connection: Any, record: Any) -> None:
    """Who would wait for a lock waits in vain, and who commits does not wait for the disk."""
    cursor = connection.cursor()
    cursor.execute("SET lock_timeout = 50")
    cursor.execute("SET synchronous_commit = off")
    cursor.close()
    connection.commit()
