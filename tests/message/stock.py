"""The stock AWS Encryption SDK with its hierarchical keyring, given branch keys without AWS.

The keyring asks its cache before it asks the key store; a cache that always has the branch key
keeps it from ever calling DynamoDB or KMS. Everything between cache and message is AWS's code.
"""

from __future__ import annotations

import time

import boto3
from aws_cryptographic_material_providers.keystore import client as keystore
from aws_cryptographic_material_providers.keystore import config as keystore_config
from aws_cryptographic_material_providers.keystore import models as keystore_models
from aws_cryptographic_material_providers.mpl.client import AwsCryptographicMaterialProviders
from aws_cryptographic_material_providers.mpl.config import MaterialProvidersConfig
from aws_cryptographic_material_providers.mpl.models import (
    AesWrappingAlg,
    CacheTypeShared,
    CreateAwsKmsHierarchicalKeyringInput,
    CreateDefaultCryptographicMaterialsManagerInput,
    CreateMultiKeyringInput,
    CreateRawAesKeyringInput,
    CreateRequiredEncryptionContextCMMInput,
    GetCacheEntryOutput,
    MaterialsBranchKey,
)
from aws_cryptographic_material_providers.mpl.references import ICryptographicMaterialsCache
from aws_encryption_sdk import CommitmentPolicy, EncryptionSDKClient

from encfields.branch_key import BranchKey

FIVE_MINUTES = 300


class OneBranchKey(ICryptographicMaterialsCache):  # type: ignore[misc]  # AWS ships no types
    """A cache in which every look-up finds `key`."""

    def __init__(self, key: BranchKey) -> None:
        self._materials = MaterialsBranchKey(
            keystore_models.BranchKeyMaterials(
                branch_key_identifier=key.id,
                branch_key_version=key.version,
                encryption_context={},
                branch_key=key.material,
            )
        )

    def get_cache_entry(self, param):
        now = int(time.time())
        return GetCacheEntryOutput(
            materials=self._materials, creation_time=now, expiry_time=now + FIVE_MINUTES
        )

    def put_cache_entry(self, param):
        raise AssertionError("the cache has the key: nothing is fetched, nothing is put")

    def update_usage_metadata(self, param):
        raise AssertionError("the hierarchical keyring counts no uses")

    def delete_cache_entry(self, param):
        raise AssertionError("the hierarchical keyring deletes nothing")


def _providers() -> AwsCryptographicMaterialProviders:
    return AwsCryptographicMaterialProviders(config=MaterialProvidersConfig())


def hierarchical_keyring(key: BranchKey):
    """AWS's hierarchical keyring over `key`. Its clients point nowhere."""
    nowhere = {
        "region_name": "eu-west-1",
        "endpoint_url": "http://127.0.0.1:9",
        "aws_access_key_id": "none",
        "aws_secret_access_key": "none",
    }
    store = keystore.KeyStore(
        config=keystore_config.KeyStoreConfig(
            ddb_table_name="unused",
            logical_key_store_name="unused",
            kms_configuration=keystore_models.KMSConfigurationDiscovery(
                keystore_models.Discovery()
            ),
            ddb_client=boto3.client("dynamodb", **nowhere),
            kms_client=boto3.client("kms", **nowhere),
        )
    )
    return _providers().create_aws_kms_hierarchical_keyring(
        input=CreateAwsKmsHierarchicalKeyringInput(
            key_store=store,
            branch_key_id=key.id,
            ttl_seconds=FIVE_MINUTES,
            cache=CacheTypeShared(OneBranchKey(key)),
        )
    )


def raw_aes_keyring(key: bytes, namespace: str = "raw", name: str = "aes"):
    """AWS's raw AES keyring."""
    return _providers().create_raw_aes_keyring(
        input=CreateRawAesKeyringInput(
            key_namespace=namespace,
            key_name=name,
            wrapping_key=key,
            wrapping_alg=AesWrappingAlg.ALG_AES256_GCM_IV12_TAG16,
        )
    )


def multi_keyring(generator, *children):
    """AWS's multi-keyring: any one member opens."""
    return _providers().create_multi_keyring(
        input=CreateMultiKeyringInput(generator=generator, child_keyrings=list(children))
    )


def materials_manager(keyring):
    """AWS's default materials manager over `keyring`, for use in many calls."""
    return _providers().create_default_cryptographic_materials_manager(
        input=CreateDefaultCryptographicMaterialsManagerInput(keyring=keyring)
    )


def required_context_manager(keyring, names: list[str]):
    """AWS's materials manager that has pairs of the context left out of the message."""
    return _providers().create_required_encryption_context_cmm(
        CreateRequiredEncryptionContextCMMInput(
            underlying_cmm=materials_manager(keyring), required_encryption_context_keys=names
        )
    )


def client() -> EncryptionSDKClient:
    """The stock client with its strictest policy."""
    return EncryptionSDKClient(commitment_policy=CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT)
