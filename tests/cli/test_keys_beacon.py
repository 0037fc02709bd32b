"""``encfields keys rotate-beacon`` and ``retire-beacon``."""

from __future__ import annotations

from encfields.cli import exits
from tests.cli.conftest import on_sqlite


def versions(told) -> list[int]:
    return [one["version"] for one in told.json]


def test_a_second_one_is_made_and_the_first_one_goes(on_database, encryption, local_key):
    keyring = ("--keyring", local_key)
    told = on_database("keys", "rotate-beacon", "default", "--json", *keyring)
    assert (told.code, versions(told)) == (exits.OK, [1, 2])
    assert versions(on_database("keys", "list-beacons", "default", "--json")) == [1, 2]
    told = on_database("keys", "rotate-beacon", "default", *keyring)
    assert told.code == exits.FAILED
    assert "retire_beacon('default', 1)" in told.err

    told = on_database("keys", "retire-beacon", "default", "1")
    assert told.code == exits.FAILED
    assert "at_once=True" in told.err
    told = on_database("keys", "retire-beacon", "default", "1", "--at-once", "--json")
    assert (told.code, versions(told)) == (exits.OK, [2])
    assert [one.version for one in encryption._store.beacons("default")] == [2]


@on_sqlite
def test_people_get_a_table(on_database, encryption, local_key):
    told = on_database("keys", "rotate-beacon", "default", "--keyring", local_key)
    assert "beacon keys in force" in told.out


def test_the_newest_one_stays(on_database, encryption):
    told = on_database("keys", "retire-beacon", "default", "1", "--at-once")
    assert told.code == exits.FAILED
    assert "newest beacon key" in told.err
