"""Rotation of the beacon key, from which blind indexes are derived.

A process learns of a new beacon key when its cached copy of the old one expires, so that for
``cache_ttl`` after a rotation some processes still index under the old one alone. Hence:

1. ``rotate_beacon()``: a second version. Whoever knows it indexes under both, and looks for both.
2. After ``cache_ttl`` everybody does. Only then is what was written before indexed anew.
3. When every value is indexed under the new version: ``retire_beacon()``.
"""

from __future__ import annotations

import datetime as dt

from encfields.errors import ConfigurationError
from encfields.keys.beacon_key import BeaconKeyStore, BeaconVersion
from encfields.keys.cache import KeyCache
from encfields.keys.store import KeyStore

Versions = list[BeaconVersion]


class BeaconAdmin:
    """The verbs of ``encryption.keys`` that concern beacon keys.

    :param store: where keys are kept.
    :param cache: the cache of this process, which knows of a change at once.
    """

    def __init__(self, store: KeyStore, cache: KeyCache) -> None:
        self._store = store
        self._cache = cache

    def rotate(self, key_id: str) -> BeaconVersion:
        """See :meth:`KeyAdmin.rotate_beacon <encfields.keys.admin.KeyAdmin.rotate_beacon>`."""
        made = self._able().rotate_beacon(key_id)
        self._cache.forget_beacons(key_id)
        return made

    def retire(self, key_id: str, version: int, *, at_once: bool) -> None:
        """See :meth:`KeyAdmin.retire_beacon <encfields.keys.admin.KeyAdmin.retire_beacon>`."""
        store = self._able()
        *older, newest = store.list_beacons(key_id)
        if not at_once and version in [one.version for one in older]:
            self._require_known(key_id, newest)
        store.retire_beacon(key_id, version)
        self._cache.forget_beacons(key_id)

    def list(self, key_id: str) -> Versions:
        """See :meth:`KeyAdmin.list_beacons <encfields.keys.admin.KeyAdmin.list_beacons>`."""
        return self._able().list_beacons(key_id)

    def _require_known(self, key_id: str, newest: BeaconVersion) -> None:
        """Refuse while a process may still have the older version alone."""
        known_at = newest.created_at + dt.timedelta(seconds=self._cache.ttl + self._cache.grace)
        if dt.datetime.now(dt.UTC) < known_at:
            raise ConfigurationError(
                f"beacon key version {newest.version} is new: until {known_at:%Y-%m-%d %H:%M:%S} "
                "UTC other processes may index and look for values under the older one alone. "
                "Wait, or give at_once=True if there are no others",
                key_id=key_id,
                reason="too-early",
            )

    def _able(self) -> BeaconKeyStore:
        if isinstance(self._store, BeaconKeyStore):
            return self._store
        raise ConfigurationError(
            f"{type(self._store).__name__} has one beacon key for each key",
            reason="one-beacon",
        )
