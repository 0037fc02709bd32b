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
