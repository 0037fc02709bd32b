"""Engines that log all they do, with patients to be kept secret."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from tests.attached import attach_with_kept_keys
from tests.leaks.model import Base
from tests.servers.backends import Backend


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Every logger at DEBUG, but SQLAlchemy's at what ``echo=True`` sets."""
    with caplog.at_level(logging.DEBUG):
        yield caplog


@pytest.fixture
def engine(backend: Backend, log: pytest.LogCaptureFixture) -> Engine:
    """An attached engine with ``echo=True``."""
    engine = backend.create_engine(echo=True)
    attach_with_kept_keys(engine)
    Base.metadata.create_all(engine)
    log.clear()
    return engine


@pytest.fixture
def detached(backend: Backend) -> Engine:
    """An engine on the same database that was never attached."""
    return backend.create_engine()
