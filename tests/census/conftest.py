"""A clinic's table on each of the three databases in turn, encryption attached."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, Table

from encfields import Encryption
from tests.attached import attach_with_kept_keys
from tests.census.clinic import patient_table
from tests.servers.backends import Backend


@pytest.fixture
def engine(backend: Backend) -> Engine:
    return backend.create_engine()


@pytest.fixture
def encryption(engine: Engine) -> Encryption:
    return attach_with_kept_keys(engine, bytes(32))


@pytest.fixture
def patients(engine: Engine, encryption: Encryption) -> Table:
    """An empty table."""
    table = patient_table()
    table.create(engine)
    return table
