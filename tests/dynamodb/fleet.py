"""The rest of the fleet: AWS's key store and hierarchical keyring on the same table, stock."""

from __future__ import annotations

from typing import Any

import boto3
from aws_cryptographic_material_providers.keystore import client as keystore
from aws_cryptographic_material_providers.keystore import config as keystore_config
from aws_cryptographic_material_providers.keystore import models as keystore_models
from aws_cryptographic_material_providers.mpl.client import AwsCryptographicMaterialProviders
from aws_cryptographic_material_providers.mpl.config import MaterialProvidersConfig
from aws_cryptographic_material_providers.mpl.models import CreateAwsKmsHierarchicalKeyringInput

from tests.servers.moto import REGION, Kms


def key_store(kms: Kms, table_name: str, arn: str, logical_name: str | None = None) -> Any:
    """AWS's key store as its documentation sets it up."""
    return keystore.KeyStore(
        config=keystore_config.KeyStoreConfig(
            ddb_table_name=table_name,
            logical_key_store_name=logical_name or table_name,
            kms_configuration=keystore_models.KMSConfigurationKmsKeyArn(arn),
            ddb_client=dynamodb(kms.dynamodb_url),
            kms_client=boto3.client("kms", region_name=REGION, endpoint_url=kms.url),
        )
    )


def hierarchical_keyring(store: Any, key_id: str = "default") -> Any:
    """AWS's hierarchical keyring over that key store."""
    providers = AwsCryptographicMaterialProviders(config=MaterialProvidersConfig())
    return providers.create_aws_kms_hierarchical_keyring(
        input=CreateAwsKmsHierarchicalKeyringInput(
            key_store=store, branch_key_id=key_id, ttl_seconds=300
        )
    )


def dynamodb(url: str) -> Any:
    """A DynamoDB client that talks to the server itself."""
    return boto3.client("dynamodb", region_name=REGION, endpoint_url=url)


def items(url: str, table_name: str) -> dict[tuple[str, str], dict[str, Any]]:
    """Every item of a key store's table, by key id and type."""
    found = dynamodb(url).scan(TableName=table_name)["Items"]
    return {(one["branch-key-id"]["S"], one["type"]["S"]): one for one in found}
