"""``encfields keys``: create, rotate, list."""

from __future__ import annotations

from encfields import keyrings
from encfields.cli import exits
from encfields.keys.sql.store import SqlKeyStore
from encfields.testing import assert_absent
from tests.cli.conftest import on_sqlite
from tests.servers.backends import Backend
from tests.turns import databases_by_turns, on_each_database

pytestmark = databases_by_turns


@on_each_database
def test_create_rotate_and_list(on_database, local_key):
    made = on_database("keys", "create", "default", "--create-table", "--keyring", local_key)
    assert made.code == exits.OK
    first = on_database("keys", "list", "--json").json
    assert [one["active"] for one in first] == [True]
    assert first[0]["version"] in made.out

    rotated = on_database("keys", "rotate", "default", "--json", "--keyring", local_key)
    assert rotated.code == exits.OK
    versions = on_database("keys", "list", "--json").json
    assert [one["active"] for one in versions] == [False, True]
    assert versions[1] == rotated.json[0]
    listed = on_database("keys", "list").out
    assert "reads only" in listed
    assert rotated.json[0]["version"] in listed


@on_sqlite
def test_listing_needs_no_keyring_and_making_does(on_database, encryption):
    assert on_database("keys", "list").code == exits.OK
    for verb in ("create", "rotate"):
        told = on_database("keys", verb, "other")
        assert told.code == exits.FAILED
        assert "no keyring is given" in told.err


@on_sqlite
def test_a_keyring_that_opens_none_of_the_table_s_keys_is_warned_of(
    on_database, local_key, tmp_path
):
    made = on_database("keys", "create", "default", "--create-table", "--keyring", local_key)
    assert (made.code, made.err) == (exits.OK, "")
    again = on_database("keys", "create", "tenant/1", "--keyring", local_key)
    assert (again.code, again.err) == (exits.OK, "")
    keyrings.generate_local_key(tmp_path / "other.key")
    wrong = f"local:{tmp_path}/other.key"
    other = on_database("keys", "create", "tenant/2", "--keyring", wrong)
    assert other.code == exits.OK
    assert "opens none of the keys that the table has" in other.err

    moved = on_database("keys", "rewrap", "tenant/2", "--keyring", wrong, "--to", local_key)
    assert moved.code == exits.OK
    assert on_database("keys", "rotate", "--all", "--keyring", local_key).code == exits.OK


@on_sqlite
def test_what_the_key_store_refuses_is_a_message_and_what_to_do(on_database, encryption, local_key):
    told = on_database("keys", "create", "default", "--keyring", local_key)
    assert told.code == exits.FAILED
    assert told.err == (
        "encfields: key 'default': a key of this id exists already\n"
        "encfields: what to do: rotate it for a new version\n"
    )
    told = on_database("keys", "rotate", "nothing", "--json", "--keyring", local_key)
    assert told.code == exits.FAILED
    assert told.json["error"]["type"] == "KeyNotFoundError"
    another = ("--keyring", local_key, "--key-store", "another")
    told = on_database("keys", "rotate", "default", *another)
    assert told.code == exits.FAILED
    assert "what to do: give the name of the key store that the table was made with" in told.err


def test_without_a_key_table_it_says_so(on_database):
    told = on_database("keys", "list")
    assert told.code == exits.FAILED
    assert "the key table 'encfields_keys' is missing" in told.err


def test_another_key_table(on_database, local_key):
    table = ("--key-table", "my_keys")
    told = on_database("keys", "create", "a", "--create-table", *table, "--keyring", local_key)
    assert told.code == exits.OK
    assert [one["key_id"] for one in on_database("keys", "list", "--json", *table).json] == ["a"]


def test_through_kms(on_database, backend: Backend, kms):
    arns = ",".join(kms.create_key() for _ in range(2))
    told = on_database("keys", "create", "x", "--create-table", "--keyring", f"kms:{arns}")
    assert told.code == exits.OK


def test_no_key_material_is_shown(on_database, encryption, local_key, tmp_path):
    told = [
        on_database("keys", "list"),
        on_database("keys", "rotate", "default", "--keyring", local_key),
        on_database("keys", "list", "--json"),
    ]
    printed = [text for one in told for text in (one.out, one.err)]
    store = encryption._store
    assert isinstance(store, SqlKeyStore)
    assert_absent(store.active("default").material, *printed)
    assert_absent((tmp_path / "local.key").read_text().strip(), *printed)


def test_the_key_table_is_made_alone_and_its_name_shown(on_database, local_key):
    made = on_database("keys", "create-table", "--keyring", local_key)
    assert made.code == exits.OK
    assert "The key store is called" in made.out
    assert on_database("keys", "list", "--json").json == []
