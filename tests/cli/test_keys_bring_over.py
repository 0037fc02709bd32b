"""``encfields keys bring-over``: the key table of a development version is taken along."""

from __future__ import annotations

import datetime as dt
import uuid

import pytest
from sqlalchemy import Engine, insert, select

from encfields import Encryption, SqlKeyStore, attach, keyrings
from encfields.cli import exits
from encfields.engine import engine_encryption
from encfields.errors import KeyStoreError
from encfields.keys.keyrings.wrapping import KEY_ID, KEY_PURPOSE, KEY_VERSION, KeyWrapper
from encfields.keys.sql.rows import BEACON, BRANCH
from tests.servers.backends import Backend

MATERIAL = bytes(range(32))


class EarlierContext:
    """What a development version bound a wrapped key to."""

    def __init__(self, version: str, purpose: str) -> None:
        self.key_id = "default"
        self._pairs = {KEY_ID: self.key_id, KEY_VERSION: version, KEY_PURPOSE: purpose}

    def pairs(self) -> dict[str, str]:
        return self._pairs


@pytest.fixture
def earlier(engine: Engine, local_key: str) -> SqlKeyStore:
    """A key table as a development version left it: no name, and two versions in order."""
    store = SqlKeyStore(keyrings.local(local_key.partition(":")[2]))
    store.bind(engine)
    store.table.create(engine)
    wrapper = KeyWrapper(keyrings.local(local_key.partition(":")[2]))
    rows = []
    for number, purpose in ((1, BRANCH), (2, BRANCH), (1, BEACON)):
        version = str(uuid.uuid4())
        wrapped = wrapper.wrap(MATERIAL, EarlierContext(version, purpose))  # type: ignore[arg-type]
        active = None if (number, purpose) == (1, BRANCH) else 1
        rows.append(
            {
                "key_id": "default",
                "version": version,
                "purpose": purpose,
                "wrapped": wrapped,
                "active": active,
                "created_at": dt.datetime(2026, 1, number, tzinfo=dt.UTC),
            }
        )
    with engine.begin() as connection:
        connection.execute(insert(store.table), rows)
    return store


def opened(engine: Engine, local_key: str, name: str | None = None) -> Encryption:
    return attach(engine, SqlKeyStore(keyrings.local(local_key.partition(":")[2]), name=name))


def test_its_keys_are_bound_to_the_store_and_stay_what_they_are(
    on_database, backend: Backend, engine, earlier, local_key
):
    with engine.connect() as connection:
        found = select(earlier.table.c.version).where(earlier.table.c.purpose == BRANCH)
        newest = connection.execute(found.order_by(earlier.table.c.created_at.desc())).scalar()
    with pytest.raises(KeyStoreError):
        engine_encryption(opened(backend.create_engine(), local_key)).active_key("default")

    keys = ("--keyring", local_key, "--key-store", "production")
    told = on_database("keys", "bring-over", "--json", *keys)
    assert told.code == exits.OK
    assert told.json == {"brought_over": 3, "key_store": "production"}

    encryption = opened(backend.create_engine(), local_key, name="production")
    assert engine_encryption(encryption).active_key("default").version == newest
    assert [one.active for one in encryption.keys.list()].count(True) == 1
    message = encryption.seal(b"x", {"file": "a"})
    assert encryption.open(message, {"file": "a"}) == b"x"


def test_a_second_time_it_finds_nothing_to_do(on_database, earlier, local_key):
    keys = ("--keyring", local_key, "--key-store", "production")
    assert on_database("keys", "bring-over", *keys).code == exits.OK
    told = on_database("keys", "bring-over", *keys)
    assert told.code == exits.OK
    assert "0 wrapped keys" in told.out


def test_under_another_keyring_nothing_is_changed(on_database, engine, earlier, tmp_path):
    with engine.connect() as connection:
        before = connection.execute(select(earlier.table).order_by("version")).all()
    keyrings.generate_local_key(tmp_path / "other.key")
    told = on_database("keys", "bring-over", "--keyring", f"local:{tmp_path / 'other.key'}")
    assert told.code == exits.FAILED
    with engine.connect() as connection:
        after = connection.execute(select(earlier.table).order_by("version")).all()
    assert [row for row in after if row.key_id] == before
