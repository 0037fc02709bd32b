"""A database with encrypted columns, and AWS's client as its users have it."""

from __future__ import annotations

from typing import Any

import pytest
from aws_encryption_sdk import CommitmentPolicy, EncryptionSDKClient
from sqlalchemy import Engine

from encfields import Encryption
from encfields.testing import attach_locally
from tests.interop.model import Base
from tests.servers.backends import Backend


@pytest.fixture
def engine(backend: Backend) -> Engine:
    engine = backend.create_engine()
    Base.metadata.create_all(engine)
    return engine


@pytest.fixture
def encryption(engine: Engine) -> Encryption:
    return attach_locally(engine)


@pytest.fixture(scope="session")
def client() -> Any:
    return EncryptionSDKClient(commitment_policy=CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT)
