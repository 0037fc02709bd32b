"""A database for each run of SQLAlchemy's suite, with what its tests want to find there."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import URL, make_url

from tests.servers import mariadb, postgresql
from tests.servers.provision import existing, missing

NAMES = ("sqlite", "postgresql", "mariadb")
"""The databases that the suite is run on."""


@contextmanager
def database(name: str) -> Iterator[URL]:
    """An empty database, for the length of a ``with`` block.

    :param name: one of :data:`NAMES`.
    """
    if name == "sqlite":
        yield make_url("sqlite://")
        return
    server, driver = (
        (postgresql, "postgresql+psycopg") if name == "postgresql" else (mariadb, "mariadb+pymysql")
    )
    if (url := existing(server)) is None:
        raise missing(server)
    made = server.ServerDatabase(url, f"encfields_suite_{secrets.token_hex(4)}")
    try:
        if name == "postgresql":
            _add_schemas(made.url)
        yield made.url.set(drivername=driver)
    finally:
        made.drop()


def _add_schemas(url: URL) -> None:
    """What SQLAlchemy's README.unittests.rst says to make, as far as it can be made."""
    with postgresql.connect(url) as connection:
        for schema in ("test_schema", "test_schema_2"):
            connection.execute(f"CREATE SCHEMA {schema}")
        known = connection.execute("SELECT name FROM pg_available_extensions").fetchall()
        for extension in {"hstore", "citext"} & {name for (name,) in known}:
            connection.execute(f"CREATE EXTENSION {extension}")
