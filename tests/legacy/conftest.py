"""A database in which a column holds messages that were written by hand."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine

from tests.legacy.by_hand import Base
from tests.message import stock
from tests.servers.backends import Backend


@pytest.fixture
def engine(backend: Backend) -> Engine:
    engine = backend.create_engine()
    Base.metadata.create_all(engine)
    return engine


@pytest.fixture(scope="session")
def raw_keyring() -> Callable[[], Any]:
    """Makes AWS's raw AES keyring over one wrapping key."""
    key = os.urandom(32)
    return lambda: stock.raw_aes_keyring(key)
