"""The DynamoDB table of AWS's key store: its items, and what one thread needs to reach it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from encfields.errors import EncFieldsError
from encfields.keys.aws.clients import ClientOptions
from encfields.keys.aws.kms_calls import kms_calls
from encfields.keys.dynamodb import items
from encfields.keys.dynamodb.failures import explain
from encfields.keys.keyrings.aws_kms import AwsKmsKeyring
from encfields.keys.store import KeyVersion

T = TypeVar("T")

_PUBLIC = {
    "ProjectionExpression": "#id, #type, #version, #created, #destroyed",
    "ExpressionAttributeNames": {
        "#id": items.KEY_ID,
        "#type": items.TYPE,
        "#version": items.VERSION,
        "#created": items.CREATED,
        "#destroyed": items.DESTROYED,
    },
}
"""Reads of every attribute but what is wrapped."""


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


class ItemTable:
    """The items of a table.

    :param keyrings: of one KMS key each: the one that wraps, then former ones.
    :param name: of the DynamoDB table.
    :param logical_name: the key store's, to which KMS binds every key.
    :param region: of the table.
    :param options: how DynamoDB is reached.
    :ivar kms_arn: the KMS key that wraps.
    """

    def __init__(
        self,
        keyrings: Sequence[AwsKmsKeyring],
        name: str,
        logical_name: str,
        region: str,
        options: ClientOptions,
    ) -> None:
        self.name = name
        self.logical_name = logical_name
        (self.kms_arn,) = keyrings[0].arns
        self._keyrings = tuple(keyrings)
        self._region = region
        self._options = options
        self._built = threading.local()

    # -- items ---------------------------------------------------------------------------------

    def item_at(self, key_id: str, name: str) -> items.Item | None:
        """One whole item.

        :param name: its ``type``.
        """

        def get(tools: Tools) -> Any:
            key = {items.KEY_ID: {"S": key_id}, items.TYPE: {"S": name}}
            return tools.dynamodb.get_item(TableName=self.name, Key=key, ConsistentRead=True).get(
                "Item"
            )

        found: items.Item | None = self.run(get, key_id)
        return found

    def items_of(self, key_id: str) -> items.Items:
        """What the items of one key say of themselves, without what they wrap."""

        def query(tools: Tools) -> items.Items:
            pages = tools.dynamodb.get_paginator("query").paginate(
                TableName=self.name,
                ConsistentRead=True,
                KeyConditionExpression="#id = :id",
                ExpressionAttributeValues={":id": {"S": key_id}},
                **_PUBLIC,
            )
            return [one for page in pages for one in page["Items"]]

        return self.run(query, key_id)

    def versions_of(self, key_id: str) -> list[KeyVersion]:
        """The branch key versions of one key."""
        return items.versions(self.items_of(key_id))

    def scan(self) -> items.Items:
        """What all items say of themselves, without what they wrap."""

        def scan(tools: Tools) -> items.Items:
            pages = tools.dynamodb.get_paginator("scan").paginate(
                TableName=self.name, ConsistentRead=True, **_PUBLIC
            )
            return [one for page in pages for one in page["Items"]]

        return self.run(scan)

    def places(self) -> list[tuple[str, str]]:
        """Branch key id and ``type`` of every item."""
        return sorted((one[items.KEY_ID]["S"], one[items.TYPE]["S"]) for one in self.scan())

    def create(self) -> None:
        """Make the table unless it is there (on demand, not provisioned), and wait for it."""

        def make(tools: Tools) -> None:
            tools.library.create_key_store(tools.models.CreateKeyStoreInput())
            waiter = tools.dynamodb.get_waiter("table_exists")
            waiter.wait(TableName=self.name, WaiterConfig={"Delay": 1, "MaxAttempts": 60})

        self.run(make)

    # -- how it is reached ---------------------------------------------------------------------

    def run(self, work: Callable[[Tools], T], key_id: str | None = None) -> T:
        """Do `work` with this thread's tools.

        :raises Conflict: a write's condition did not hold.
        :raises EncFieldsError: whatever else went wrong, in this library's terms.
        """
        failure: Exception
        with kms_calls() as faults:
            try:
                return work(self.tools())
            except EncFieldsError:
                raise
            except Exception as error:
                failure = explain(error, faults, key_id, self.name)
        # Raised out here, so that the library's own exception is not chained to ours.
        raise failure

    def tools(self) -> Tools:
        """This thread's own, in this process: boto3's connections survive no fork."""
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
                ddb_table_name=self.name,
                logical_key_store_name=self.logical_name,
                kms_configuration=models.KMSConfigurationKmsMRKeyArn(arn)
                if keyring.multi_region
                else models.KMSConfigurationKmsKeyArn(arn),
                ddb_client=dynamodb,
                kms_client=kms,
            )
        )
