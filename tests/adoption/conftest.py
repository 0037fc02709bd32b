"""Fixtures of the tests of adoption."""

from __future__ import annotations

import pytest

from tests.binding.database import Database
from tests.servers.backends import Backend


@pytest.fixture
def db(backend: Backend) -> Database:
    """An attached engine on an empty database, on each of the three servers in turn."""
    return Database(backend)
