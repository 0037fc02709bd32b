"""A KMS that answers a byte now and then, or not at all, is given up after a set time."""

from __future__ import annotations

import threading
import time
import uuid

import boto3
import pytest

from encfields import keyrings
from encfields.errors import KeyUnavailableError
from encfields.keys.cache.key_cache import KeyCache
from encfields.keys.dynamodb.store import DynamoDbKeyStore
from encfields.keys.keyrings.wrapping import KeyWrapper, WrappingContext
from encfields.keys.sql.store import SqlKeyStore
from tests.servers.backends import Backend

PLACE = WrappingContext("clinic", "default", str(uuid.uuid4()), 1, "branch-key")
STALLING = ["drip", "crawl", "hang"]


def wrapper_of(arn: str, timeout: float, **options) -> KeyWrapper:
    """Patient in everything but the time for the whole."""
    return KeyWrapper(keyrings.aws_kms(arn, read_timeout=60, timeout=timeout, **options))


@pytest.mark.parametrize("failure", STALLING)
def test_a_stalling_answer_is_an_outage_and_is_given_up_in_time(kms, kms_proxy, failure):
    wrapper = wrapper_of(kms.create_key(), 1.5)
    wrapped = wrapper.wrap_new(PLACE)
    kms_proxy.reset()
    kms_proxy.fail(failure)
    for call in (lambda: wrapper.unwrap(wrapped, PLACE), lambda: wrapper.wrap_new(PLACE)):
        with pytest.raises(KeyUnavailableError, match=r"no complete answer within 1\.5 s") as told:
            call()  # and not pytest's own time-out
        assert told.value.reason == "unreachable"
        assert "KMS is out of reach" in str(told.value)
        assert told.value.__context__ is None
    # Broken off, not tried again.
    assert kms_proxy.counts == {"Decrypt": 1, "GenerateDataKey": 1}

    kms_proxy.heal()
    assert len(wrapper.unwrap(wrapped, PLACE)) == 32


def test_an_answer_in_time_is_used_however_often_the_client_is(kms, kms_proxy):
    wrapper = wrapper_of(kms.create_key(), 5)
    wrapped = wrapper.wrap_new(PLACE)
    kms_proxy.delay = 0.2

    for _ in range(5):
        assert len(wrapper.unwrap(wrapped, PLACE)) == 32
    # A thread that is told to end needs a moment.
    for thread in threading.enumerate():
        if thread.name == "encfields-deadline":
            thread.join(60)
            assert not thread.is_alive()


def test_the_time_is_for_all_attempts_together(kms, kms_proxy):
    """Each of them takes 0.4 s to be throttled; the second one is broken off."""
    wrapper = wrapper_of(kms.create_key(), 1.5, max_attempts=10)
    wrapped = wrapper.wrap_new(PLACE)
    kms_proxy.reset()
    kms_proxy.fail("drip", times=1)

    with pytest.raises(KeyUnavailableError, match="within"):
        wrapper.unwrap(wrapped, PLACE)
    assert kms_proxy.counts == {"Decrypt": 1}


def test_a_stalling_region_leaves_its_time_to_the_next(kms, kms_proxy):
    stalling, sound = kms.create_key("eu-west-1"), kms.create_key("eu-central-1")

    def client(region):
        url = kms_proxy.url if region == "eu-west-1" else kms.url
        return boto3.client("kms", region_name=region, endpoint_url=url)

    keyring = keyrings.aws_kms(stalling, sound, client_factory=client, timeout=1.5)
    wrapper = KeyWrapper(keyring)
    wrapped = wrapper.wrap_new(PLACE)
    kms_proxy.fail("drip")

    assert len(wrapper.unwrap(wrapped, PLACE)) == 32


def test_a_client_that_threads_share_gives_each_request_its_own_time(kms, kms_proxy):
    """A factory of the user's may hand out one client; only the request that stalls is ended."""
    shared = boto3.client("kms", region_name="eu-west-1", endpoint_url=kms_proxy.url)
    arn = kms.create_key()
    wrapper = wrapper_of(arn, 1.0, client_factory=lambda region: shared)
    wrapped = wrapper.wrap_new(PLACE)
    kms_proxy.fail("drip", times=1)
    told: list[object] = []

    def stall() -> None:
        try:
            wrapper.unwrap(wrapped, PLACE)
        except KeyUnavailableError as error:
            told.append(error.reason)

    stalled = threading.Thread(target=stall)
    kms_proxy.reset()
    stalled.start()
    while not kms_proxy.calls:
        time.sleep(0.001)
    kms_proxy.delay = 0.05
    while stalled.is_alive():
        assert len(wrapper.unwrap(wrapped, PLACE)) == 32
    stalled.join()

    assert told == ["unreachable"]


@pytest.mark.parametrize("failure", ["drip", "crawl"])
def test_reads_go_on_in_their_grace_period_while_kms_stalls(
    kms, kms_proxy, sqlite: Backend, failure
):
    keyring = keyrings.aws_kms(kms.create_key(), read_timeout=60, timeout=1.5)
    store = SqlKeyStore(keyring, engine=sqlite.create_engine())
    store.create_table()
    store.create("default")
    cache = KeyCache(store, ttl=0.2, grace=60)
    key = cache.active("default")
    kms_proxy.fail(failure)
    time.sleep(0.25)

    assert cache.find("default", key.version) is key
    with pytest.raises(KeyUnavailableError):
        cache.active("default")


def test_dynamodb_has_the_same_limit(kms, kms_proxy, monkeypatch):
    keyring = keyrings.aws_kms(kms.create_key())
    name = f"keys-{uuid.uuid4().hex[:8]}"
    store = DynamoDbKeyStore(
        keyring, name, endpoint_url=kms_proxy.url, read_timeout=60, timeout=1.5
    )
    store.create_table()
    store.create("default")
    kms_proxy.fail("drip", actions=["GetItem"])

    with pytest.raises(KeyUnavailableError, match=r"DynamoDB.*within 1\.5 s") as told:
        store.active("default")
    assert told.value.reason == "unreachable"
