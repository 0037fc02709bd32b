"""Values whose key version is missing or destroyed do not open, and no command says otherwise."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from encfields.cli import exits
from tests.census.clinic import fill
from tests.turns import databases_by_turns

pytestmark = databases_by_turns

COLUMNS = ("--table", "patient", "--column", "ssn")


@pytest.fixture
def restored(on_database, engine, encryption, patients):
    """The key table of a backup that lacks the version that the first five values are under."""
    fill(engine, patients, range(1, 6))
    first = encryption.keys.list()[0].version
    encryption.keys.rotate("default")
    fill(engine, patients, range(6, 21))
    with engine.begin() as connection:
        gone = text("DELETE FROM encfields_keys WHERE version = :version")
        assert connection.execute(gone, {"version": first}).rowcount == 1
    return first


def test_status_tells_a_missing_version_from_an_older_one(on_database, restored):
    told = on_database("status", *COLUMNS)
    assert told.code == exits.FAULTS
    assert "key version missing" in told.out
    assert "older version" not in told.out
    (column,) = on_database("status", "--json", *COLUMNS).json["tables"][0]["columns"]
    assert (column["without_key"], column["current"]) == (5, 15)


def test_a_dry_run_counts_them_as_unreadable(on_database, restored):
    told = on_database("reencrypt", "--dry-run", "--json", *COLUMNS)
    assert told.code == exits.FAULTS
    assert (told.json[0]["unreadable"], told.json[0]["values_to_rewrite"]) == (5, 0)


def test_doctor_finds_them(on_database, restored):
    told = on_database("doctor", "--json", *COLUMNS)
    assert told.code == exits.FAULTS
    (found,) = (f for f in told.json["findings"] if f["check"] == "key versions of patient")
    assert found["verdict"] == "problem"
    assert f"5 values do not open, key version missing: default {restored}" in found["detail"]


def test_values_under_a_destroyed_key_are_told_as_such(on_database, engine, encryption, patients):
    fill(engine, patients, range(1, 6))
    encryption.keys.destroy("default", confirm="default", specs=None, at_once=True)
    told = on_database("status", *COLUMNS)
    assert told.code == exits.FAULTS
    assert "key destroyed" in told.out
    assert "older version" not in told.out
    (found,) = (
        finding
        for finding in on_database("doctor", "--json", *COLUMNS).json["findings"]
        if finding["check"] == "key versions of patient"
    )
    assert found["verdict"] == "warning"


def test_where_all_versions_are_there_doctor_is_content(on_database, engine, encryption, patients):
    fill(engine, patients, range(1, 6))
    encryption.keys.rotate("default")
    found = on_database("doctor", "--json", *COLUMNS).json["findings"]
    (one,) = (finding for finding in found if finding["check"] == "key versions of patient")
    assert one["verdict"] == "ok"


def _doctors_verdict(on_database, check: str, *options: str) -> tuple[str, str]:
    found = on_database("doctor", "--json", *COLUMNS, *options).json["findings"]
    (one,) = (finding for finding in found if finding["check"] == check)
    return one["verdict"], one["detail"]


def test_doctor_finds_a_beacon_key_that_the_key_table_has_lost(
    on_database, engine, encryption, patients, local_key
):
    fill(engine, patients, range(1, 6))
    with engine.begin() as connection:
        gone = text("DELETE FROM encfields_keys WHERE purpose = 'beacon-key'")
        assert connection.execute(gone).rowcount == 1
    verdict, detail = _doctors_verdict(on_database, "active keys", "--keyring", local_key)
    assert verdict == "problem"
    assert "the row of its beacon key was deleted: restore it from a backup" in detail


def test_doctor_finds_values_under_a_key_of_another_name(on_database, engine, encryption, patients):
    fill(engine, patients, range(1, 6))
    with engine.begin() as connection:
        stored = connection.execute(text("SELECT ssn FROM patient WHERE id = 1")).scalar_one()
        renamed = {"m": bytes(stored).replace(b"default", b"another")}
        connection.execute(text("UPDATE patient SET ssn = :m WHERE id = 1"), renamed)
    verdict, detail = _doctors_verdict(on_database, "key versions of patient")
    assert verdict == "problem"
    assert "1 values do not open, under a key id that is neither" in detail
