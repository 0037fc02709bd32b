"""``encryption.keys``: create, rotate and list keys, in both styles."""

from __future__ import annotations

import pytest

from encfields.errors import ConfigurationError, KeyExistsError, KeyNotFoundError
from encfields.keys.admin import KeyAdmin
from encfields.keys.cache.key_cache import KeyCache
from encfields.keys.sql.store import SqlKeyStore
from encfields.keys.store import KeyStore
from encfields.testing import assert_absent


@pytest.fixture
def cache(store):
    return KeyCache(store)


@pytest.fixture
def admin(store, cache):
    return KeyAdmin(store, cache)


def test_a_key_is_usable_as_soon_as_it_is_made(admin, cache):
    with pytest.raises(KeyNotFoundError):
        cache.active("default")

    made = admin.create("default")
    assert cache.active("default").version == made.version
    assert cache.beacon("default")


def test_this_process_seals_with_the_new_version_at_once_and_reads_both(admin, cache):
    old = admin.create("default")
    assert cache.active("default").version == old.version

    new = admin.rotate("default")

    assert cache.active("default").version == new.version
    assert cache.find("default", old.version).version == old.version
    assert [one.active for one in admin.list()] == [False, True]


def test_creating_twice_and_rotating_nothing_are_refused(admin):
    with pytest.raises(KeyNotFoundError):
        admin.rotate("default")
    admin.create("default")
    with pytest.raises(KeyExistsError):
        admin.create("default")


async def test_every_verb_has_a_twin_for_coroutines(admin, cache):
    await admin.acreate_table()
    made = await admin.acreate("default")
    rotated = await admin.arotate("default")

    assert [one.version for one in await admin.alist()] == [made.version, rotated.version]
    assert cache.active("default").version == rotated.version


class Plain(SqlKeyStore):
    """A key store that leaves what it may to the base class."""

    create_table = KeyStore.create_table
    destroy = KeyStore.destroy
    refuse = KeyStore.refuse
    require_retirable = KeyStore.require_retirable
    rewrap = KeyStore.rewrap


def test_a_store_refuses_what_it_cannot_do(keyring):
    plain = Plain(keyring)
    admin = KeyAdmin(plain, KeyCache(plain))
    for verb, reason in (
        (admin.create_table, "no-table-store"),
        (lambda: admin.destroy("default", confirm="default", specs=None), "no-destroy"),
        (lambda: admin.retire("default", "1", specs=[]), "no-retire"),
        (lambda: admin.rewrap(keyring), "no-rewrap"),
    ):
        with pytest.raises(ConfigurationError) as caught:
            verb()
        assert caught.value.reason == reason


def test_repr_and_list_show_no_key(admin, cache):
    admin.create("default")

    assert_absent(cache.active("default").material, repr(admin), repr(admin.list()))
