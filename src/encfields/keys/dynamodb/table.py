"""The DynamoDB table of AWS's key store: its items, and each thread's clients."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any, TypeVar

from encfields.errors import EncFieldsError, KeyUnavailableError
from encfields.keys.aws.clients import ClientOptions
from encfields.keys.aws.kms_calls import kms_calls
from encfields.keys.dynamodb import items
from encfields.keys.dynamodb.failures import explain
from encfields.keys.keyrings.aws_kms import AwsKmsKeyring
from encfields.keys.versions import KeyVersion

T = TypeVar("T")

MAX_IN_BATCH = 100
"""Most items that one DynamoDB request reads."""

FIRST_PAUSE = 0.05
"""Seconds before requesting again what DynamoDB omitted from a batch; doubled each time."""

MAX_BATCH_TRIES = 6
"""Most repetitions."""

_PUBLIC = {
    "ProjectionExpression": "#id, #type, #version, #created, #destroyed",
    "ExpressionAttributeNames": {
        "#id": items.KEY_ID,
        "#type": items.TYPE,
        "#version": items.VERSION,
        "#created": items.CREATED,
        "#destroyed": items.DESTROYED_AT,
    },
}
"""Options that read every attribute except the wrapped key."""


@dataclass(frozen=True, slots=True)
class ThreadClients:
    """One thread's clients of the store.

    :ivar libraries: AWS's ``KeyStore`` for the wrapping KMS key, then for each former one.
    :ivar models: the library's module of argument classes.
    :ivar dynamodb: a :class:`RememberingClient`.
    :ivar kms: boto3's client for the wrapping KMS key.
    """

    libraries: tuple[Any, ...]
    models: Any
    dynamodb: Any
    kms: Any

    @property
    def library(self) -> Any:
        """AWS's ``KeyStore`` for the wrapping KMS key."""
        return self.libraries[0]


class RememberingClient:
    """boto3's DynamoDB client for one thread, which can return an item that was just read without a
    request: AWS's library opens keys one by one, but we read many at once.

    :param client: boto3's.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._read: items.Item | None = None
        self._seen: str | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    @contextmanager
    def having_read(self, item: items.Item | None) -> Iterator[None]:
        """Within it, return this item when it is requested."""
        before, self._read = self._read, item
        try:
            yield
        finally:
            self._read = before

    def get_item(self, **request: Any) -> Any:
        """As boto3's."""
        read, key = self._read, request["Key"]
        if read is not None and all(read[name] == key[name] for name in key):
            return {"Item": read}
        return self._client.get_item(**request)

    @contextmanager
    def replacing(self, version: str) -> Iterator[None]:
        """Within it, let a transaction replace the active item only if it is of this version."""
        self._seen = version
        try:
            yield
        finally:
            self._seen = None

    def transact_write_items(self, **request: Any) -> Any:
        """As boto3's."""
        if self._seen is not None:
            for write in request["TransactItems"]:
                put = write["Put"]
                if put["Item"][items.TYPE] == {"S": items.ACTIVE_TYPE}:
                    put.update(items.replaces(self._seen))
        return self._client.transact_write_items(**request)


def _get_batches(tools: ThreadClients, table: str, key_ids: Sequence[str], name: str) -> Any:
    items_by_key: dict[str, items.Item] = {}
    for start in range(0, len(key_ids), MAX_IN_BATCH):
        keys = [
            {items.KEY_ID: {"S": key_id}, items.TYPE: {"S": name}}
            for key_id in key_ids[start : start + MAX_IN_BATCH]
        ]
        for tries in count():
            answer = tools.dynamodb.batch_get_item(
                RequestItems={table: {"Keys": keys, "ConsistentRead": True}}
            )
            items_by_key |= {
                item[items.KEY_ID]["S"]: item for item in answer["Responses"].get(table, [])
            }
            keys = answer.get("UnprocessedKeys", {}).get(table, {}).get("Keys", [])
            if not keys:
                break
            if tries == MAX_BATCH_TRIES:
                raise KeyUnavailableError(
                    "DynamoDB throttles requests; retry later or raise the quota",
                    reason="throttled",
                )
            time.sleep(FIRST_PAUSE * 2**tries)
    return items_by_key


class ItemTable:
    """The items of a table.

    :param keyrings: with one KMS key each: the wrapping one, then former ones.
    :param name: of the DynamoDB table.
    :param logical_name: the key store's, to which KMS binds every key.
    :param region: of the table.
    :param options: options of the DynamoDB client.
    :ivar kms_arn: the wrapping KMS key.
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
        self._may_batch = True

    # -- items ---------------------------------------------------------------------------------

    def item_at(self, key_id: str, name: str) -> items.Item | None:
        """One whole item.

        :param name: its ``type``.
        """

        def get(tools: ThreadClients) -> Any:
            key = {items.KEY_ID: {"S": key_id}, items.TYPE: {"S": name}}
            return tools.dynamodb.get_item(TableName=self.name, Key=key, ConsistentRead=True).get(
                "Item"
            )

        item: items.Item | None = self.run(get, key_id)
        return item

    def items_at(self, key_ids: Collection[str], name: str) -> dict[str, items.Item]:
        """One whole item of each of many keys, :data:`MAX_IN_BATCH` in a request, or one by one if
        IAM does not grant ``dynamodb:BatchGetItem``. Missing ones are omitted.

        :param name: their ``type``.
        """
        ids = sorted(key_ids)
        if len(ids) > 1 and self._may_batch:
            try:
                return self.run(partial(_get_batches, table=self.name, key_ids=ids, name=name))
            except KeyUnavailableError as error:
                if error.reason != "denied":
                    raise
                self._may_batch = False
        items_by_key = {key_id: self.item_at(key_id, name) for key_id in ids}
        return {key_id: item for key_id, item in items_by_key.items() if item is not None}

    def items_of(self, key_id: str) -> items.Items:
        """The items of one key without their wrapped keys."""

        def query(tools: ThreadClients) -> items.Items:
            pages = tools.dynamodb.get_paginator("query").paginate(
                TableName=self.name,
                ConsistentRead=True,
                KeyConditionExpression="#id = :id",
                ExpressionAttributeValues={":id": {"S": key_id}},
                **_PUBLIC,
            )
            return [item for page in pages for item in page["Items"]]

        return self.run(query, key_id)

    def versions_of(self, key_id: str) -> list[KeyVersion]:
        """The branch key versions of one key."""
        return items.versions(self.items_of(key_id))

    def scan(self) -> items.Items:
        """All items without their wrapped keys."""

        def scan(tools: ThreadClients) -> items.Items:
            pages = tools.dynamodb.get_paginator("scan").paginate(
                TableName=self.name, ConsistentRead=True, **_PUBLIC
            )
            return [item for page in pages for item in page["Items"]]

        return self.run(scan)

    def places(self) -> list[tuple[str, str]]:
        """Branch key id and ``type`` of every item."""
        return sorted((item[items.KEY_ID]["S"], item[items.TYPE]["S"]) for item in self.scan())

    def create(self) -> None:
        """Make the table unless it is there (on demand, not provisioned), and wait for it."""

        def make(tools: ThreadClients) -> None:
            tools.library.create_key_store(tools.models.CreateKeyStoreInput())
            waiter = tools.dynamodb.get_waiter("table_exists")
            waiter.wait(TableName=self.name, WaiterConfig={"Delay": 1, "MaxAttempts": 60})

        self.run(make)

    # -- how it is reached ---------------------------------------------------------------------

    def run(
        self,
        work: Callable[[ThreadClients], T],
        key_id: str | None = None,
        *,
        given: items.Item | None = None,
    ) -> T:
        """Do `work` with this thread's tools.

        :param given: an item that was read already, and is not to be asked for again.
        :raises Conflict: a write's condition did not hold.
        :raises EncFieldsError: whatever else went wrong, in this library's terms.
        """
        failure: Exception
        with kms_calls() as faults:
            try:
                tools = self.tools()
                with tools.dynamodb.having_read(given):
                    return work(tools)
            except EncFieldsError:
                raise
            except Exception as error:
                failure = explain(error, faults, key_id, self.name)
        # Raised out here, so that the library's own exception is not chained to ours.
        raise failure

    def tools(self) -> ThreadClients:
        """This thread's clients, in this process: boto3's connections do not survive a fork."""
        pid, tools = getattr(self._built, "entry", (None, None))
        if tools is None or pid != os.getpid():
            tools = self._build()
            self._built.entry = (os.getpid(), tools)
        return tools

    def _build(self) -> ThreadClients:
        from aws_cryptographic_material_providers.keystore import models

        dynamodb = RememberingClient(self._options.client(self._region, "dynamodb"))
        clients = [
            keyring.options.client(keyring.arns[0].split(":")[3]) for keyring in self._keyrings
        ]
        libraries = tuple(
            self._library(keyring, dynamodb, kms)
            for keyring, kms in zip(self._keyrings, clients, strict=True)
        )
        return ThreadClients(libraries, models, dynamodb, clients[0])

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
