"""What tests are given as DynamoDB writes what it is told to write at once as a whole."""

from __future__ import annotations

import secrets
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import pytest
from botocore.config import Config

from tests.servers.moto import REGION, Kms

THREADS = 4
IF_FIRST = {
    "ConditionExpression": "#version = :version",
    "ExpressionAttributeNames": {"#version": "version"},
    "ExpressionAttributeValues": {":version": {"S": "first"}},
}


@pytest.fixture
def clients(kms: Kms) -> list[Any]:
    config = Config(retries={"mode": "standard", "total_max_attempts": 1})
    url = kms.dynamodb_url
    return [
        boto3.client("dynamodb", region_name=REGION, endpoint_url=url, config=config)
        for _ in range(THREADS)
    ]


@pytest.fixture
def table(clients: list[Any]) -> str:
    name = f"items-{secrets.token_hex(6)}"
    clients[0].create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    return name


def test_of_transactions_that_replace_an_item_at_once_one_does(clients, table):
    for number in range(10):
        first = {"id": {"S": f"item {number}"}, "version": {"S": "first"}}
        clients[0].put_item(TableName=table, Item=first)
        start = threading.Barrier(THREADS)

        def replace(client: Any, mine: str, first: Any = first, start: Any = start) -> str | None:
            replaced = {**first, "version": {"S": mine}}
            own = {"id": {"S": f"{first['id']['S']} of {mine}"}}
            writes = [{"TableName": table, "Item": replaced, **IF_FIRST}, _put(table, own)]
            start.wait()
            try:
                client.transact_write_items(TransactItems=[{"Put": write} for write in writes])
            except client.exceptions.TransactionCanceledException:
                return None
            return mine

        with ThreadPoolExecutor(THREADS) as threads:
            done = list(threads.map(replace, clients, map(str, range(THREADS))))
        (winner,) = [one for one in done if one is not None]
        found = clients[0].scan(TableName=table)["Items"]
        texts = {item["id"]["S"]: item.get("version", {}).get("S") for item in found}
        mine = {name: text for name, text in texts.items() if name.startswith(f"item {number}")}
        assert mine == {f"item {number}": winner, f"item {number} of {winner}": None}


def _put(table: str, item: dict[str, Any]) -> dict[str, Any]:
    return {"TableName": table, "Item": item}
