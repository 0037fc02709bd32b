"""The application's database, and somebody else who can write to it."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from tests.index_writes.conftest import clinic, patients
from tests.servers.backends import Backend

__all__ = ["clinic", "patients"]


@pytest.fixture
def attacker(backend: Backend) -> Engine:
    """Plain SQL on the application's database: every table can be written, no key is known."""
    return backend.create_engine()
