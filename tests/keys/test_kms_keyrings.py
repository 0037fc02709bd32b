"""AWS KMS keyrings: one key or several, multi-Region keys, discovery."""

from __future__ import annotations

import pickle
import uuid
from contextlib import suppress

import boto3
import pytest

from encfields import keyrings
from encfields.errors import ConfigurationError, KeyAccessError, KeyUnavailableError
from encfields.keys.keyrings.wrapping import KeyWrapper, WrappingContext
from tests.servers.moto import ACCOUNT

VERSION = str(uuid.uuid4())
PLACE = WrappingContext("clinic", "default", VERSION, 1, "branch-key")


def test_a_kms_key_wraps_and_opens(kms):
    wrapper = KeyWrapper(keyrings.aws_kms(kms.create_key()))

    assert len(wrapper.unwrap(wrapper.wrap_new(PLACE), PLACE)) == 32


@pytest.mark.parametrize("opener", [0, 1, 2])
def test_any_one_of_several_kms_keys_opens(kms, opener):
    regions = ("eu-west-1", "eu-central-1", "us-east-1")
    arns = [kms.create_key(region) for region in regions]
    wrapped = KeyWrapper(keyrings.aws_kms(*arns)).wrap_new(PLACE)

    assert KeyWrapper(keyrings.aws_kms(arns[opener])).unwrap(wrapped, PLACE)


@pytest.mark.parametrize(
    "failure", ["refuse", "hang", "reset", "throttle", "deny", "disabled", "error"]
)
def test_the_second_kms_key_opens_while_the_first_ones_region_is_down(kms, kms_proxy, failure):
    """The library alone gives up at the first connection error; ours goes on to the next key."""
    down, up = kms.create_key("eu-west-1"), kms.create_key("eu-central-1")
    wrapped = KeyWrapper(keyrings.aws_kms(down, up)).wrap_new(PLACE)

    def client(region):
        url = kms_proxy.url if region == "eu-west-1" else kms.url
        # The other one's answer may take its time on a busy machine.
        patience = 0.3 if region == "eu-west-1" and failure == "hang" else 60
        config = boto3.session.Config(read_timeout=patience, retries={"total_max_attempts": 1})
        return boto3.client("kms", region_name=region, endpoint_url=url, config=config)

    kms_proxy.fail(failure)

    reader = KeyWrapper(keyrings.aws_kms(down, up, client_factory=client))
    assert len(reader.unwrap(wrapped, PLACE)) == 32


def test_wrapping_fails_closed_when_one_of_several_kms_keys_does_not_answer(kms, kms_proxy):
    wrapper = KeyWrapper(keyrings.aws_kms(kms.create_key(), kms.create_key()))
    kms_proxy.fail("deny", actions=["Encrypt"])

    with pytest.raises(KeyUnavailableError) as caught:
        wrapper.wrap_new(PLACE)

    assert caught.value.reason == "denied"


def test_a_keyring_of_other_kms_keys_cannot_open(kms):
    wrapped = KeyWrapper(keyrings.aws_kms(kms.create_key())).wrap_new(PLACE)

    with pytest.raises(KeyAccessError) as caught:
        KeyWrapper(keyrings.aws_kms(kms.create_key())).unwrap(wrapped, PLACE)

    assert caught.value.reason == "wrong-keyring"


def test_a_wrap_altered_in_the_part_that_kms_opens_is_no_outage(kms):
    """KMS itself refuses the ciphertext, which must not read like a failing KMS."""
    arn = kms.create_key()
    wrapper = KeyWrapper(keyrings.aws_kms(arn))
    wrapped = bytearray(wrapper.wrap_new(PLACE))
    wrapped[wrapped.index(arn.encode()) + len(arn) + 2 + 80] ^= 1

    with pytest.raises(KeyAccessError):
        wrapper.unwrap(bytes(wrapped), PLACE)


def test_kms_gets_what_the_wrapped_key_is_bound_to_and_nothing_else(kms, kms_proxy):
    wrapper = KeyWrapper(keyrings.aws_kms(kms.create_key(), kms.create_key()))
    wrapper.unwrap(wrapper.wrap_new(PLACE), PLACE)

    contexts = [call.request["EncryptionContext"] for call in kms_proxy.calls]

    assert kms_proxy.counts == {"GenerateDataKey": 1, "Encrypt": 1, "Decrypt": 1}
    assert contexts == 3 * [
        {
            "enc:key-store": "clinic",
            "enc:key-id": "default",
            "enc:key-version": VERSION,
            "enc:key-number": "1",
            "enc:purpose": "branch-key",
        }
    ]


@pytest.mark.parametrize(
    "key_id",
    [
        "1234abcd-12ab-34cd-56ef-1234567890ab",
        "alias/encfields",
        "arn:aws:kms:eu-west-1:123456789012:alias/encfields",
        "arn:aws:s3:::bucket",
        "arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab\n",
        "",
    ],
)
@pytest.mark.parametrize("make", [keyrings.aws_kms, keyrings.aws_kms_mrk])
def test_what_is_not_the_arn_of_a_key_is_refused_with_the_reason(make, key_id):
    good = "arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"

    for arns in ((key_id,), (good, key_id)):
        with pytest.raises(ConfigurationError, match="wraps keys that it then cannot open") as e:
            make(*arns)
        assert e.value.reason == "not-an-arn"


def test_discovery_opens_what_any_key_of_its_accounts_and_regions_wrapped(kms):
    for region in ("eu-west-1", "eu-central-1"):
        wrapped = KeyWrapper(keyrings.aws_kms(kms.create_key(region))).wrap_new(PLACE)
        reader = keyrings.aws_kms_discovery(
            ACCOUNT, regions=["us-east-1", "eu-west-1", "eu-central-1"]
        )
        assert KeyWrapper(reader).unwrap(wrapped, PLACE)


@pytest.mark.parametrize(
    "discovery_filter",
    [
        {"account_ids": "999999999999"},
        {"account_ids": ACCOUNT, "partition": "aws-cn"},
    ],
)
def test_discovery_refuses_other_accounts_and_partitions_without_asking_kms(
    kms, kms_proxy, discovery_filter
):
    wrapped = KeyWrapper(keyrings.aws_kms(kms.create_key())).wrap_new(PLACE)
    kms_proxy.reset()

    with pytest.raises(KeyAccessError):
        KeyWrapper(keyrings.aws_kms_discovery(regions="eu-west-1", **discovery_filter)).unwrap(
            wrapped, PLACE
        )

    assert kms_proxy.calls == []


def test_discovery_asks_a_region_about_its_own_keys_alone(kms, kms_proxy):
    home, other = kms.create_key("eu-west-1"), kms.create_key("eu-central-1")
    wrapped = KeyWrapper(keyrings.aws_kms(other, home)).wrap_new(PLACE)
    kms_proxy.reset()

    KeyWrapper(keyrings.aws_kms_discovery(ACCOUNT, regions="eu-west-1")).unwrap(wrapped, PLACE)

    assert [call.request["KeyId"] for call in kms_proxy.calls] == [home]


def test_discovery_refuses_to_wrap():
    wrapper = KeyWrapper(keyrings.aws_kms_discovery(ACCOUNT, regions="eu-west-1"))

    with pytest.raises(ConfigurationError, match="cannot wrap"):
        wrapper.wrap_new(PLACE)


@pytest.mark.parametrize(
    "arguments",
    [
        {"account_ids": [], "regions": "eu-west-1"},
        {"account_ids": "12345", "regions": "eu-west-1"},
        {"account_ids": ACCOUNT, "regions": []},
        {"account_ids": ACCOUNT, "regions": "Europe"},
    ],
)
def test_discovery_without_a_whole_filter_is_refused(arguments):
    with pytest.raises(ConfigurationError):
        keyrings.aws_kms_discovery(**arguments)


def test_the_multi_region_keyring_opens_with_a_key_of_one_region(kms):
    wrapper = KeyWrapper(keyrings.aws_kms_mrk(kms.create_key()))

    assert len(wrapper.unwrap(wrapper.wrap_new(PLACE), PLACE)) == 32


def test_a_replica_in_its_own_region_opens_what_its_sibling_wrapped(kms, kms_proxy):
    """moto cannot decrypt under any multi-Region key (it writes 36 bytes of a 40-byte id into
    the ciphertext): what comes of the request is seen in kms/test_localstack.py."""
    home = kms.create_key("eu-west-1", multi_region=True)
    replica = kms.replicate_key(home, "eu-central-1")
    wrapped = KeyWrapper(keyrings.aws_kms_mrk(home)).wrap_new(PLACE)
    kms_proxy.reset()

    with suppress(KeyUnavailableError, KeyAccessError):
        KeyWrapper(keyrings.aws_kms_mrk(replica)).unwrap(wrapped, PLACE)

    (call,) = kms_proxy.calls
    assert call.action == "Decrypt"
    assert call.request["KeyId"] == replica
    assert "/eu-central-1/kms/" in call.authorization


def test_a_keyring_of_single_region_keys_does_not_take_a_replica_for_its_sibling(kms, kms_proxy):
    home = kms.create_key("eu-west-1", multi_region=True)
    replica = kms.replicate_key(home, "eu-central-1")
    wrapped = KeyWrapper(keyrings.aws_kms(home)).wrap_new(PLACE)
    kms_proxy.reset()

    with pytest.raises(KeyAccessError):
        KeyWrapper(keyrings.aws_kms(replica)).unwrap(wrapped, PLACE)

    assert kms_proxy.calls == []


def test_a_client_factory_is_asked_for_each_region(kms):
    regions = []

    def client(region):
        regions.append(region)
        return boto3.client("kms", region_name=region, endpoint_url=kms.url)

    arns = kms.create_key("eu-west-1"), kms.create_key("eu-central-1")
    wrapper = KeyWrapper(keyrings.aws_kms(*arns, client_factory=client))
    assert regions == []
    wrapper.unwrap(wrapper.wrap_new(PLACE), PLACE)

    assert regions == ["eu-west-1", "eu-central-1"]


def test_a_description_of_kms_keys_holds_no_secret_and_survives_pickling(kms):
    keyring = keyrings.aws_kms(kms.create_key())

    assert pickle.loads(pickle.dumps(keyring)) == keyring
    assert keyring.arns[0] in repr(keyring)
