"""The database that both sides share; on SQLite a file for each, which has one writer."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from encfields import Encryption
from encfields.testing import attach_locally


class Database:
    """Engines of the two sides.

    :param url: of an empty database.
    """

    def __init__(self, url: sa.URL | str) -> None:
        self.url = sa.make_url(url)
        self._folder: Path | None = None
        urls = [_named_as_it_is(self.url)] * 2
        if self.url.get_backend_name() == "sqlite":
            self._folder = Path(tempfile.mkdtemp(prefix="encfields-"))
            urls = [sa.URL.create("sqlite", database=str(self._folder / n)) for n in ("p", "e")]
        self.plain, self.encrypted = (_engine(url) for url in urls)
        self.encryption: Encryption = attach_locally(self.encrypted)

    def close(self) -> None:
        """Give everything back."""
        self.encrypted.dispose()
        self.plain.dispose()
        if self._folder is not None:
            shutil.rmtree(self._folder)


def _named_as_it_is(url: sa.URL) -> sa.URL:
    """MariaDB under its own name, for its collations are not MySQL's."""
    if url.get_backend_name() != "mysql":
        return url
    engine = sa.create_engine(url)
    with engine.connect():
        is_mariadb = engine.dialect.is_mariadb  # type: ignore[attr-defined]
    engine.dispose()
    return url.set(drivername=f"mariadb+{url.get_driver_name()}") if is_mariadb else url


def _engine(url: sa.URL) -> sa.Engine:
    engine = sa.create_engine(url)
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _hurry)
    return engine


def _hurry(connection: Any, record: Any) -> None:
    """A trial's file need not outlive the machine."""
    connection.execute("PRAGMA synchronous=OFF")
