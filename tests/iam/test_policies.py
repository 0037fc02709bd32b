"""The policy documents: AWS's syntax, AWS's actions, and what encfields really sends."""

from __future__ import annotations

import fnmatch
import json
import re
from pathlib import Path
from typing import Any

import boto3
import pytest

from encfields import SqlKeyStore, keyrings
from encfields.keys.keyrings.wrapping import Purpose, WrappingContext
from tests.servers.backends import Backend

FOLDER = Path(__file__).parents[2] / "docs" / "iam"
IDENTITY = ("application-reader", "application-writer", "key-administrator")
DOCUMENTS = (*IDENTITY, "key-policy")

PAIRS = re.compile(r"kms:EncryptionContext:(enc:[a-z-]+)")
ARN = re.compile(
    r"arn:aws:kms:[a-z]{2}-[a-z]+-\d:\d{12}:key/" + r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
)
OPERATORS = {"StringEquals", "StringLike", "Null"}
ELEMENTS = {"Sid", "Effect", "Principal", "Action", "Resource", "Condition"}


def document(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    return loaded


def many(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def allows(name: str, action: str, arn: str, context: dict[str, str], role: str = "") -> bool:
    """What IAM would answer: an explicit Deny wins, and what nothing allows is denied."""
    matching = [s for s in document(name)["Statement"] if matches(s, action, arn, context, role)]
    effects = {statement["Effect"] for statement in matching}
    return effects == {"Allow"}


def matches(statement: Any, action: str, arn: str, context: dict[str, str], role: str) -> bool:
    principal = statement.get("Principal", {}).get("AWS", "*")
    return (
        action in many(statement["Action"])
        and any(one in ("*", arn) for one in many(statement["Resource"]))
        and (principal == "*" or principal.endswith(f"role/{role}"))
        and all(
            holds(operator, key, many(values), context)
            for operator, pairs in statement.get("Condition", {}).items()
            for key, values in pairs.items()
        )
    )


def holds(operator: str, key: str, values: list[str], context: dict[str, str]) -> bool:
    found = context.get(key.removeprefix("kms:EncryptionContext:"))
    if operator == "Null":
        return (found is None) == (values == ["true"])
    if found is None:
        return False
    if operator == "StringLike":
        return any(fnmatch.fnmatchcase(found, pattern) for pattern in values)
    return found in values


def arns(name: str) -> list[str]:
    """The wrapping keys of a document: eu-west-1, the first one, then eu-central-1."""
    found = set(re.findall(r"arn:aws:kms:[^\"]+", json.dumps(document(name))))
    return sorted(found, reverse=True)


def context(key_id: str = "default", purpose: Purpose = "branch-key") -> dict[str, str]:
    return WrappingContext("production", key_id, "any", 1, purpose).pairs()


def test_every_document_is_tested():
    # Those for AWS's key store are tested in test_fleet_policies.py.
    found = {path.stem for path in FOLDER.glob("*.json")}
    assert {name for name in found if not name.startswith("fleet-")} == set(DOCUMENTS)
    readme = (FOLDER / "README.md").read_text("utf-8")
    assert all(f"({name}.json)" in readme for name in found)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_is_of_the_policy_grammar(name):
    """IAM's "Grammar of the IAM JSON policy language"."""
    policy = document(name)
    assert policy["Version"] == "2012-10-17"
    assert set(policy) <= {"Version", "Id", "Statement"}
    sids = [statement["Sid"] for statement in policy["Statement"]]
    assert len(set(sids)) == len(sids)
    for statement in policy["Statement"]:
        assert set(statement) <= ELEMENTS
        assert re.fullmatch(r"[A-Za-z0-9]+", statement["Sid"])
        assert statement["Effect"] in ("Allow", "Deny")
        assert ("Principal" in statement) == (name not in IDENTITY)
        assert set(statement.get("Condition", {})) <= OPERATORS
        for resource in many(statement["Resource"]):
            assert ARN.fullmatch(resource) or (name not in IDENTITY and resource == "*")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_its_actions_are_kmss(name):
    """As botocore's model of the service names them."""
    client = boto3.client("kms", region_name="eu-west-1")
    known = {f"kms:{operation}" for operation in client.meta.service_model.operation_names}
    for statement in document(name)["Statement"]:
        assert set(many(statement["Action"])) <= known


@pytest.mark.parametrize("name", DOCUMENTS)
def test_its_conditions_are_on_pairs_that_are_really_sent(name):
    used = set(PAIRS.findall(json.dumps(document(name))))
    assert used <= set(context())
    assert used


@pytest.mark.parametrize("name", DOCUMENTS)
def test_nobody_who_uses_a_key_may_use_it_without_a_condition(name):
    for statement in document(name)["Statement"]:
        uses = {"kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey", "kms:*"}
        if uses & set(many(statement["Action"])):
            assert statement["Condition"]


def test_the_policy_is_taken_by_the_kms_server(kms):
    policy = json.dumps(document("key-policy"))
    made = kms.client().create_key(Policy=policy)["KeyMetadata"]["KeyId"]
    stored = kms.client().get_key_policy(KeyId=made, PolicyName="default")["Policy"]
    assert json.loads(stored) == document("key-policy")


def place(call: Any, made: tuple[str, str], name: str) -> str:
    """The document's ARN for the key that a call names."""
    return arns(name)[made.index(call.request["KeyId"])]


def test_an_application_gets_by_with_its_document(kms, kms_proxy, sqlite: Backend):
    made = kms.create_key("eu-west-1"), kms.create_key("eu-central-1")
    store = SqlKeyStore(keyrings.aws_kms(*made), engine=sqlite.create_engine())
    store.create_table()
    store.create("default")
    kms_proxy.reset()
    store.active("default")
    store.beacon("default")
    assert [call.action for call in kms_proxy.calls] == 2 * ["Decrypt"]
    for call in kms_proxy.calls:
        arn = place(call, made, "application-writer")
        sent = call.request["EncryptionContext"]
        assert allows("application-writer", f"kms:{call.action}", arn, sent)
        assert allows("key-policy", f"kms:{call.action}", "*", sent, "clinic-application")


def test_the_administrator_gets_by_with_its_document(kms, kms_proxy, sqlite: Backend):
    made = kms.create_key("eu-west-1"), kms.create_key("eu-central-1")
    store = SqlKeyStore(keyrings.aws_kms(*made), engine=sqlite.create_engine())
    store.create_table()
    store.create("default")
    store.rotate("default")
    store.active("default")
    assert {call.action for call in kms_proxy.calls} == {"GenerateDataKey", "Encrypt", "Decrypt"}
    for call in kms_proxy.calls:
        arn = place(call, made, "key-administrator")
        sent = call.request["EncryptionContext"]
        assert allows("key-administrator", f"kms:{call.action}", arn, sent)
        assert allows("key-policy", f"kms:{call.action}", "*", sent, "clinic-key-administrator")


def test_an_application_may_not_wrap_or_open_what_is_not_named():
    for name in ("application-reader", "application-writer"):
        (first, *_) = arns(name)
        assert allows(name, "kms:Decrypt", first, context())
        assert not allows(name, "kms:Encrypt", first, context())
        assert not allows(name, "kms:GenerateDataKey", first, context())
        assert not allows(name, "kms:Decrypt", first, context("payroll"))
        assert not allows(name, "kms:Decrypt", first, {})
    assert not allows("application-reader", "kms:Decrypt", first, context(purpose="beacon-key"))
    assert allows("application-writer", "kms:Decrypt", first, context("tenant/42"))


def test_the_key_itself_refuses_other_roles_and_other_contexts():
    assert not allows("key-policy", "kms:Decrypt", "*", context(), "somebody-else")
    assert not allows("key-policy", "kms:Decrypt", "*", {}, "clinic-application")
    assert not allows("key-policy", "kms:GenerateDataKey", "*", {}, "clinic-key-administrator")
    assert not allows("key-policy", "kms:Encrypt", "*", context(), "clinic-application")
