"""The engines: the application's own, one for operations, and one for whoever has no key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from encfields import Encryption, attach

from .settings import Settings
from .wrapping import Wrapping

CACHE: dict[str, Any] = {"cache_ttl": 8, "cache_grace": 20, "cache_check": 0.5}
"""Seconds. In production an hour, ten minutes and five seconds; here nobody wants to wait."""


class Database:
    """One database, seen in three ways.

    :ivar application: asynchronous, attached: it sees values.
    :ivar operations: synchronous, attached: bulk runs and key administration.
    :ivar outsider: not attached: what a stolen backup or a database administrator sees.
    """

    def __init__(self, settings: Settings, wrapping: Wrapping) -> None:
        patience = {"timeout": 30} if settings.on_sqlite else {}
        self.outsider = _sync(settings, patience)
        self.operations = _sync(settings, patience)
        self.application: AsyncEngine = create_async_engine(
            settings.async_database, connect_args=patience, hide_parameters=True
        )
        if settings.on_sqlite:
            _write_ahead(self.outsider)
        self._empty()
        self.of_operations: Encryption = attach(self.operations, wrapping.key_store(), **CACHE)
        _migrate(self.operations, self.of_operations)
        self.of_application: Encryption = attach(self.application, wrapping.key_store(), **CACHE)

    def _empty(self) -> None:
        """A demonstration begins anew each time."""
        if self.outsider.dialect.name == "postgresql":
            with self.outsider.begin() as connection:
                connection.execute(text("DROP SCHEMA public CASCADE"))
                connection.execute(text("CREATE SCHEMA public"))

    async def close(self) -> None:
        for encryption in (self.of_application, self.of_operations):
            encryption.detach()
        await self.application.dispose()
        self.operations.dispose()
        self.outsider.dispose()


def _sync(settings: Settings, patience: dict[str, int]) -> Engine:
    return create_engine(settings.database, connect_args=patience, hide_parameters=True)


def _write_ahead(engine: Engine) -> None:
    """Let SQLite's readers go on beside its one writer."""

    @event.listens_for(engine, "connect")
    def connect(connection: object, record: object) -> None:
        connection.execute("PRAGMA journal_mode=WAL")  # type: ignore[attr-defined]


def _migrate(engine: Engine, encryption: Encryption) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes |= {"engine": engine, "encryption": encryption}
    command.upgrade(config, "head")
