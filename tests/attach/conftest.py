"""A database with the patient table, on each server in turn."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from tests.attach.model import Base
from tests.servers.backends import Backend


@pytest.fixture
def engine(backend: Backend) -> Engine:
    """An engine that nothing is attached to yet."""
    engine = backend.create_engine()
    Base.metadata.create_all(engine)
    return engine
