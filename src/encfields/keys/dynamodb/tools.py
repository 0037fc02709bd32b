"""What one thread needs to use AWS's key store: the library, its models and boto3's clients."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from encfields.keys.aws.clients import ClientOptions
from encfields.keys.keyrings.aws_kms import AwsKmsKeyring


@dataclass(frozen=True, slots=True)
class Tools:
    """One thread's way to the store.

    :ivar libraries: AWS's ``KeyStore`` for the KMS key that wraps, then for each former one.
    :ivar models: the library's module of its operations' arguments.
    :ivar dynamodb: boto3's client.
    :ivar kms: boto3's client, of the KMS key that wraps.
    """

    libraries: tuple[Any, ...]
    models: Any
    dynamodb: Any
    kms: Any

    @property
    def library(self) -> Any:
        """AWS's ``KeyStore`` for the KMS key that wraps."""
        return self.libraries[0]


class ToolMaker:
    """Makes tools, once for each thread and process: boto3's connections survive no fork.

    :param keyrings: of one KMS key each: the one that wraps, then former ones.
    :param options: how DynamoDB is reached.
    """

    def __init__(
        self,
        keyrings: Sequence[AwsKmsKeyring],
        table_name: str,
        logical_name: str,
        region: str,
        options: ClientOptions,
    ) -> None:
        self._keyrings = tuple(keyrings)
        self._table_name = table_name
        self._logical_name = logical_name
        self._region = region
        self._options = options
        self._built = threading.local()

    def tools(self) -> Tools:
        """This thread's own."""
        pid, tools = getattr(self._built, "entry", (None, None))
        if tools is None or pid != os.getpid():
            tools = self._build()
            self._built.entry = (os.getpid(), tools)
        return tools

    def _build(self) -> Tools:
        from aws_cryptographic_material_providers.keystore import models

        dynamodb = self._options.client(self._region, "dynamodb")
        clients = [one.options.client(one.arns[0].split(":")[3]) for one in self._keyrings]
        libraries = tuple(
            self._library(keyring, dynamodb, kms)
            for keyring, kms in zip(self._keyrings, clients, strict=True)
        )
        return Tools(libraries, models, dynamodb, clients[0])

    def _library(self, keyring: AwsKmsKeyring, dynamodb: Any, kms: Any) -> Any:
        from aws_cryptographic_material_providers.keystore import client, config, models

        (arn,) = keyring.arns
        return client.KeyStore(
            config=config.KeyStoreConfig(
                ddb_table_name=self._table_name,
                logical_key_store_name=self._logical_name,
                kms_configuration=models.KMSConfigurationKmsMRKeyArn(arn)
                if keyring.multi_region
                else models.KMSConfigurationKmsKeyArn(arn),
                ddb_client=dynamodb,
                kms_client=kms,
            )
        )
