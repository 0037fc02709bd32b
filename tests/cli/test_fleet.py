"""The commands on keys that have moved to AWS's key store: ``--key-table dynamodb:TABLE``."""

from __future__ import annotations

import secrets

import pytest

from encfields.cli import exits
from encfields.keys.dynamodb.store import DynamoDbKeyStore
from encfields.keys.keyrings.aws_kms import aws_kms
from tests.census.clinic import fill
from tests.cli.conftest import Run
from tests.turns import databases_by_turns

pytestmark = databases_by_turns

COLUMNS = ("--table", "patient", "--column", "ssn", "--column", "notes")


@pytest.fixture
def fleet(kms) -> tuple[str, ...]:
    """What names AWS's key store on the command line."""
    table = f"dynamodb:keys-{secrets.token_hex(6)}"
    return ("--key-table", table, "--keyring", f"kms:{kms.create_key()}")


def test_keys_are_made_rotated_and_listed(command: Run, sqlite, fleet):
    database = ("--database", sqlite.url_text)
    told = command("keys", "create", "default", "--create-table", *database, *fleet)
    assert told.code == exits.OK
    assert command("keys", "rotate", "default", *database, *fleet).code == exits.OK
    listed = command("keys", "list", "--json", *database, *fleet).json
    assert [one["active"] for one in listed] == [False, True]


def test_after_an_export_the_table_goes_on_under_the_copies(
    on_database, engine, encryption, patients, local_key, fleet
):
    fill(engine, patients, range(1, 31))
    table = fleet[1].removeprefix("dynamodb:")
    exported = on_database(
        "keys", "export", "--to", table, "--to-keyring", fleet[3], "--create-table",
        "--keyring", local_key,
    )  # fmt: skip
    assert exported.code == exits.OK
    assert on_database("verify", *COLUMNS, *fleet).code == exits.OK
    assert on_database("status", *COLUMNS, *fleet).code == exits.OK

    assert on_database("keys", "rotate", "default", *fleet).code == exits.OK
    assert on_database("status", *COLUMNS, *fleet).code == exits.WORK_LEFT
    assert on_database("reencrypt", "--start", *COLUMNS, *fleet).code == exits.OK
    assert on_database("status", *COLUMNS, *fleet).code == exits.OK
    assert on_database("verify", *COLUMNS, *fleet).code == exits.OK


def test_a_logical_name_of_its_own_is_told_behind_an_at(command: Run, sqlite, kms):
    arn, table = kms.create_key(), f"keys-{secrets.token_hex(6)}"
    place = ("--key-table", f"dynamodb:{table}@fleet", "--keyring", f"kms:{arn}")
    told = command(
        "keys", "create", "default", "--create-table", "--database", sqlite.url_text, *place
    )
    assert told.code == exits.OK
    store = DynamoDbKeyStore(aws_kms(arn), table, name="fleet")
    assert store.active("default").id == "default"


def test_a_missing_keyring_or_key_table_is_reported(on_database, fleet):
    told = on_database("keys", "list", *fleet[:2])
    assert told.code == exits.FAILED
    assert "no keyring is given" in told.err
    told = on_database("keys", "export", "--to", "keys", "--to-keyring", fleet[3], *fleet)
    assert told.code == exits.FAILED
    assert "a key table of the database alone" in told.err


def test_a_key_is_destroyed_and_moved_to_another_kms_key(
    on_database, engine, encryption, patients, local_key, fleet, kms
):
    fill(engine, patients, range(1, 11))
    table = fleet[1].removeprefix("dynamodb:")
    on_database(
        "keys", "export", "--to", table, "--to-keyring", fleet[3], "--create-table",
        "--keyring", local_key,
    )  # fmt: skip
    new = f"kms:{kms.create_key()}"
    told = on_database("keys", "rewrap", "--to", new, "--json", *fleet)
    assert (told.code, told.json["moved"]) == (exits.OK, 3)
    moved = (*fleet[:2], "--keyring", new)
    assert on_database("verify", *COLUMNS, *moved).code == exits.OK

    told = on_database(
        "keys", "destroy", "default", *COLUMNS, "--confirm", "default", "--json", *moved
    )
    assert (told.code, told.json["values_unreadable"]) == (exits.OK, 19)
    listed = on_database("keys", "list", "--json", *moved).json
    assert all(one["destroyed_at"] for one in listed)


def test_what_awss_key_store_has_not_is_refused(command: Run, sqlite, fleet):
    place = ("--database", sqlite.url_text, *fleet)
    command("keys", "create", "default", "--create-table", *place)
    told = command("keys", "rotate-beacon", "default", *place)
    assert told.code == exits.FAILED
    assert "exactly one beacon key" in told.err


def test_the_doctor_looks_whether_its_keys_open(command: Run, sqlite, fleet, kms):
    place = ("--json", "--database", sqlite.url_text)
    command("keys", "create", "default", "--create-table", *place, *fleet)
    told = command("doctor", *place, *fleet)
    found = {one["check"]: one["verdict"] for one in told.json["findings"]}
    table = fleet[1].removeprefix("dynamodb:")
    assert told.code == exits.OK
    assert found[f"key table {table}"] == found["active keys"] == found["forked child"] == "ok"
    assert found["keyring"] == "skipped"

    other = (*fleet[:2], "--keyring", f"kms:{kms.create_key()}")
    told = command("doctor", *place, *other)
    found = {one["check"]: one["verdict"] for one in told.json["findings"]}
    assert (told.code, found["active keys"]) == (exits.FAULTS, "problem")
    told = command("doctor", *place, *fleet[:2])
    found = {one["check"]: one["verdict"] for one in told.json["findings"]}
    assert (told.code, found["key table"]) == (exits.FAULTS, "problem")
