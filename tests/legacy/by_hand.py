"""A column that an application encrypted itself, as the AWS Encryption SDK's tutorials have it."""

from __future__ import annotations

from typing import Any

import boto3
from aws_cryptographic_material_providers.mpl.client import AwsCryptographicMaterialProviders
from aws_cryptographic_material_providers.mpl.config import MaterialProvidersConfig
from aws_cryptographic_material_providers.mpl.models import CreateAwsKmsKeyringInput
from aws_encryption_sdk import CommitmentPolicy, EncryptionSDKClient
from aws_encryption_sdk.identifiers import AlgorithmSuite
from sqlalchemy import JSON
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from encfields import EncryptedType
from tests.servers.moto import REGION

COMMITTED = AlgorithmSuite.AES_256_GCM_HKDF_SHA512_COMMIT_KEY
SIGNED = AlgorithmSuite.AES_256_GCM_HKDF_SHA512_COMMIT_KEY_ECDSA_P384
VERSION_1 = AlgorithmSuite.AES_256_GCM_IV12_TAG16_HKDF_SHA256
VERSION_1_SIGNED = AlgorithmSuite.AES_256_GCM_IV12_TAG16_HKDF_SHA384_ECDSA_P384
SUITES = {
    "committed": COMMITTED,
    "signed": SIGNED,
    "version-1": VERSION_1,
    "version-1-signed": VERSION_1_SIGNED,
}


class Base(DeclarativeBase):
    pass


class Patient(Base):
    __tablename__ = "patient"
    id: Mapped[int] = mapped_column(primary_key=True)
    ssn: Mapped[str | None] = mapped_column(EncryptedType())
    notes: Mapped[dict[str, Any] | None] = mapped_column(EncryptedType(JSON))


def encrypt(
    plaintext: bytes,
    keyring: Any,
    context: dict[str, str],
    suite: Any = SIGNED,
    frame_length: int = 4096,
) -> bytes:
    """One message, by AWS's client."""
    is_version_1 = suite in (VERSION_1, VERSION_1_SIGNED)
    policy = (
        CommitmentPolicy.FORBID_ENCRYPT_ALLOW_DECRYPT
        if is_version_1
        else CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT
    )
    message, _ = EncryptionSDKClient(commitment_policy=policy).encrypt(
        source=plaintext,
        keyring=keyring,
        encryption_context=context,
        algorithm=suite,
        frame_length=frame_length,
    )
    return bytes(message)


def kms_keyring(url: str, arn: str) -> Any:
    """AWS's KMS keyring, as an application makes it."""
    providers = AwsCryptographicMaterialProviders(config=MaterialProvidersConfig())
    client = boto3.client("kms", region_name=REGION, endpoint_url=url)
    return providers.create_aws_kms_keyring(
        CreateAwsKmsKeyringInput(kms_key_id=arn, kms_client=client)
    )
