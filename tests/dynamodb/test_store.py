"""Branch keys in AWS's hierarchical key store."""

from __future__ import annotations

import datetime as dt
import logging
import os
import pickle
import threading
import uuid

import boto3
import pytest

from encfields import DynamoDbKeyStore, attach, keyrings
from encfields.errors import (
    ConfigurationError,
    KeyAccessError,
    KeyExistsError,
    KeyNotFoundError,
    KeyStoreError,
    KeyUnavailableError,
)
from encfields.keys.cache.key_cache import KeyCache
from encfields.testing import assert_absent
from tests.dynamodb import fleet
from tests.keys.test_fork import in_child
from tests.servers.kms_proxy import KmsProxy

# -- the key store's contract ----------------------------------------------------------------------


def test_a_key_that_was_made_is_active_and_listed(store):
    before = dt.datetime.now(dt.UTC)
    made = store.create("default")
    key = store.active("default")
    assert (key.id, key.version) == ("default", made.version)
    assert len(key.material) == 32
    assert made.active
    assert before <= made.created_at <= dt.datetime.now(dt.UTC)
    assert store.version("default", made.version).material == key.material
    assert store.list() == [made]


@pytest.mark.parametrize("key_id", ["default", "tenant/42", "Ž luť 🙂", "x" * 255])
def test_ids_are_kept_as_they_are(store, key_id):
    store.create(key_id)
    assert store.active(key_id).id == key_id
    assert [one.id for one in store.list()] == [key_id]
    with pytest.raises(KeyNotFoundError):
        store.active(key_id.upper() if key_id != key_id.upper() else key_id + "x")


@pytest.mark.parametrize("key_id", ["", "x" * 256, " a", "a\n"])
def test_ids_that_serve_nowhere_are_refused(store, key_id):
    with pytest.raises(ConfigurationError):
        store.create(key_id)
    assert store.list() == []


def test_a_rotation_makes_a_version_and_the_older_ones_stay(store):
    first = store.create("default")
    material = store.active("default").material
    second = store.rotate("default")
    third = store.rotate("default")
    assert len({first.version, second.version, third.version}) == 3
    assert store.active("default").version == third.version
    assert store.version("default", first.version).material == material
    listed = store.list()
    assert [(one.version, one.active) for one in listed] == [
        (first.version, False), (second.version, False), (third.version, True),
    ]  # fmt: skip


def test_the_beacon_key_is_its_own_and_outlives_rotations(store):
    store.create("default")
    beacon = store.beacon("default")
    store.rotate("default")
    assert store.beacon("default") == beacon
    assert len(beacon) == 32
    assert beacon != store.active("default").material


def test_a_second_key_of_one_id_is_refused_and_the_first_stays(store):
    made = store.create("default")
    with pytest.raises(KeyExistsError):
        store.create("default")
    assert store.active("default").version == made.version


def test_of_concurrent_creations_one_wins(store):
    made, refused, start = [], [], threading.Barrier(4)

    def work() -> None:
        start.wait()
        try:
            made.append(store.create("default").version)
        except KeyExistsError:
            refused.append(1)

    _together(work, 4)
    assert (len(made), len(refused)) == (1, 3)
    assert store.active("default").version == made[0]


def test_concurrent_rotations_each_make_a_version(store):
    store.create("default")
    _together(lambda: store.rotate("default"), 4)
    listed = store.list()
    assert len(listed) == 5
    assert sum(one.active for one in listed) == 1


def test_of_those_who_replace_one_version_at_once_one_does(store):
    first, found = store.create("default").version, []
    _together(lambda: found.append(store.rotate_from("default", first)), 4)
    (made,) = [one for one in found if one is not None]
    assert [one.version for one in store.list()] == [first, made.version]
    assert store.active("default").version == made.version
    assert store.rotate_from("default", first) is None


def test_threads_share_one_store(store):
    version = store.create("default").version
    found = []
    _together(lambda: found.append(store.version("default", version).material), 8)
    assert len(found) == 8
    assert len(set(found)) == 1


@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_a_forked_child_makes_clients_of_its_own(kms, arn, table_name):
    made = []

    def client(region):
        made.append(os.getpid())
        return boto3.client("dynamodb", region_name=region, endpoint_url=kms.dynamodb_url)

    store = DynamoDbKeyStore(keyrings.aws_kms(arn), table_name, client_factory=client)
    store.create_table()
    version = store.create("default").version
    assert made == [os.getpid()]

    def check():
        assert store.active("default").version == version
        return made[-1] == os.getpid() and len(made) == 2

    assert in_child(check) == "True"


def test_keys_that_are_not_there_are_said_so(store):
    made = store.create("default")
    for ask in (
        lambda: store.active("other"),
        lambda: store.beacon("other"),
        lambda: store.rotate("other"),
        lambda: store.version("other", made.version),
        lambda: store.version("default", str(uuid.uuid4())),
    ):
        with pytest.raises(KeyNotFoundError):
            ask()


def test_a_missing_table_is_said_so_and_made_once(arn, table_name):
    store = DynamoDbKeyStore(keyrings.aws_kms(arn), table_name)
    for ask in (lambda: store.active("default"), store.list, lambda: store.create("default")):
        with pytest.raises(ConfigurationError) as caught:
            ask()
        assert caught.value.reason == "no-key-table"
    store.create_table()
    store.create_table()
    assert store.list() == []


def test_the_table_may_be_in_another_region_than_the_kms_key(arn, table_name):
    store = DynamoDbKeyStore(keyrings.aws_kms(arn), table_name, region="eu-central-1")
    store.create_table()
    store.create("default")
    assert len(store.active("default").material) == 32
    here = DynamoDbKeyStore(keyrings.aws_kms(arn), table_name)
    with pytest.raises(ConfigurationError):
        here.active("default")


@pytest.mark.parametrize(
    "keyring",
    [
        keyrings.local(bytes(32)),
        keyrings.aws_kms(*[f"arn:aws:kms:eu-west-1:123456789012:key/{n}" for n in "ab"]),
        keyrings.aws_kms_discovery("123456789012", regions="eu-west-1"),
    ],
    ids=["local", "two-keys", "discovery"],
)
def test_keyrings_that_awss_key_store_cannot_use_are_refused(keyring):
    with pytest.raises(ConfigurationError) as caught:
        DynamoDbKeyStore(keyring, "keys")
    assert caught.value.reason == "keyring"


# -- in use ----------------------------------------------------------------------------------------


def test_attach_makes_table_and_key_on_request(sqlite, arn, table_name):
    store = DynamoDbKeyStore(keyrings.aws_kms(arn), table_name)
    encryption = attach(sqlite.create_engine(), store, create=True)
    message = encryption.seal(b"value", {"a": "1"})
    encryption.keys.rotate("default")
    assert encryption.open(message, {"a": "1"}) == b"value"
    assert encryption.prefetch() == 2


@pytest.fixture
def dynamodb_proxy(kms):
    proxy = KmsProxy(kms.dynamodb_url)
    yield proxy
    proxy.stop()


def test_all_keys_are_prefetched_with_a_scan_and_a_kms_call_each(store, kms_proxy):
    for key_id in ("a", "b"):
        store.create(key_id)
    store.rotate("a")
    cache = KeyCache(DynamoDbKeyStore(store.keyring, store.table_name))
    kms_proxy.reset()

    assert cache.prefetch() == 3
    assert kms_proxy.counts == {"Decrypt": 3}


def test_keys_of_a_page_take_a_request_for_each_hundred_and_a_kms_call_each(
    store, kms_proxy, dynamodb_proxy, monkeypatch
):
    monkeypatch.setattr("encfields.keys.dynamodb.table.MAX_IN_BATCH", 3)
    ids = ["a", "b", "c", "d", "e"]
    for key_id in ids:
        store.create(key_id)
    newest = store.rotate("a").version
    elsewhere = DynamoDbKeyStore(store.keyring, store.table_name, endpoint_url=dynamodb_proxy.url)
    cache = KeyCache(elsewhere)
    kms_proxy.reset()

    assert cache.prefetch([*ids, "missing"], beacons=True) == 5

    assert dynamodb_proxy.counts == {"BatchGetItem": 2 + 2}
    assert kms_proxy.counts == {"Decrypt": 10}
    assert [cache.active(one).id for one in ids] == ids
    assert cache.active("a").version == newest
    assert cache.beacon("b") == store.beacon("b")


def test_without_the_permission_for_batches_keys_are_read_one_by_one(
    store, kms_proxy, dynamodb_proxy
):
    for key_id in ("a", "b"):
        store.create(key_id)
    dynamodb_proxy.fail("deny", actions={"BatchGetItem"})
    elsewhere = DynamoDbKeyStore(store.keyring, store.table_name, endpoint_url=dynamodb_proxy.url)
    cache = KeyCache(elsewhere)

    assert cache.prefetch(["a", "b"]) == 2
    assert cache.active("a").version == store.active("a").version


def test_an_item_of_another_key_in_a_batch_does_not_open_in_its_place(store, kms, table_name):
    """Whoever writes to the table may put one key's wrapped bytes into another one's item."""
    for key_id in ("a", "b"):
        store.create(key_id)
    client = fleet.dynamodb(kms.dynamodb_url)
    places = [{"branch-key-id": {"S": one}, "type": {"S": "branch:ACTIVE"}} for one in ("a", "b")]
    ours, theirs = (client.get_item(TableName=table_name, Key=one)["Item"] for one in places)
    client.put_item(TableName=table_name, Item={**ours, "enc": theirs["enc"]})

    cache = KeyCache(DynamoDbKeyStore(store.keyring, store.table_name))
    with pytest.raises(KeyStoreError):
        cache.prefetch(["a", "b"])
    assert cache.without(["a", "b"]) == ["a"]


async def test_on_an_event_loop_keys_are_fetched_beside_it(store):
    made = store.create("default")
    cache = KeyCache(store)
    assert await cache.aprefetch() == 1
    assert cache.active("default").version == made.version


def test_a_cold_process_costs_one_kms_call(store, arn, table_name, kms_proxy):
    version = store.create("default").version
    elsewhere = DynamoDbKeyStore(keyrings.aws_kms(arn), table_name)
    cache = KeyCache(elsewhere)
    kms_proxy.reset()
    for _ in range(10_000):
        cache.find("default", version)
    assert kms_proxy.counts == {"Decrypt": 1}
    (call,) = kms_proxy.calls
    context = call.request["EncryptionContext"]
    assert context["branch-key-id"] == "default"
    assert context["aws-crypto-ec:enc:purpose"] == "branch-key"
    assert context["tablename"] == table_name


# -- what goes wrong -------------------------------------------------------------------------------

REASONS = [
    ("refuse", "unreachable"),
    ("hang", "unreachable"),
    ("reset", "unreachable"),
    ("cut", "unreachable"),
    ("throttle", "throttled"),
    ("deny", "denied"),
    ("error", "error"),
]


def patience_with(failure: str) -> float:
    """Seconds for an answer: few where none comes, for a busy machine's may take its time."""
    return 0.3 if failure == "hang" else 60.0


@pytest.mark.parametrize("failure, reason", [*REASONS, ("disabled", "disabled")])
def test_an_outage_of_kms_is_told_apart(store, arn, table_name, kms_proxy, failure, reason):
    version = store.create("default").version
    keyring = keyrings.aws_kms(arn, read_timeout=patience_with(failure), max_attempts=1)
    fast = DynamoDbKeyStore(keyring, table_name)
    kms_proxy.fail(failure)
    for ask in (
        lambda: fast.active("default"),
        lambda: fast.version("default", version),
        lambda: fast.beacon("default"),
        lambda: fast.rotate("default"),
        lambda: fast.create("other"),
    ):
        with pytest.raises(KeyUnavailableError) as caught:
            ask()
        assert caught.value.reason == reason
        assert "KMS" in str(caught.value)
    kms_proxy.heal()
    if failure != "hang":
        assert fast.active("default").version == version


@pytest.mark.parametrize("failure, reason", REASONS)
def test_an_outage_of_dynamodb_is_told_apart(
    store, arn, table_name, dynamodb_proxy, failure, reason
):
    version = store.create("default").version
    fast = DynamoDbKeyStore(
        keyrings.aws_kms(arn),
        table_name,
        endpoint_url=dynamodb_proxy.url,
        read_timeout=patience_with(failure),
        max_attempts=1,
    )
    dynamodb_proxy.fail(failure)
    for ask in (
        lambda: fast.active("default"),
        lambda: fast.version("default", version),
        lambda: fast.rotate("default"),
        lambda: fast.create("other"),
        fast.list,
    ):
        with pytest.raises(KeyUnavailableError) as caught:
            ask()
        assert caught.value.reason == reason
        assert "DynamoDB" in str(caught.value)
    dynamodb_proxy.heal()
    if failure != "hang":
        assert fast.active("default").version == version


def test_another_kms_key_is_refused_and_named_so(store, kms, table_name):
    version = store.create("default").version
    other = DynamoDbKeyStore(keyrings.aws_kms(kms.create_key()), table_name)
    for ask in (
        lambda: other.active("default"),
        lambda: other.version("default", version),
        lambda: other.beacon("default"),
        lambda: other.rotate("default"),
    ):
        with pytest.raises(KeyAccessError) as caught:
            ask()
        assert caught.value.reason == "wrong-keyring"


def test_another_logical_name_is_refused(store, arn, table_name):
    store.create("default")
    other = DynamoDbKeyStore(keyrings.aws_kms(arn), table_name, name="other")
    with pytest.raises(KeyAccessError):
        other.active("default")


def test_the_name_is_taken_by_its_former_word_as_well(arn):
    wrapping = keyrings.aws_kms(arn)
    former = DynamoDbKeyStore(wrapping, "keys", logical_name="fleet")
    assert former.name == DynamoDbKeyStore(wrapping, "keys", name="fleet").name == "fleet"
    assert DynamoDbKeyStore(wrapping, "keys").name == "keys"
    with pytest.raises(ConfigurationError, match="give name= alone"):
        DynamoDbKeyStore(wrapping, "keys", name="fleet", logical_name="other")


def test_a_restored_table_of_another_name_keeps_its_logical_name(store, arn, table_name, kms):
    material = (store.create("default"), store.active("default").material)[1]
    restored = DynamoDbKeyStore(keyrings.aws_kms(arn), table_name + "-restored", name=table_name)
    restored.create_table()
    client = fleet.dynamodb(kms.dynamodb_url)
    for item in fleet.items(kms.dynamodb_url, table_name).values():
        client.put_item(TableName=table_name + "-restored", Item=item)
    assert restored.active("default").material == material


def test_an_item_moved_to_another_key_or_altered_is_refused(store, kms, table_name):
    store.create("a")
    store.create("b")
    client = fleet.dynamodb(kms.dynamodb_url)
    items = fleet.items(kms.dynamodb_url, table_name)
    moved = {**items["a", "branch:ACTIVE"], "branch-key-id": {"S": "b"}}
    client.put_item(TableName=table_name, Item=moved)
    with pytest.raises(KeyAccessError):
        store.active("b")
    altered = dict(items["a", "branch:ACTIVE"])
    del altered["kms-arn"]
    client.put_item(TableName=table_name, Item=altered)
    with pytest.raises(KeyAccessError):
        store.active("a")


def test_no_key_is_in_a_repr_an_error_a_log_or_a_pickle(arn, table_name, kms_proxy, caplog):
    store = DynamoDbKeyStore(keyrings.aws_kms(arn), table_name)
    store.create_table()
    with caplog.at_level(logging.DEBUG):
        store.create("default")
        material, beacon = store.active("default").material, store.beacon("default")
        kms_proxy.fail("deny")
        with pytest.raises(KeyUnavailableError, match="denies") as caught:
            store.active("default")
    for canary in (material, beacon):
        assert_absent(canary, repr(store), store, caught.value, caplog.text, caplog.records)
    with pytest.raises(TypeError):
        pickle.dumps(store)


def _together(work, count) -> None:
    failures = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
