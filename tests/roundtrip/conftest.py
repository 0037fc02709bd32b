"""An engine with encryption on it, on each of the three databases in turn."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from encfields import Encryption
from tests.attached import attach_with_kept_keys
from tests.servers.backends import Backend


@pytest.fixture
def engine(backend: Backend) -> Engine:
    return backend.create_engine()


@pytest.fixture
def encryption(engine: Engine) -> Encryption:
    return attach_with_kept_keys(engine, bytes(32))
