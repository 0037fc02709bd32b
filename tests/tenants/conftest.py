"""A table whose rows are each sealed under their tenant's key."""

from __future__ import annotations

import secrets

import pytest
from sqlalchemy import Engine, Table

from tests.servers.backends import Backend
from tests.tenants.invoices import invoice_table


@pytest.fixture
def wrapping_key() -> bytes:
    return secrets.token_bytes(32)


@pytest.fixture
def engine(backend: Backend) -> Engine:
    return backend.create_engine()


@pytest.fixture
def invoices(engine: Engine) -> Table:
    table = invoice_table()
    table.create(engine)
    return table
