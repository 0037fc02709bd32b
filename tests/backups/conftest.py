"""Databases to copy to, beside those that are copied."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest
from sqlalchemy import URL

from encfields import keyrings
from encfields.keyrings import Keyring
from tests.servers import mariadb as mariadb_server
from tests.servers import postgresql as postgresql_server
from tests.servers.backends import Backend


@pytest.fixture
def keyring() -> Keyring:
    return keyrings.local(secrets.token_bytes(32))


@pytest.fixture
def postgresql_copy(postgresql: Backend) -> Iterator[URL]:
    """An empty database of another name."""
    name = f"{postgresql.url.database}_copy"
    database = postgresql_server.ServerDatabase(postgresql.url, name, durable=False)
    yield database.url.set(drivername=postgresql.url.drivername)
    database.drop()


@pytest.fixture
def mariadb_copy(mariadb: Backend) -> Iterator[URL]:
    """An empty database of another name."""
    database = mariadb_server.ServerDatabase(mariadb.url, f"{mariadb.url.database}_copy")
    yield mariadb_server.through_pymysql(database.url)
    database.drop()
