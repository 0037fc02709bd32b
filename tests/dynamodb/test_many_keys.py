"""One verb on many keys of AWS's key store."""

from __future__ import annotations

import pytest

from encfields import DynamoDbKeyStore, keyrings
from encfields.errors import KeyDestroyedError
from encfields.keys.admin import KeyAdmin
from encfields.keys.cache.key_cache import KeyCache
from encfields.keys.versions import RewrapReport

IDS = ["tenant/1", "tenant/2", "other"]


def test_keys_are_made_rotated_moved_and_destroyed(store: DynamoDbKeyStore, kms):
    keys = KeyAdmin(store, KeyCache(store))
    keys.create("other")
    assert keys.each(IDS).create().done == ("tenant/1", "tenant/2")
    assert keys.each(like="tenant/*").rotate().done == ("tenant/1", "tenant/2")
    assert len(keys.list()) == 5

    new = keyrings.aws_kms(kms.create_key())
    report = keys.each([*IDS, "missing"]).rewrap(new)
    assert report.done == ("other", "tenant/1", "tenant/2")
    assert [one.error for one in report.failed] == ["KeyNotFoundError"]
    assert report.rewrapped == RewrapReport(moved=5 + 2 * len(IDS))
    assert DynamoDbKeyStore(new, store.table_name).active("tenant/1").id == "tenant/1"

    destroyed = keys.each(like="tenant/*").destroy(confirm=2, specs=None)
    assert [one.key_id for one in destroyed.receipts] == ["tenant/1", "tenant/2"]
    with pytest.raises(KeyDestroyedError):
        store.active("tenant/1")
    assert keys.each().destroy(confirm=1, specs=None).already == ("tenant/1", "tenant/2")
