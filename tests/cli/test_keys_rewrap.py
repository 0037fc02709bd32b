"""``encfields keys rewrap``: all keys to another keyring."""

from __future__ import annotations

from encfields import SqlKeyStore, keyrings
from encfields.cli import exits
from tests.turns import databases_by_turns

pytestmark = databases_by_turns


def test_all_keys_move_and_a_second_run_finds_nothing_to_do(
    on_database, encryption, engine, local_key, kms
):
    encryption.keys.create("tenant/a")
    arns = kms.create_key(), kms.create_key("eu-central-1")
    to = "kms:" + ",".join(arns)
    told = on_database("keys", "rewrap", "--keyring", local_key, "--to", to, "--json")
    assert told.code == exits.OK
    assert told.json == {"moved": 4, "already": 0, "destroyed": 0, "failed": [], "left": []}
    told = on_database("keys", "rewrap", "--keyring", to, "--to", to)
    assert told.code == exits.OK
    assert "0 wrapped keys were moved; 4 had been moved before" in told.out
    store = SqlKeyStore(keyrings.aws_kms(arns[1]), engine=engine)
    assert store.active("tenant/a").id == "tenant/a"


def test_a_keyring_that_does_not_open_them_moves_nothing(on_database, encryption, tmp_path):
    keyrings.generate_local_key(tmp_path / "other.key")
    other = f"local:{tmp_path / 'other.key'}"
    told = on_database("keys", "rewrap", "--keyring", other, "--to", other)
    assert told.code == exits.FAILED
    assert "none of the keyring's wrapping keys opens this key" in told.err
    assert encryption._store.active("default").id == "default"
