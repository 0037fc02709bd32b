"""What moto's KMS and LocalStack's disagree on, as the README of this folder lists it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from tests.servers import localstack
from tests.servers.moto import Kms

WORKS = "works"
CONTEXT = {"a": "b"}
AWAY = "us-east-1"


@dataclass
class Situation:
    """Two keys of KMS, and a ciphertext under the first."""

    kms: Kms
    multi_region: bool = False

    @cached_property
    def client(self) -> Any:
        config = boto3.session.Config(retries={"total_max_attempts": 1})
        return boto3.client("kms", endpoint_url=self.kms.url, config=config)

    @cached_property
    def key(self) -> str:
        return self.kms.create_key(multi_region=self.multi_region)

    @property
    def key_id(self) -> str:
        return self.key.rpartition("/")[2]

    @cached_property
    def other(self) -> str:
        return self.kms.create_key()

    @cached_property
    def ciphertext(self) -> bytes:
        answer = self.client.encrypt(KeyId=self.key, Plaintext=b"x", EncryptionContext=CONTEXT)
        sealed: bytes = answer["CiphertextBlob"]
        return sealed

    def decrypt(
        self, key: str, ciphertext: bytes | None = None, context: dict[str, str] = CONTEXT
    ) -> None:
        self.client.decrypt(
            KeyId=key, CiphertextBlob=ciphertext or self.ciphertext, EncryptionContext=context
        )

    def re_encrypt(self, **source: str) -> None:
        self.client.re_encrypt(
            CiphertextBlob=self.ciphertext,
            SourceEncryptionContext=CONTEXT,
            DestinationKeyId=self.other,
            DestinationEncryptionContext=CONTEXT,
            **source,
        )

    def altered(self, at: int) -> bytes:
        changed = bytearray(self.ciphertext)
        changed[at] ^= 1
        return bytes(changed)


def replica(one: Situation) -> None:
    ciphertext, arn = one.ciphertext, one.kms.replicate_key(one.key, AWAY)
    away = one.kms.client(AWAY)
    away.decrypt(KeyId=arn, CiphertextBlob=ciphertext, EncryptionContext=CONTEXT)


def replica_twice(one: Situation) -> None:
    one.kms.replicate_key(one.key, AWAY)
    one.client.replicate_key(KeyId=one.key, ReplicaRegion=AWAY)


def disabled(one: Situation) -> None:
    ciphertext = one.ciphertext
    one.client.disable_key(KeyId=one.key_id)
    one.decrypt(one.key, ciphertext)


def deleted(one: Situation) -> None:
    ciphertext = one.ciphertext
    one.client.schedule_key_deletion(KeyId=one.key_id, PendingWindowInDays=7)
    one.decrypt(one.key, ciphertext)


def multi_region(ask: Callable[[Situation], None]) -> Callable[[Situation], None]:
    return lambda one: ask(Situation(one.kms, multi_region=True))


ANSWERS: dict[str, tuple[Callable[[Situation], None], str, str]] = {
    # what is asked: how, what moto answers, what LocalStack does
    "multi-Region key": (
        multi_region(lambda one: one.decrypt(one.key)),
        "AccessDeniedException",
        WORKS,
    ),
    "replica": (multi_region(replica), "AccessDeniedException", WORKS),
    "replica twice": (multi_region(replica_twice), "500", "AlreadyExistsException"),
    "another key": (
        lambda one: one.decrypt(one.other),
        "AccessDeniedException",
        "IncorrectKeyException",
    ),
    "altered key id": (
        lambda one: one.decrypt(one.key, one.altered(0)),
        "AccessDeniedException",
        "IncorrectKeyException",
    ),
    "disabled key": (disabled, WORKS, "DisabledException"),
    "key to be deleted": (deleted, WORKS, "KMSInvalidStateException"),
    "disabling by ARN": (lambda one: one.client.disable_key(KeyId=one.key), "500", WORKS),
    "ReEncrypt from another key": (
        lambda one: one.re_encrypt(SourceKeyId=one.other),
        WORKS,
        "IncorrectKeyException",
    ),
    "ReEncrypt without a source key": (lambda one: one.re_encrypt(), WORKS, "InternalError"),
    # What they agree on.
    "its own key": (lambda one: one.decrypt(one.key), WORKS, WORKS),
    "ReEncrypt": (lambda one: one.re_encrypt(SourceKeyId=one.key), WORKS, WORKS),
    "another context": (
        lambda one: one.decrypt(one.key, context={"a": "c"}),
        *2 * ("InvalidCiphertextException",),
    ),
    "altered ciphertext": (
        lambda one: one.decrypt(one.key, one.altered(-1)),
        *2 * ("InvalidCiphertextException",),
    ),
    "no such key": (
        lambda one: one.decrypt(one.key[:-4] + "0000"),
        *2 * ("NotFoundException",),
    ),
    "key of another region": (
        lambda one: one.decrypt(one.kms.create_key(AWAY)),
        *2 * ("NotFoundException",),
    ),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_emulator_answers_as_is_listed(name: str, kms: Kms) -> None:
    ask, moto, second = ANSWERS[name]
    try:
        ask(Situation(kms))
        answer = WORKS
    except ClientError as error:
        answer = error.response["Error"]["Code"]
    assert answer == (moto if localstack.python() is None else second)
