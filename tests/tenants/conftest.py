"""A table whose rows are each sealed under their tenant's key."""

from __future__ import annotations

import secrets

import pytest
from sqlalchemy import Column, Engine, Integer, MetaData, String, Table

from encfields import EncryptedType
from tests.servers.backends import Backend


@pytest.fixture
def wrapping_key() -> bytes:
    return secrets.token_bytes(32)


@pytest.fixture
def engine(backend: Backend) -> Engine:
    return backend.create_engine()


@pytest.fixture
def invoices(engine: Engine) -> Table:
    table = Table(
        "invoice",
        MetaData(),
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("tenant_id", Integer, nullable=False),
        Column("iban", EncryptedType(String, key="tenant/{tenant_id}")),
    )
    table.create(engine)
    return table
