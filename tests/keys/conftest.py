"""Fixtures for the tests of keys: a local keyring and stores on it."""

from __future__ import annotations

import secrets

import pytest

from encfields import keyrings
from encfields.keys.keyrings.local import LocalKeyring
from encfields.keys.sql.store import SqlKeyStore
from tests.servers.backends import Backend


@pytest.fixture
def keyring() -> LocalKeyring:
    return keyrings.local(secrets.token_bytes(32))


@pytest.fixture
def store(backend: Backend, keyring: LocalKeyring) -> SqlKeyStore:
    """A key store with its table, on each of the three servers in turn."""
    made = SqlKeyStore(keyring, engine=backend.create_engine())
    made.create_table()
    return made


@pytest.fixture
def sqlite_store(sqlite: Backend, keyring: LocalKeyring) -> SqlKeyStore:
    """A key store with its table, on SQLite alone."""
    made = SqlKeyStore(keyring, engine=sqlite.create_engine())
    made.create_table()
    return made
