"""``encfields keys retire``: a version goes when no value is under it, and no sooner."""

from __future__ import annotations

from encfields.bulk.reencryption import Reencryption
from encfields.bulk.rows.spec import TableSpec
from encfields.cli import exits
from encfields.engine import engine_encryption
from tests.census.clinic import fill
from tests.turns import databases_by_turns

pytestmark = databases_by_turns

TABLE = ("--table", "patient", "--column", "ssn", "--column", "notes")


def test_a_version_with_values_stays_and_one_without_goes(
    on_database, engine, encryption, patients
):
    old = engine_encryption(encryption).active_key("default").version
    fill(engine, patients, range(1, 4))
    new = encryption.keys.rotate("default").version

    told = on_database("keys", "retire", "default", old, *TABLE, "--at-once")
    assert told.code == exits.FAILED
    assert "patient.ssn" in told.err

    assert Reencryption(engine, encryption, TableSpec.from_table(patients)).run().finished
    told = on_database("keys", "retire", "default", old, *TABLE)
    assert told.code == exits.FAILED
    assert "at_once=True" in told.err
    told = on_database("keys", "retire", "default", old, *TABLE, "--at-once", "--json")
    assert (told.code, told.json) == (exits.OK, {"key_id": "default", "retired": old})

    told = on_database("keys", "list", "--json")
    states = {one["version"]: one["destroyed_at"] is None for one in told.json}
    assert states == {old: False, new: True}
    with engine.connect() as connection:
        assert connection.execute(patients.select()).first() is not None


def test_the_newest_version_stays(on_database, encryption, patients):
    newest = engine_encryption(encryption).active_key("default").version
    told = on_database("keys", "retire", "default", newest, *TABLE, "--at-once")
    assert told.code == exits.FAILED
    assert on_database("keys", "list", "--json").json[0]["active"] is True


def test_without_a_table_it_is_refused(on_database, encryption):
    version = engine_encryption(encryption).active_key("default").version
    encryption.keys.rotate("default")
    told = on_database("keys", "retire", "default", version, "--at-once")
    assert told.code != exits.OK
