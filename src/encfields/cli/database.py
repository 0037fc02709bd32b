"""The database of a command: by its URL, or by the application's own engine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sqlalchemy import URL, Engine, create_engine, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from encfields.cli.application import engine_named
from encfields.errors import ConfigurationError
from encfields.keys.sql.connection import hand_on_listeners
from encfields.orm.internals import connect_parameters

_SYNCHRONOUS = {
    "asyncpg": ("psycopg", "psycopg2", "pg8000"),
    "psycopg_async": ("psycopg",),
    "aiosqlite": ("pysqlite",),
    "aiomysql": ("pymysql", "mysqldb", "mysqlconnector"),
    "asyncmy": ("pymysql", "mysqldb", "mysqlconnector"),
}
"""Synchronous drivers for the same database; the first installed one is used."""

_KEPT_OPTION = "schema_translate_map"
"""The execution option that says where tables are."""

_ANY_DRIVER = frozenset({"charset"})
"""Parameters of a URL that mean the same to the drivers of a database."""


@dataclass(frozen=True)
class Database:
    """A command's database. Worker processes get it, and make their own engines.

    :param url: SQLAlchemy URL, which may hold a password.
    :param engine: instead, the place of the application's engine: ``package.module:NAME``.
    """

    url: str | None = field(default=None, repr=False)
    engine: str | None = None

    def new_engine(self) -> Engine:
        """A new engine without encryption.

        :raises ConfigurationError: the URL or the application's engine cannot be used.
        """
        if self.engine is not None:
            return engine_like(engine_named(self.engine), self.engine)
        return engine_of(self.url or "")


def engine_like(engine: Engine, place: str) -> Engine:
    """A new engine that connects like the application's, with its own pool.

    It keeps ``connect_args``, ``creator``, and listeners to connections and transactions. From an
    asyncio engine only the URL can be used.

    :param place: where the engine is, for the message.
    :raises ConfigurationError: no synchronous driver understands its connection arguments.
    """
    if engine.dialect.is_async:
        new = create_engine(_synchronous(engine, place))
    else:
        # recreate() keeps the creator and the pool's listeners, and does not connect.
        new = create_engine(engine.url, pool=engine.pool.recreate())
    options = engine.get_execution_options()
    if _KEPT_OPTION in options:
        new.update_execution_options(**{_KEPT_OPTION: options[_KEPT_OPTION]})
    for name in ("engine_connect", "begin"):
        hand_on_listeners(engine, new, name)
    return new


def _synchronous(engine: Engine, place: str) -> URL:
    """The URL of the same database for a synchronous driver."""
    driver = engine.dialect.driver
    _, from_url = engine.dialect.create_connect_args(engine.url)
    if connect_parameters(engine) != from_url:
        raise ConfigurationError(
            f"{place} is an asyncio engine, and no other driver can be given its connect_args; "
            "give the command a URL of its own with --database",
            reason="async-driver",
        )
    if further := sorted(set(engine.url.query) - _ANY_DRIVER):
        raise ConfigurationError(
            f"{place} is an asyncio engine, and no other driver understands {', '.join(further)} "
            "of its URL; give the command a URL of its own with --database",
            reason="async-driver",
        )
    for name in _installed(engine.url, _SYNCHRONOUS.get(driver, ())):
        return engine.url.set(drivername=name)
    raise ConfigurationError(
        f"{place} is an asyncio engine, and no driver without an event loop is installed for its "
        f"database; install one of {', '.join(_SYNCHRONOUS.get(driver, ()))}, or give --database",
        reason="async-driver",
    )


def _installed(url: URL, drivers: tuple[str, ...]) -> Iterator[str]:
    for driver in drivers:
        name = f"{url.get_backend_name()}+{driver}"
        try:
            url.set(drivername=name).get_dialect().import_dbapi()
        except (ImportError, NoSuchModuleError):
            continue
        yield name


def engine_of(url: str) -> Engine:
    """A new engine on a database.

    :raises ConfigurationError: the URL cannot be used; it is not repeated in the message.
    """
    try:
        engine = create_engine(make_url(url))
    except (ArgumentError, NoSuchModuleError, ValueError):
        raise ConfigurationError(
            "SQLAlchemy cannot use the database URL; write it as dialect+driver://user@host/name",
            reason="database-url",
        ) from None
    except ImportError as error:
        raise ConfigurationError(
            f"the database driver is not installed: {error.name}; install it, or name another in "
            "the URL",
            reason="no-driver",
        ) from None
    if engine.dialect.is_async:
        raise ConfigurationError(
            f"{engine.dialect.name}+{engine.dialect.driver} is an asyncio driver; give the "
            "URL of a synchronous one",
            reason="async-driver",
        )
    return engine


def require_file(engine: Engine) -> None:
    """Refuse an SQLite database whose file is not there, which connecting would create.

    :raises ConfigurationError: there is no such file.
    """
    file = _sqlite_file(engine)
    if file is not None and not Path(file).exists():
        raise ConfigurationError(
            f"there is no SQLite file {file!r}; check the path, which is relative to the working "
            "directory. `encfields keys create-table` creates the file",
            reason="no-database-file",
        )


def _sqlite_file(engine: Engine) -> str | None:
    """The file of an SQLite database, unless it is in memory or the application opens it itself."""
    if engine.dialect.name != "sqlite" or connect_parameters(engine) is None:
        return None
    (name,), parameters = engine.dialect.create_connect_args(engine.url)
    if not parameters.get("uri"):
        return None if name in ("", ":memory:") else str(name)
    parts = urlsplit(name)
    is_in_memory = parts.path in ("", ":memory:") or "mode=memory" in parts.query.split("&")
    return None if is_in_memory else unquote(parts.path)
