"""``encfields keys export``: branch keys move to AWS's key store, and no value is touched."""

from __future__ import annotations

import json
import logging
import re
from contextlib import suppress
from typing import Any

import pytest
from aws_cryptographic_material_providers.keystore import models
from sqlalchemy.orm import Session

from encfields import DynamoDbKeyStore, SqlKeyStore, attach, keyrings
from encfields.cli import exits
from encfields.cli.main import main
from encfields.errors import (
    ConfigurationError,
    KeyAccessError,
    KeyExistsError,
    KeyNotFoundError,
    KeyStoreError,
    KeyUnavailableError,
)
from encfields.interop import column_context
from encfields.keys.dynamodb.export import export_keys
from encfields.keys.dynamodb.store import item_table_of
from encfields.testing import assert_absent
from tests.dynamodb import fleet
from tests.interop.model import Base, Note, Patient
from tests.interop.raw import stored
from tests.servers.backends import Backend


@pytest.fixture
def keyring() -> Any:
    return keyrings.local(b"w" * 32)


@pytest.fixture
def source(sqlite: Backend, keyring: Any) -> SqlKeyStore:
    """The application's own key table."""
    made = SqlKeyStore(keyring, engine=sqlite.create_engine())
    made.create_table()
    return made


@pytest.fixture
def stock_store(kms, table_name, arn):
    return fleet.key_store(kms, table_name, arn)


# -- the way from embedded to a fleet --------------------------------------------------------------


def test_stored_values_open_with_the_stock_keyring_and_are_not_touched(
    backend, keyring, store, stock_store, client
):
    engine = backend.create_engine()
    Base.metadata.create_all(engine)
    source = SqlKeyStore(keyring)
    encryption = attach(engine, source, create=True)
    with Session(engine) as session:
        session.add_all([Patient(id=1, ssn="old"), Note(id=1, tenant_id=7, body="note")])
        session.commit()
        encryption.keys.rotate("default")
        session.add(Patient(id=2, ssn="new"))
        session.commit()
    places = [("patient.ssn", 1), ("patient.ssn", 2), ("note.body", 1)]
    before = [stored(engine, *place) for place in places]

    exported = list(export_keys(source, store))

    assert [(one.id, one.versions, one.written) for one in exported] == [
        ("default", 2, 2), ("tenant/7", 1, 1),
    ]  # fmt: skip
    assert [stored(engine, *place) for place in places] == before
    contexts = [
        column_context(Patient.ssn, {"id": 1}),
        column_context(Patient.ssn, {"id": 2}),
        column_context(Note.body, {"id": 1, "tenant_id": 7}),
    ]
    for message, context, key_id, value in zip(
        before, contexts, ("default", "default", "tenant/7"), (b"old", b"new", b"note"), strict=True
    ):
        plaintext, _ = client.decrypt(
            source=message,
            keyring=fleet.hierarchical_keyring(stock_store, key_id),
            encryption_context=context,
        )
        assert plaintext == value

    # And the application goes on with the copy in place of its key table.
    encryption.detach()
    attach(engine, store)
    with Session(engine) as session:
        assert [p.ssn for p in session.query(Patient).order_by(Patient.id)] == ["old", "new"]
        session.add(Patient(id=3, ssn="newest"))
        session.commit()
        assert session.get_one(Note, 1).body == "note"


def test_every_version_the_active_one_and_the_beacon_key_are_read_by_the_stock_key_store(
    source, store, stock_store
):
    first = source.create("default")
    second = source.rotate("default")
    list(export_keys(source, store))
    for made in (first, second):
        found = stock_store.get_branch_key_version(
            models.GetBranchKeyVersionInput(
                branch_key_identifier="default", branch_key_version=made.version
            )
        ).branch_key_materials
        assert found.branch_key == source.version("default", made.version).material
    active = stock_store.get_active_branch_key(
        models.GetActiveBranchKeyInput(branch_key_identifier="default")
    ).branch_key_materials
    assert active.branch_key_version == second.version
    assert active.branch_key == source.active("default").material
    beacon = stock_store.get_beacon_key(models.GetBeaconKeyInput(branch_key_identifier="default"))
    assert beacon.beacon_key_materials.beacon_key == source.beacon("default")


def test_the_items_have_the_form_of_those_that_the_stock_key_store_writes(
    kms, source, store, stock_store, table_name
):
    """Attribute for attribute, value for value but ids, times and ciphertext."""
    source.create("ours")
    source.rotate("ours")
    list(export_keys(source, store))
    stock_store.create_key(
        models.CreateKeyInput(
            branch_key_identifier="theirs", encryption_context={"enc:purpose": "branch-key"}
        )
    )
    stock_store.version_key(models.VersionKeyInput(branch_key_identifier="theirs"))
    found = fleet.items(kms.dynamodb_url, table_name)

    def forms(key_id: str) -> list[str]:
        told = [_form(item) for (owner, _), item in found.items() if owner == key_id]
        return sorted(one.replace(f'"{key_id}"', '"the id"') for one in told)

    assert len(forms("ours")) == 4
    assert forms("ours") == forms("theirs")


def test_the_stock_key_store_rotates_what_was_exported(source, store, stock_store, client):
    source.create("default")
    list(export_keys(source, store))
    stock_store.version_key(models.VersionKeyInput(branch_key_identifier="default"))
    listed = store.list()
    assert [one.active for one in listed] == [False, True]
    assert listed[0].version == source.active("default").version
    assert store.active("default").version == listed[1].version


def test_the_multi_region_kind_of_keyring_takes_the_copies(kms, source, table_name):
    source.create("default")
    keyring = keyrings.aws_kms_mrk(kms.create_key())
    target = DynamoDbKeyStore(keyring, table_name, name="fleet")
    target.create_table()
    list(export_keys(source, target))
    assert target.active("default").material == source.active("default").material
    assert target.rotate("default").active


def test_a_replica_is_asked_in_its_own_region_for_a_copy_of_its_sibling(
    kms, kms_proxy, source, table_name
):
    """moto cannot decrypt under any multi-Region key: there this is about the requests alone."""
    home = kms.create_key("eu-west-1", multi_region=True)
    replica = kms.replicate_key(home, "eu-central-1")
    version = source.create("default").version
    target = DynamoDbKeyStore(keyrings.aws_kms_mrk(home), table_name)
    target.create_table()
    with suppress(KeyUnavailableError):
        list(export_keys(source, target))
    kms_proxy.reset()
    elsewhere = DynamoDbKeyStore(keyrings.aws_kms_mrk(replica), table_name, region="eu-west-1")
    with suppress(KeyStoreError):
        elsewhere.version("default", version)
    (call,) = kms_proxy.calls
    assert call.action == "Decrypt"
    assert call.request["KeyId"] == replica
    assert "/eu-central-1/kms/" in call.authorization


# -- run again, and broken off ---------------------------------------------------------------------


def test_run_again_it_writes_nothing_and_a_rotation_is_carried_over(kms, source, store, table_name):
    source.create("default")
    list(export_keys(source, store))
    before = fleet.items(kms.dynamodb_url, table_name)
    (again,) = export_keys(source, store)
    assert (again.versions, again.written) == (1, 0)
    assert fleet.items(kms.dynamodb_url, table_name) == before

    rotated = source.rotate("default")
    (carried,) = export_keys(source, store)
    assert (carried.versions, carried.written) == (2, 1)
    assert store.active("default").version == rotated.version
    assert store.active("default").material == source.active("default").material


@pytest.mark.parametrize("calls", range(1, 5))
def test_broken_off_anywhere_it_is_finished_by_the_next_run(
    source, arn, table_name, kms_proxy, calls
):
    target = DynamoDbKeyStore(keyrings.aws_kms(arn, max_attempts=1), table_name)
    target.create_table()
    source.create("default")
    source.rotate("default")
    kms_proxy.delay = 0
    _fail_after(kms_proxy, target, calls)
    with pytest.raises(KeyUnavailableError):
        list(export_keys(source, target))
    kms_proxy.heal()
    fresh = DynamoDbKeyStore(keyrings.aws_kms(arn), table_name)
    list(export_keys(source, fresh))
    for one in source.list():
        copied = fresh.version("default", one.version)
        assert copied.material == source.version("default", one.version).material
    assert fresh.active("default").version == source.active("default").version
    assert fresh.beacon("default") == source.beacon("default")


# -- refusals --------------------------------------------------------------------------------------


def test_another_key_of_the_same_id_is_left_alone(kms, source, store, table_name):
    source.create("default")
    store.create("default")
    before = fleet.items(kms.dynamodb_url, table_name)
    with pytest.raises(KeyExistsError):
        list(export_keys(source, store))
    assert fleet.items(kms.dynamodb_url, table_name) == before


def test_a_copy_that_was_rotated_by_itself_is_left_alone(kms, source, store, table_name):
    source.create("default")
    list(export_keys(source, store))
    store.rotate("default")
    source.rotate("default")
    before = fleet.items(kms.dynamodb_url, table_name)
    with pytest.raises(KeyExistsError):
        list(export_keys(source, store))
    assert fleet.items(kms.dynamodb_url, table_name) == before


def test_a_version_that_holds_another_key_is_found(kms, source, store, table_name):
    made = source.create("default")
    list(export_keys(source, store))
    client = fleet.dynamodb(kms.dynamodb_url)
    place = ("default", f"branch:version:{made.version}")
    item = dict(fleet.items(kms.dynamodb_url, table_name)[place])
    context = {
        name: next(iter(value.values())) for name, value in item.items() if name != "enc"
    } | {"tablename": table_name}
    forged = kms.client().encrypt(
        KeyId=item["kms-arn"]["S"], Plaintext=b"x" * 32, EncryptionContext=context
    )
    item["enc"] = {"B": forged["CiphertextBlob"]}
    client.put_item(TableName=table_name, Item=item)
    with pytest.raises(KeyExistsError, match="another key"):
        list(export_keys(source, store))


def test_an_unknown_key_is_refused_before_anything_is_written(kms, source, store, table_name):
    source.create("default")
    with pytest.raises(KeyNotFoundError):
        list(export_keys(source, store, ["default", "other"]))
    assert fleet.items(kms.dynamodb_url, table_name) == {}


def test_only_the_named_keys_are_copied(source, store):
    for key_id in ("a", "b", "c"):
        source.create(key_id)
    list(export_keys(source, store, ["c", "a"]))
    assert [one.id for one in store.list()] == ["a", "c"]


def test_a_missing_table_and_a_wrong_keyring_are_said_so(sqlite, source, arn, table_name, store):
    source.create("default")
    nowhere = DynamoDbKeyStore(keyrings.aws_kms(arn), table_name + "-none")
    with pytest.raises(ConfigurationError):
        list(export_keys(source, nowhere))
    wrong = SqlKeyStore(keyrings.local(b"x" * 32), engine=sqlite.create_engine())
    with pytest.raises(KeyAccessError):
        list(export_keys(wrong, store))
    assert store.list() == []


def test_no_key_is_logged(source, store, caplog):
    source.create("default")
    with caplog.at_level(logging.DEBUG):
        list(export_keys(source, store))
    assert "Encrypt" in caplog.text
    for canary in (source.active("default").material, source.beacon("default")):
        assert_absent(canary, caplog.text, caplog.records)


# -- the command -----------------------------------------------------------------------------------


@pytest.fixture
def command(sqlite, tmp_path, monkeypatch, capsys):
    """``encfields keys export`` on a database with a local wrapping key."""
    keyrings.generate_local_key(tmp_path / "local.key")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ENCFIELDS_DATABASE_URL", sqlite.url_text)
    monkeypatch.setenv("ENCFIELDS_KEYRING", f"local:{tmp_path / 'local.key'}")
    for name in ("default", "tenant/7"):
        assert main(["keys", "create", name, "--create-table"]) == exits.OK

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["keys", "export", *arguments])
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


def test_the_command_copies_and_tells(command, arn, table_name, stock_store):
    to = ("--to", table_name, "--to-keyring", f"kms:{arn}")
    code, _, err = command(*to)
    assert code == exits.FAILED
    assert "no DynamoDB table" in err
    code, out, _ = command(*to, "--create-table", "tenant/7")
    assert code == exits.OK
    assert "tenant/7" in out
    assert "default" not in out
    code, out, _ = command(*to, "--json")
    assert code == exits.OK
    told = {one["id"]: one for one in json.loads(out)}
    assert (told["default"]["written"], told["tenant/7"]["written"]) == (1, 0)
    asked = models.GetActiveBranchKeyInput(branch_key_identifier="default")
    found = stock_store.get_active_branch_key(asked).branch_key_materials
    assert found.branch_key_version == told["default"]["active"]


def test_the_command_refuses_keyrings_that_awss_key_store_cannot_use(command, tmp_path):
    code, _, err = command("--to", "keys", "--to-keyring", f"local:{tmp_path / 'local.key'}")
    assert code == exits.FAILED
    assert "exactly one KMS key" in err


def _form(item: dict[str, Any]) -> str:
    """An item without what differs from one key to another."""
    sizes = {"enc": {"B": len(item["enc"]["B"])}}
    text = json.dumps({**item, **sizes}, sort_keys=True)
    text = re.sub(r"branch:version:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "VERSION", text)
    return re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", "TIME", text)


def _fail_after(proxy: Any, target: DynamoDbKeyStore, calls: int) -> None:
    """Let KMS deny from the given Encrypt call on."""
    tools = item_table_of(target).tools()
    seen = []

    def count(**_: Any) -> None:
        seen.append(1)
        if len(seen) == calls:
            proxy.fail("error")

    tools.kms.meta.events.register("before-call.kms.Encrypt", count)


# -- beacon keys that were rotated -----------------------------------------------------------------


def test_a_rotated_beacon_key_keeps_its_number_so_that_indexes_are_found(
    source, store, stock_store, kms
):
    """A column's index names the version of the beacon key that it is made with."""
    source.create("default")
    source.rotate_beacon("default")
    source.retire_beacon("default", 1)
    list(export_keys(source, store))

    (here,), (there,) = source.beacons("default"), store.beacons("default")
    assert (there.version, there.material) == (here.version, here.material) == (2, here.material)
    assert [one.version for one in store.list_beacons("default")] == [2]
    asked = models.GetBeaconKeyInput(branch_key_identifier="default")
    stock = stock_store.get_beacon_key(asked).beacon_key_materials
    assert bytes(stock.beacon_key) == here.material
    # It stays so: run again, rotated there, and moved to another KMS key.
    assert [one.written for one in export_keys(source, store)] == [0]
    store.rotate("default")
    store.rewrap(keyrings.aws_kms(kms.create_key()))
    assert [one.version for one in store.beacons("default")] == [2]


def test_the_number_cannot_be_altered_unnoticed(source, store, kms, table_name):
    source.create("default")
    source.rotate_beacon("default")
    source.retire_beacon("default", 1)
    list(export_keys(source, store))
    item = fleet.items(kms.dynamodb_url, table_name)["default", "beacon:ACTIVE"]
    item["aws-crypto-ec:enc:beacon-version"] = {"S": "1"}
    fleet.dynamodb(kms.dynamodb_url).put_item(TableName=table_name, Item=item)

    with pytest.raises(KeyAccessError):
        store.beacons("default")


def test_two_beacon_keys_are_one_too_many(source, store):
    source.create("default")
    source.rotate_beacon("default")
    with pytest.raises(ConfigurationError, match=r"retire_beacon\('default', 1\)") as caught:
        list(export_keys(source, store))
    assert caught.value.reason == "two-beacons"
    assert store.list() == []


def test_a_beacon_key_rotated_since_is_another_one(source, store):
    source.create("default")
    list(export_keys(source, store))
    source.rotate_beacon("default")
    source.retire_beacon("default", 1)
    with pytest.raises(KeyExistsError, match="beacon key is a different one"):
        list(export_keys(source, store))
