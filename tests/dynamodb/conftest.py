"""AWS's hierarchical key store in moto's DynamoDB, wrapped by moto's KMS, over HTTP."""

from __future__ import annotations

import secrets
from typing import Any

import pytest
from aws_encryption_sdk import CommitmentPolicy, EncryptionSDKClient

from encfields import DynamoDbKeyStore, keyrings
from tests.servers.moto import Kms


@pytest.fixture
def arn(kms: Kms) -> str:
    return kms.create_key()


@pytest.fixture
def table_name() -> str:
    return f"keys-{secrets.token_hex(6)}"


@pytest.fixture
def store(arn: str, table_name: str) -> DynamoDbKeyStore:
    """A key store whose table is made and has no key."""
    made = DynamoDbKeyStore(keyrings.aws_kms(arn), table_name)
    made.create_table()
    return made


@pytest.fixture(scope="session")
def client() -> Any:
    return EncryptionSDKClient(commitment_policy=CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT)
