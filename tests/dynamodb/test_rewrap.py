"""Rewrap in AWS's key store: every item moves to another KMS key, and stays the same key."""

from __future__ import annotations

import pytest

from encfields import DynamoDbKeyStore, attach, keyrings
from encfields.errors import ConfigurationError, KeyAccessError, KeyUnavailableError
from encfields.keys.dynamodb.store import item_table_of
from encfields.keys.versions import RewrapReport
from tests.dynamodb import fleet
from tests.servers.backends import Backend


@pytest.fixture
def new(kms) -> str:
    return kms.create_key()


@pytest.fixture
def made(store):
    """Two keys, one of them rotated: seven items."""
    store.create("a")
    store.rotate("a")
    store.create("b")
    return store


def materials(store) -> dict[str, bytes]:
    return {one.version: store.version(one.id, one.version).material for one in store.list()}


def test_every_item_moves_and_is_the_same_key(made, new, arn, kms, table_name):
    before, beacon, active = materials(made), made.beacon("a"), made.active("a").version
    told: list[RewrapReport] = []
    assert made.rewrap(keyrings.aws_kms(new), progress=told.append) == RewrapReport(moved=7)

    moved = DynamoDbKeyStore(keyrings.aws_kms(new), table_name)
    for store in (made, moved):
        assert materials(store) == before
        assert (store.beacon("a"), store.active("a").version) == (beacon, active)
    assert [one.moved for one in told] == [1, 2, 3, 4, 5, 6, 7]
    found = fleet.items(kms.dynamodb_url, table_name).values()
    assert {item["kms-arn"]["S"] for item in found} == {new}
    with pytest.raises(KeyAccessError) as caught:
        DynamoDbKeyStore(keyrings.aws_kms(arn), table_name).active("a")
    assert caught.value.reason == "wrong-keyring"


def test_awss_own_library_reads_and_rotates_what_was_moved(made, new, kms, table_name):
    material = made.active("a").material
    made.rewrap(keyrings.aws_kms(new))
    stock = fleet.key_store(kms, table_name, new)
    models = item_table_of(made).tools().models
    found = stock.get_active_branch_key(models.GetActiveBranchKeyInput(branch_key_identifier="a"))

    assert bytes(found.branch_key_materials.branch_key) == material
    stock.version_key(models.VersionKeyInput(branch_key_identifier="a"))
    assert made.active("a").material != material


def test_no_value_is_touched(made, new, sqlite: Backend):
    encryption = attach(sqlite.create_engine(), made)
    message = encryption.seal(b"value", {"a": "1"}, key="a")
    encryption.keys.rewrap(keyrings.aws_kms(new))
    encryption._cache.clear()
    assert encryption.open(message, {"a": "1"}, key="a") == b"value"


def test_a_second_run_finds_nothing_left_to_do(made, new):
    made.destroy("b")
    made.rewrap(keyrings.aws_kms(new))
    assert made.rewrap(keyrings.aws_kms(new)) == RewrapReport(already=4, destroyed=3)


def test_broken_off_it_goes_on_where_it_was(made, new, kms_proxy, arn, table_name):
    before = materials(made)
    seen: list[int] = []

    def fail_after_three(report: RewrapReport) -> None:
        seen.append(report.moved)
        if report.moved == 3:
            kms_proxy.fail("error")

    with pytest.raises(KeyUnavailableError):
        made.rewrap(keyrings.aws_kms(new, max_attempts=1), progress=fail_after_three)
    kms_proxy.heal()
    both = DynamoDbKeyStore(keyrings.aws_kms(new), table_name, former=[keyrings.aws_kms(arn)])
    assert materials(both) == before  # half moved
    assert both.rewrap(keyrings.aws_kms(new)) == RewrapReport(moved=4, already=3)
    assert materials(DynamoDbKeyStore(keyrings.aws_kms(new), table_name)) == before


def test_with_the_former_key_named_both_are_read_before_and_after(made, new, arn, table_name):
    before = materials(made)
    both = DynamoDbKeyStore(keyrings.aws_kms(new), table_name, former=[keyrings.aws_kms(arn)])
    assert materials(both) == before
    assert both.beacon("a") == made.beacon("a")
    made.rewrap(keyrings.aws_kms(new))
    assert materials(both) == before


def test_a_key_rotated_with_the_old_kms_key_meanwhile_moves_as_well(made, new, arn, table_name):
    elsewhere = DynamoDbKeyStore(keyrings.aws_kms(arn), table_name)
    late: list[str] = []

    def rotate_once(report: RewrapReport) -> None:
        if not late:
            late.append(elsewhere.rotate("b").version)

    made.rewrap(keyrings.aws_kms(new), progress=rotate_once)
    moved = DynamoDbKeyStore(keyrings.aws_kms(new), table_name)
    assert moved.active("b").version == late[0]
    assert moved.version("b", late[0]).material == moved.active("b").material


def test_what_does_not_open_is_left_as_it_was(made, new, kms, table_name):
    client = fleet.dynamodb(kms.dynamodb_url)
    found = fleet.items(kms.dynamodb_url, table_name)
    altered = {**found["a", "branch:ACTIVE"], "create-time": {"S": "2020-01-01T00:00:00.000000Z"}}
    client.put_item(TableName=table_name, Item=altered)

    with pytest.raises(KeyAccessError) as caught:
        made.rewrap(keyrings.aws_kms(new))
    assert caught.value.key_id == "a"
    assert fleet.items(kms.dynamodb_url, table_name)["a", "branch:ACTIVE"] == altered


def test_a_new_wrap_that_opens_to_another_key_replaces_nothing(made, new, kms, table_name):
    """What a KMS that answers wrongly would do."""
    before = fleet.items(kms.dynamodb_url, table_name)
    maker = keyrings.aws_kms(new)

    def lying(region):
        client = kms.client(region)
        client.re_encrypt = lambda **named: {
            "CiphertextBlob": client.encrypt(
                KeyId=named["DestinationKeyId"],
                Plaintext=bytes(32),
                EncryptionContext=named["DestinationEncryptionContext"],
            )["CiphertextBlob"]
        }
        return client

    with pytest.raises(KeyAccessError, match="nothing was replaced"):
        made.rewrap(keyrings.aws_kms(*maker.arns, client_factory=lying))
    assert fleet.items(kms.dynamodb_url, table_name) == before


def test_another_kms_keys_items_are_refused_and_named(made, new, kms, table_name):
    stranger = DynamoDbKeyStore(keyrings.aws_kms(kms.create_key()), table_name)
    stranger.create("c")
    with pytest.raises(KeyAccessError, match="neither the keyring's nor a former one's"):
        made.rewrap(keyrings.aws_kms(new))


@pytest.mark.parametrize("region, count, reason", [
    ("eu-central-1", 1, "region"), ("eu-west-1", 2, "keyring"),
], ids=["region", "two-keys"])  # fmt: skip
def test_what_awss_key_store_cannot_do_is_refused_before_anything_is_done(
    made, kms, table_name, region, count, reason
):
    before = fleet.items(kms.dynamodb_url, table_name)
    arns = [kms.create_key(region) for _ in range(count)]
    with pytest.raises(ConfigurationError) as caught:
        made.rewrap(keyrings.aws_kms(*arns))
    assert caught.value.reason == reason
    assert fleet.items(kms.dynamodb_url, table_name) == before
    assert made.active("a").id == "a"


def test_a_later_layout_of_awss_key_store_is_refused(made, new, kms, table_name):
    item = fleet.items(kms.dynamodb_url, table_name)["a", "branch:ACTIVE"]
    fleet.dynamodb(kms.dynamodb_url).put_item(
        TableName=table_name, Item={**item, "hierarchy-version": {"N": "2"}}
    )
    with pytest.raises(ConfigurationError) as caught:
        made.rewrap(keyrings.aws_kms(new))
    assert caught.value.reason == "hierarchy-version"
