"""Crypto-shredding in AWS's key store: the wrapped key goes, a date stays."""

from __future__ import annotations

import datetime as dt
import json

import pytest
from sqlalchemy import insert, select

from encfields import DynamoDbKeyStore, attach, keyrings
from encfields.bulk.rows.spec import TableSpec
from encfields.errors import (
    ConfigurationError,
    KeyAccessError,
    KeyDestroyedError,
    KeyNotFoundError,
    KeyUnavailableError,
)
from encfields.keys.cache.key_cache import KeyCache
from encfields.keys.dynamodb.store import item_table_of
from encfields.keys.versions import KeyVersion
from tests.census.clinic import patient_table
from tests.dynamodb import fleet
from tests.servers.backends import Backend
from tests.servers.kms_proxy import KmsProxy
from tests.waiting import until_raises


@pytest.fixture
def made(store):
    """A rotated key, and another one."""
    store.create("a")
    store.rotate("a")
    store.create("b")
    return store


def test_every_item_of_the_key_is_wiped_and_dated_and_no_other(made, kms, table_name):
    others = {place: item for place, item in items(kms, table_name).items() if place[0] == "b"}
    wiped = made.destroy("a")

    found = items(kms, table_name)
    gone = {place: item for place, item in found.items() if place[0] == "a"}
    assert {place: found[place] for place in others} == others
    assert len(gone) == 4  # two versions, the active one's copy, the beacon key
    for item in gone.values():
        assert "enc" not in item
        when = dt.datetime.fromisoformat(item["encfields-destroyed-at"]["S"])
        assert abs(when - dt.datetime.now(dt.UTC)) < dt.timedelta(minutes=5)
        assert when == wiped[0].destroyed_at
    assert len(wiped) == 2
    listed = [one for one in made.list() if one.id == "a"]
    assert listed == wiped
    assert not any(one.active for one in listed)


def test_reads_and_changes_then_say_so(made, arn, table_name):
    versions = [one.version for one in made.list() if one.id == "a"]
    made.destroy("a")
    elsewhere = DynamoDbKeyStore(keyrings.aws_kms(arn), table_name)

    for store in (made, elsewhere):
        for call in (
            lambda s=store: s.active("a"),
            lambda s=store: s.version("a", versions[0]),
            lambda s=store: s.version("a", versions[1]),
            lambda s=store: s.beacon("a"),
            lambda s=store: s.beacons("a"),
            lambda s=store: s.list_beacons("a"),
            lambda s=store: s.rotate("a"),
            lambda s=store: s.create("a"),
            lambda s=store: s.destroy("a"),
        ):
            with pytest.raises(KeyDestroyedError, match="destroyed on"):
                call()
    assert made.active("b").id == "b"


def test_awss_own_library_opens_nothing_of_it_and_cannot_create_it_again(
    made, kms, arn, table_name
):
    made.destroy("a")
    stock = fleet.key_store(kms, table_name, arn)
    models = item_table_of(made).tools().models
    for call in (
        lambda: stock.get_active_branch_key(
            models.GetActiveBranchKeyInput(branch_key_identifier="a")
        ),
        lambda: stock.get_beacon_key(models.GetBeaconKeyInput(branch_key_identifier="a")),
        lambda: stock.version_key(models.VersionKeyInput(branch_key_identifier="a")),
        lambda: stock.create_key(
            models.CreateKeyInput(branch_key_identifier="a", encryption_context={"x": "y"})
        ),
    ):
        with pytest.raises(Exception, match=r"not a valid|ConditionalCheckFailed"):
            call()
    assert "enc" not in items(kms, table_name)["a", "branch:ACTIVE"]


def test_a_rotation_that_comes_between_is_wiped_as_well(made, kms, arn, table_name):
    read, other = item_table_of(made).items_of, DynamoDbKeyStore(keyrings.aws_kms(arn), table_name)
    late: list[KeyVersion] = []

    def read_then_rotate(key_id):
        found = read(key_id)
        if not late:
            late.append(other.rotate(key_id))
        return found

    item_table_of(made).items_of = read_then_rotate  # type: ignore[method-assign]
    wiped = made.destroy("a")

    assert late[0].version in {one.version for one in wiped}
    gone = [item for place, item in items(kms, table_name).items() if place[0] == "a"]
    assert len(gone) == 5
    assert not any("enc" in item for item in gone)


def test_more_versions_than_one_transaction_takes(store, monkeypatch):
    monkeypatch.setattr("encfields.keys.dynamodb.removal.MAX_IN_TRANSACTION", 2)
    store.create("a")
    for _ in range(4):
        store.rotate("a")
    assert len(store.destroy("a")) == 5
    assert all(one.destroyed_at for one in store.list())


def test_broken_off_it_is_finished_by_the_next_run(store, kms, table_name, monkeypatch):
    monkeypatch.setattr("encfields.keys.dynamodb.removal.MAX_IN_TRANSACTION", 2)
    store.create("a")
    store.rotate("a")
    tools = item_table_of(store).tools()
    write = tools.dynamodb.transact_write_items
    calls: list[int] = []

    def write_once(**named):
        if calls:
            raise ConnectionError
        calls.append(1)
        return write(**named)

    tools.dynamodb.transact_write_items = write_once
    with pytest.raises(KeyUnavailableError):
        store.destroy("a")
    # What seals and what indexes is gone first.
    left = {place[1] for place, item in items(kms, table_name).items() if "enc" in item}
    assert all(name.startswith("branch:version:") for name in left)
    with pytest.raises(KeyDestroyedError):
        store.active("a")
    tools.dynamodb.transact_write_items = write
    store.destroy("a")
    assert not any("enc" in item for item in items(kms, table_name).values())


def test_there_must_be_such_a_key(store):
    with pytest.raises(KeyNotFoundError):
        store.destroy("none")


def test_other_processes_lose_it_within_the_time_to_live(made, arn, table_name):
    other = KeyCache(DynamoDbKeyStore(keyrings.aws_kms(arn), table_name), ttl=0.5, grace=60)
    version = other.active("a").version
    other.beacon("a")
    made.destroy("a")

    for ask in (
        lambda: other.active("a"),
        lambda: other.find("a", version),
        lambda: other.beacon("a"),
    ):
        until_raises(KeyDestroyedError, ask)


def test_prefetch_leaves_it_out(made):
    made.destroy("a")
    assert KeyCache(made).prefetch(beacons=True) == 1


def test_a_role_that_may_not_read_tombstones_gets_the_librarys_own_error(
    made, arn, table_name, kms
):
    """Not "denied", which would be the wrong thing to mend."""
    made.destroy("a")
    proxy = KmsProxy(kms.dynamodb_url)
    reader = DynamoDbKeyStore(keyrings.aws_kms(arn), table_name, endpoint_url=proxy.url)
    reader.active("b")
    item_at = item_table_of(reader).item_at

    def denied(*place):
        proxy.fail("deny")
        return item_at(*place)

    item_table_of(reader).item_at = denied  # type: ignore[method-assign]
    with pytest.raises(KeyAccessError) as caught:
        reader.active("a")
    proxy.stop()
    assert caught.value.reason == "tampered"


def test_through_encryption_it_counts_asks_and_gives_a_receipt(made, sqlite: Backend):
    engine = sqlite.create_engine()
    encryption = attach(engine, made)
    table = patient_table(key="a")
    table.create(engine)
    made.create("default")
    with engine.begin() as connection:
        connection.execute(insert(table), [{"id": 1, "name": "n", "ssn": "s", "notes": "x"}])
    specs = [TableSpec.from_table(table)]
    with pytest.raises(ConfigurationError, match=r"patient\.ssn \(1 values\)"):
        encryption.keys.destroy("a", specs=specs)
    receipt = encryption.keys.destroy(
        "a", confirm="a", specs=specs, signed_off_by="DPO", at_once=True
    )

    told = json.loads(json.dumps(receipt.to_json()))
    assert told["values_unreadable"] == 1
    assert len(told["versions"]) == 2
    assert "DynamoDbKeyStore" in receipt.store
    with pytest.raises(KeyDestroyedError), engine.connect() as connection:
        connection.execute(select(table.c.ssn)).all()


def test_the_beacon_key_is_one_for_good_and_is_told_so(made):
    (only,) = made.beacons("a")
    assert (only.version, only.material) == (1, made.beacon("a"))
    assert [one.version for one in made.list_beacons("a")] == [1]
    for call in (made.rotate_beacon, lambda key_id: made.retire_beacon(key_id, 1)):
        with pytest.raises(ConfigurationError, match="exactly one beacon key") as caught:
            call("a")
        assert caught.value.reason == "one-beacon"
    with pytest.raises(KeyNotFoundError):
        made.list_beacons("none")


def items(kms, table_name):
    return fleet.items(kms.dynamodb_url, table_name)
