"""``encfields verify``: opens everything, lists what does not open, shows no value."""

from __future__ import annotations

from pathlib import Path

from encfields import SqlKeyStore, attach, keyrings
from encfields.cli import exits
from encfields.testing import assert_absent
from tests.census.clinic import SECRET, fill, overwrite, patient_table, stored
from tests.cli.conftest import on_sqlite
from tests.servers.backends import Backend
from tests.turns import databases_by_turns

pytestmark = databases_by_turns

SSN = ("--table", "patient", "--column", "ssn")


def test_everything_opens(on_database, engine, encryption, patients, local_key):
    fill(engine, patients, range(1, 21))
    encryption.keys.rotate("default")
    fill(engine, patients, range(21, 31))
    told = on_database("verify", *SSN, "--column", "notes", "--keyring", local_key)
    assert told.code == exits.OK
    assert "30 rows; 57 values opened, 3 NULL, 0 did not open" in told.out
    assert_absent(SECRET, told.out, told.err)


def test_a_swapped_value_is_listed_with_where_it_belongs(on_database, engine, patients, local_key):
    fill(engine, patients, range(1, 6))
    overwrite(engine, 1, stored(engine, 2))
    told = on_database("verify", *SSN, "--keyring", local_key)
    assert told.code == exits.FAULTS
    assert "ContextMismatchError" in told.out
    assert "enc:column=patient.ssn, enc:row:id=2" in told.out
    document = on_database("verify", "--json", *SSN, "--keyring", local_key).json
    assert document["ok"] is False
    assert document["tables"][0]["failures"][0]["belongs_to"]["enc:row:id"] == "2"


@on_sqlite
def test_failures_beyond_the_limit_are_counted(on_database, engine, patients, local_key):
    fill(engine, patients, range(1, 6))
    for row_id in (1, 2, 3):
        overwrite(engine, row_id, SECRET.encode())
    told = on_database("verify", *SSN, "--keyring", local_key, "--max-failures", "1")
    assert "3 did not open (1 listed)" in told.out
    assert_absent(SECRET, told.out, told.err)


def test_a_sample_is_opened(on_database, engine, patients, local_key):
    fill(engine, patients, range(1, 501))
    told = on_database("verify", "--json", *SSN, "--keyring", local_key, "--sample", "100")
    assert told.code == exits.OK
    assert told.json["tables"][0]["sample"]["rows"] < 400


@on_sqlite
def test_without_a_keyring_it_says_how_to_give_one(on_database, engine, patients):
    fill(engine, patients, range(1, 3))
    told = on_database("verify", *SSN)
    assert told.code == exits.FAILED
    assert "no keyring is given\nencfields: what to do: give --keyring kms:ARN" in told.err


def test_through_kms_and_an_outage_of_it(
    on_database, backend: Backend, kms, kms_proxy, monkeypatch
):
    arn = kms.create_key()
    engine = backend.create_engine()
    attach(engine, SqlKeyStore(keyrings.aws_kms(arn)), create=True)
    table = patient_table()
    table.create(engine)
    fill(engine, table, range(1, 6))

    for keyring in (f"kms:{arn}", f"discovery:{arn.split(':')[4]}@{arn.split(':')[3]}"):
        assert on_database("verify", *SSN, "--keyring", keyring).code == exits.OK
    kms_proxy.fail("refuse")
    told = on_database("verify", *SSN, "--keyring", f"kms:{arn}")
    assert told.code == exits.FAILED
    assert told.err.startswith("encfields: patient.ssn, key 'default': ")
    assert "Traceback" not in told.err


def test_the_wrong_local_key_opens_nothing(on_database, engine, patients, tmp_path: Path):
    fill(engine, patients, range(1, 3))
    keyrings.generate_local_key(tmp_path / "other.key")
    told = on_database("verify", *SSN, "--keyring", f"local:{tmp_path / 'other.key'}")
    assert told.code == exits.FAULTS
    assert "KeyAccessError" in told.out
