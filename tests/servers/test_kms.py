"""What tests are given as KMS is a server reached by boto3, counted and failing on demand."""

from __future__ import annotations

from collections import Counter

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EndpointConnectionError, HTTPClientError

from tests.servers.kms_proxy import KmsProxy
from tests.servers.moto import REGION, Kms

RETRIES = {"mode": "standard", "total_max_attempts": 1}
ONE_ATTEMPT = Config(connect_timeout=2, retries=RETRIES)


@pytest.fixture
def client(kms_proxy: KmsProxy):
    """A KMS client that was told of no endpoint, as an application's is not."""
    return boto3.client("kms", region_name=REGION, config=ONE_ATTEMPT)


def test_keys_made_by_the_fixture_encrypt_and_decrypt(kms: Kms) -> None:
    arn = kms.create_key()
    answer = kms.client().encrypt(KeyId=arn, Plaintext=b"data key")
    assert kms.client().decrypt(CiphertextBlob=answer["CiphertextBlob"])["Plaintext"] == b"data key"


def test_a_key_lives_in_its_region(kms: Kms) -> None:
    arn = kms.create_key("us-east-1")
    assert arn.startswith("arn:aws:kms:us-east-1:")
    with pytest.raises(ClientError, match="NotFound"):
        kms.client("eu-west-1").describe_key(KeyId=arn.rpartition("/")[2])


def test_a_multi_region_key_is_replicated(kms: Kms) -> None:
    arn = kms.create_key("us-east-1", multi_region=True)
    replica = kms.replicate_key(arn, "eu-west-1")
    assert arn.split("/")[1].startswith("mrk-")
    assert replica == arn.replace("us-east-1", "eu-west-1")


def test_the_proxy_passes_calls_on_and_counts_them_by_action(
    kms: Kms, kms_proxy: KmsProxy, client
) -> None:
    arn = kms.create_key()
    context = {"purpose": "count"}
    sealed = client.encrypt(KeyId=arn, Plaintext=b"data key", EncryptionContext=context)
    for _ in range(2):
        opened = client.decrypt(CiphertextBlob=sealed["CiphertextBlob"], EncryptionContext=context)
        assert opened["Plaintext"] == b"data key"
    assert kms_proxy.counts == Counter(Decrypt=2, Encrypt=1)
    assert kms_proxy.calls[0].request["EncryptionContext"] == context
    kms_proxy.reset()
    assert not kms_proxy.counts


@pytest.mark.parametrize(
    "failure, code",
    [
        ("throttle", "ThrottlingException"),
        ("deny", "AccessDeniedException"),
        ("disabled", "DisabledException"),
        ("error", "KMSInternalException"),
    ],
)
def test_the_proxy_fails_as_kms_answers(kms_proxy: KmsProxy, client, failure, code) -> None:
    kms_proxy.fail(failure)
    with pytest.raises(ClientError) as caught:
        client.list_keys()
    assert caught.value.response["Error"]["Code"] == code
    assert kms_proxy.counts == Counter(ListKeys=1)


@pytest.mark.parametrize("failure", ["hang", "reset"])
def test_the_proxy_fails_as_a_network_does(kms_proxy: KmsProxy, failure) -> None:
    impatient = Config(read_timeout=0.5, retries=RETRIES)
    client = boto3.client("kms", region_name=REGION, config=impatient)
    kms_proxy.fail(failure)
    with pytest.raises(HTTPClientError):
        client.list_keys()


def test_a_refusing_proxy_ends_kept_connections_too_and_comes_back_at_the_same_url(
    kms_proxy: KmsProxy, client
) -> None:
    client.list_keys()
    kms_proxy.fail("refuse")
    with pytest.raises(EndpointConnectionError):
        client.list_keys()
    kms_proxy.heal()
    client.list_keys()


def test_the_proxy_fails_only_the_actions_and_times_it_is_told(kms_proxy: KmsProxy, client) -> None:
    kms_proxy.fail("throttle", actions={"ListAliases"}, times=1)
    client.list_keys()
    with pytest.raises(ClientError):
        client.list_aliases()
    client.list_aliases()


def test_nothing_reaches_aws_without_a_server_of_the_tests() -> None:
    with pytest.raises(EndpointConnectionError, match=r"127\.0\.0\.1"):
        boto3.client("kms", config=ONE_ATTEMPT).list_keys()
