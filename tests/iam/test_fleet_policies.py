"""The policy documents for AWS's key store: what they allow is what is really sent."""

from __future__ import annotations

import fnmatch
import re
import secrets
from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from encfields import DynamoDbKeyStore, SqlKeyStore, keyrings
from encfields.keys.cache.key_cache import KeyCache
from encfields.keys.dynamodb.export import export_keys
from tests.iam.test_policies import document, many
from tests.servers.backends import Backend
from tests.servers.kms_proxy import KmsProxy

DOCUMENTS = ("fleet-application", "fleet-key-administrator")
TABLE = "BranchKeys"
"""The table, and the key store's logical name, in the documents."""

ARNS = re.compile(r"arn:aws:(kms|dynamodb):eu-west-1:111122223333:(key/[0-9a-f-]{36}|table/\w+)")
IAM_ACTIONS = {"TransactWriteItems": ["PutItem"], "ReEncrypt": ["ReEncryptFrom", "ReEncryptTo"]}
"""Calls whose permissions have other names: AWS's "Actions, resources, and condition keys"."""


@pytest.fixture
def dynamodb_proxy(kms) -> Iterator[KmsProxy]:
    proxy = KmsProxy(kms.dynamodb_url)
    yield proxy
    proxy.stop()


@pytest.fixture
def table_name() -> str:
    return f"keys-{secrets.token_hex(6)}"


@pytest.fixture
def store(kms, kms_proxy, dynamodb_proxy, table_name) -> DynamoDbKeyStore:
    arn = kms.create_key()
    return DynamoDbKeyStore(
        keyrings.aws_kms(arn), table_name, name=TABLE, endpoint_url=dynamodb_proxy.url
    )


def allows(name: str, service: str, action: str, context: dict[str, str]) -> bool:
    """Whether IAM would let an action on one of the document's own resources through."""
    return any(
        f"{service}:{action}" in many(statement["Action"])
        and all(
            any(fnmatch.fnmatchcase(context.get(key, ""), pattern) for pattern in many(patterns))
            for pairs in statement.get("Condition", {}).values()
            for key, patterns in pairs.items()
        )
        for statement in document(name)["Statement"]
    )


def refused(name: str, kms_proxy: KmsProxy, dynamodb_proxy: KmsProxy) -> set[str]:
    """What was sent and is not allowed."""
    found = set()
    for service, proxy in (("kms", kms_proxy), ("dynamodb", dynamodb_proxy)):
        for call in proxy.calls:
            for action in IAM_ACTIONS.get(call.action, [call.action]):
                for context in contexts(service, action, call.request):
                    if not allows(name, service, action, context):
                        found.add(f"{service}:{action} {context}")
    return found


def contexts(service: str, action: str, request: dict[str, Any]) -> list[dict[str, str]]:
    """The condition keys that AWS would compare."""
    if service == "kms":
        part = {"ReEncryptFrom": "Source", "ReEncryptTo": "Destination"}.get(action, "")
        pairs = request[f"{part}EncryptionContext"]
        return [{f"kms:EncryptionContext:{name}": text for name, text in pairs.items()}]
    asked = [one for table in request.get("RequestItems", {}).values() for one in table["Keys"]]
    if asked:
        return [{"dynamodb:LeadingKeys": one["branch-key-id"]["S"]} for one in asked]
    key = request.get("Key", {}).get("branch-key-id", {}).get("S")
    key = key or request.get("ExpressionAttributeValues", {}).get(":id", {}).get("S", "")
    return [{"dynamodb:LeadingKeys": key}]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_names_actions_and_resources_of_aws(name):
    known = {
        f"{service}:{operation}"
        for service in ("kms", "dynamodb")
        for operation in boto3.client(service, "eu-west-1").meta.service_model.operation_names
    } | {"kms:ReEncryptFrom", "kms:ReEncryptTo"}
    policy = document(name)
    assert policy["Version"] == "2012-10-17"
    for statement in policy["Statement"]:
        assert set(many(statement["Action"])) <= known
        services = {action.partition(":")[0] for action in many(statement["Action"])}
        for resource in many(statement["Resource"]):
            found = ARNS.fullmatch(resource)
            assert found is not None
            assert {found[1]} == services
        if services == {"kms"}:
            assert statement["Condition"]["StringEquals"] == {
                "kms:EncryptionContext:tablename": TABLE
            }


def test_an_application_gets_by_with_its_document(store, kms_proxy, dynamodb_proxy):
    store.create_table()
    for key_id in ("default", "tenant/1", "tenant/2"):
        store.create(key_id)
    store.destroy("tenant/2")
    kms_proxy.reset()
    dynamodb_proxy.reset()
    cache = KeyCache(store)
    cache.prefetch(["default", "tenant/1"], beacons=True)
    cache.prefetch()
    with pytest.raises(Exception, match="destroyed on"):
        cache.active("tenant/2")

    assert {call.action for call in dynamodb_proxy.calls} == {"BatchGetItem", "GetItem", "Scan"}
    assert refused("fleet-application", kms_proxy, dynamodb_proxy) == set()


def test_the_administrator_gets_by_with_its_document(
    store, kms, kms_proxy, dynamodb_proxy, sqlite: Backend
):
    source = SqlKeyStore(keyrings.local(bytes(32)), engine=sqlite.create_engine())
    source.create_table()
    source.create("exported")
    store.create_table()
    store.create("default")
    store.rotate("default")
    store.list()
    assert [one.id for one in export_keys(source, store)] == ["exported"]
    store.rewrap(keyrings.aws_kms(kms.create_key()))
    store.destroy("default")

    assert refused("fleet-key-administrator", kms_proxy, dynamodb_proxy) == set()
    sent = {call.action for call in kms_proxy.calls}
    assert sent == {"GenerateDataKeyWithoutPlaintext", "ReEncrypt", "Decrypt", "Encrypt"}


def test_an_application_may_neither_wrap_nor_write_nor_use_other_tables_keys():
    context = {
        "kms:EncryptionContext:tablename": TABLE,
        "kms:EncryptionContext:branch-key-id": "tenant/42",
        "dynamodb:LeadingKeys": "tenant/42",
    }
    application = "fleet-application"
    assert allows(application, "kms", "Decrypt", context)
    assert allows(application, "dynamodb", "GetItem", context)
    for action in ("Encrypt", "GenerateDataKeyWithoutPlaintext", "ReEncryptFrom"):
        assert not allows(application, "kms", action, context)
    for action in ("PutItem", "DeleteItem", "UpdateItem"):
        assert not allows(application, "dynamodb", action, context)
    for other in (
        {**context, "kms:EncryptionContext:tablename": "Others"},
        {**context, "kms:EncryptionContext:branch-key-id": "payroll"},
    ):
        assert not allows(application, "kms", "Decrypt", other)
    assert not allows(
        application, "dynamodb", "GetItem", {**context, "dynamodb:LeadingKeys": "payroll"}
    )
