"""What importing the keys costs: neither boto3 nor AWS's libraries."""

from __future__ import annotations

import subprocess
import sys

import pytest
from botocore.exceptions import ProfileNotFound

from encfields.keys.aws.clients import ClientOptions, new_session, preload

HEAVY = ("boto3", "botocore", "aws_encryption_sdk", "aws_cryptographic_material_providers")

STORE = """
import sys, secrets
from sqlalchemy import create_engine
from encfields import keyrings
from encfields.keys.admin import KeyAdmin
from encfields.keys.cache.key_cache import KeyCache
from encfields.keys.sql.store import SqlKeyStore
arn = "arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
keyrings.aws_kms_discovery("123456789012", regions="eu-west-1")
for keyring in (keyrings.local(secrets.token_bytes(32)), keyrings.aws_kms(arn)):
    store = SqlKeyStore(keyring, engine=create_engine("sqlite://"))
    store.create_table()
    KeyAdmin(store, KeyCache(store)).list()
"""


def loaded_by(code: str) -> set[str]:
    listing = f"{code}\nprint(*[name for name in {HEAVY!r} if name in sys.modules])"
    command = [sys.executable, "-c", listing]
    return set(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())


def test_keyrings_stores_and_listing_load_none_of_awss_libraries():
    assert loaded_by(STORE) == set()


def test_they_are_loaded_when_a_key_is_wrapped():
    used = 'store._wrapper.current.keyring = keyrings.local(bytes(32)); store.create("default")'

    assert loaded_by(f"{STORE}\n{used}") == set(HEAVY)


MODULES = (
    "fetching.runner",
    "cache.key_cache",
    "admin",
    "keyrings.wrapping",
    "keyrings.aws_kms",
    "store",
)

EACH = f"""
import importlib, os, sys
import encfields.errors
before = set(sys.modules)
for module in {MODULES!r}:
    if pid := os.fork():
        assert os.waitpid(pid, 0)[1] == 0, module
        continue
    importlib.import_module("encfields.keys." + module)
    print(module, *(set(sys.modules) - before), flush=True)
    os._exit(0)
"""


@pytest.fixture(scope="module")
def loaded_by_each() -> dict[str, list[str]]:
    """What each module loads that errors.py has not, whose classes mix in one of SQLAlchemy's."""
    command = [sys.executable, "-c", EACH]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {words[0]: words[1:] for words in map(str.split, told.splitlines())}


@pytest.mark.parametrize("module", MODULES)
def test_only_the_sql_store_knows_sqlalchemy(module, loaded_by_each):
    new = loaded_by_each[module]

    assert f"encfields.keys.{module}" in new
    assert not any(name.startswith("sqlalchemy.") or ".sql." in name for name in new), new


def test_an_engine_for_asyncio_loads_them_when_it_is_attached():
    """And not when the first key is fetched, for which the event loop would stand still."""
    attached = (
        "import sys\n"
        "from sqlalchemy.ext.asyncio import create_async_engine\n"
        "from encfields import SqlKeyStore, attach, keyrings\n"
        "engine = create_async_engine('postgresql+asyncpg://u@127.0.0.1:9/none')\n"
        "key = 'arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab'\n"
        "attach(engine, SqlKeyStore(keyrings.aws_kms(key)))\n"
    )

    assert loaded_by(attached) == set(HEAVY)


PRELOADED = f"""
import secrets, sys, threading
from sqlalchemy import create_engine
from encfields import SqlKeyStore, keyrings
store = SqlKeyStore(keyrings.local(secrets.token_bytes(32)), engine=create_engine("sqlite://"))
store.create_table()
store.preload()
assert set({HEAVY!r}) - set(sys.modules) <= {{"boto3"}}
assert threading.active_count() == 1
before = set(sys.modules)
store.create("default")
print(*[name for name in set(sys.modules) - before if name.partition(".")[0] in {HEAVY!r}])
"""


def test_who_loads_them_before_a_fork_leaves_no_child_anything_to_load():
    """docs/frameworks/workers.md: nor is there a thread that a fork would cut off."""
    command = [sys.executable, "-c", PRELOADED]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout.split() == []


def test_loading_them_ahead_hides_no_fault_and_raises_none(monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "no-such-profile")
    preload("kms", "dynamodb")
    with pytest.raises(ProfileNotFound):
        ClientOptions().client("eu-west-1")


def test_clients_share_the_descriptions_of_services_but_no_session():
    """Parsing them takes 80 ms and 9 MB."""
    first, second = new_session(), new_session()
    loader = first.get_component("data_loader")

    assert first is not second
    assert second.get_component("data_loader") is loader
    assert first.get_component("event_emitter") is not second.get_component("event_emitter")
