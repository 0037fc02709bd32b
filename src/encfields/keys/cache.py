"""The cache in front of a key store: what is asked for once per value is answered here.

Guarantees:

* one fetch per key at a time, whoever asks (single flight), and no caller waits behind the
  fetch of another key;
* a key is fetched anew after its time to live, so that a permission that KMS takes away takes
  effect;
* a key is not sealed with for longer than a few seconds after it was destroyed, retired or
  rotated elsewhere (:mod:`encfields.keys.cache_check`);
* a key in use is renewed in the background before that, so that nobody waits for it;
* during an outage, reads go on with an expired key for a grace period, writes never do;
* a missing key is asked for once a second at most, however many callers need it;
* bounded memory; a forked child starts with an empty cache of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from time import monotonic

from encfields.keys.beacon_key import BeaconKey
from encfields.keys.branch_key import BranchKey
from encfields.keys.bulk_store import BulkKeyStore
from encfields.keys.cache_check import ConfirmingCache
from encfields.keys.cache_stats import CacheStats
from encfields.keys.cache_table import (
    DEFAULT_CHECK,
    DEFAULT_GRACE,
    DEFAULT_MAX_ENTRIES,
    DEFAULT_TTL,
    MAX_MISSING,
)
from encfields.keys.renewal import RenewalPlan, renewer
from encfields.keys.slots import Jobs, slot_of

__all__ = [
    "DEFAULT_CHECK",
    "DEFAULT_GRACE",
    "DEFAULT_MAX_ENTRIES",
    "DEFAULT_TTL",
    "MAX_MISSING",
    "CacheStats",
    "KeyCache",
]


class KeyCache(ConfirmingCache):
    """Keys of one store, for the threads and coroutines of one process.

    :param store: where keys come from.
    :param ttl: seconds.
    :param grace: seconds past `ttl` for which reads, not writes, survive an outage.
    :param max_entries: keys held; the least recently used go first.
    :param runner: how fetches run; by default the store's own choice.
    :param renew_before: seconds before its end at which a key that was used since it was
        fetched is fetched anew in the background; 0 for never. At most half of `ttl`.
    :param check: seconds for which a key seals before the store is asked whether it still may.
    :ivar observers: told of each fetch; see :data:`~encfields.keys.cache_stats.Observer`.
    """

    def find(self, key_id: str, version: str) -> BranchKey:
        """The given version, for reading; the message reader's ``find_key``.

        :raises KeyStoreError: it cannot be had, and no expired copy within the grace period.
        """
        entry = self._entries.get((key_id, version))
        if entry is not None:
            now = monotonic()
            if now < entry.expires:
                entry.used = now
                entry.counters.hits += 1
                return entry.value  # type: ignore[no-any-return]
        key: BranchKey = self._read((key_id, version), lambda: self.store.version(key_id, version))
        return key

    def holds(self, key_id: str, version: str) -> bool:
        """Whether :meth:`find` would answer at once."""
        entry = self._entries.get((key_id, version))
        return entry is not None and monotonic() < entry.expires

    def version(self, key_id: str, version: str) -> BranchKey:
        """The same as :meth:`find`, under the key store's name for it."""
        return self.find(key_id, version)

    def active(self, key_id: str) -> BranchKey:
        """The version that seals new values. Never an expired one.

        :raises KeyStoreError: it cannot be had.
        """
        entry = self._entries.get(key_id)
        if entry is not None:
            now = monotonic()
            if now < entry.confirmed:
                entry.used = now
                entry.counters.hits += 1
                return entry.value  # type: ignore[no-any-return]
        self._confirm(key_id)
        key: BranchKey = self._fetch(key_id, lambda: self.store.active(key_id))
        return key

    def beacon(self, key_id: str) -> bytes:
        """The 32 secret bytes of the newest beacon key version, for writing: never an expired
        one.

        :raises KeyStoreError: it cannot be had.
        """
        entry = self._entries.get((key_id, None))
        if entry is not None:
            now = monotonic()
            if now < entry.expires:
                entry.used = now
                entry.counters.hits += 1
                return entry.value[-1].material  # type: ignore[no-any-return]
        return self.beacons(key_id, for_writing=True)[-1].material

    def beacons(self, key_id: str, *, for_writing: bool = False) -> tuple[BeaconKey, ...]:
        """Every beacon key version in force, the newest last: one, or two during a rotation.

        :param for_writing: to store what is derived from them, and not only to look for it.
        :raises KeyStoreError: they cannot be had; unless they are for writing, there is no
            expired copy within the grace period either.
        """
        entry = self._entries.get((key_id, None))
        if entry is not None:
            now = monotonic()
            if now < entry.expires:
                entry.used = now
                entry.counters.hits += 1
                return entry.value  # type: ignore[no-any-return]
        ask = self._fetch if for_writing else self._read
        found: tuple[BeaconKey, ...] = ask((key_id, None), lambda: self._store_beacons(key_id))
        return found

    def beacons_anew(self, key_id: str) -> tuple[BeaconKey, ...]:
        """:meth:`beacons` as the store has them now. What is at hand stays if it cannot be asked.

        :raises KeyStoreError: they cannot be had.
        """
        slot = (key_id, None)
        with self._lock:
            flight, leads = self._claim(slot)
        if leads:
            self._launch(slot, flight, lambda: self._store_beacons(key_id))
        found: tuple[BeaconKey, ...] = self._wait(flight)
        return found

    def without(self, key_ids: Iterable[str], *, beacons: bool = False) -> list[str]:
        """Those of some keys whose active version is not at hand.

        :param beacons: whose beacon keys, instead.
        """
        now, entries = monotonic(), self._entries
        return [
            key_id
            for key_id in key_ids
            if (entry := entries.get((key_id, None) if beacons else key_id)) is None
            or now >= entry.expires
        ]

    def prefetch(
        self,
        key_ids: Iterable[str] | None = None,
        *,
        beacons: bool = False,
        active_only: bool = False,
    ) -> int:
        """Load every readable version of some keys, so that no value has to wait for one.

        :param key_ids: by default all keys of the store.
        :param beacons: their beacon keys as well.
        :param active_only: not the versions that only read.
        :returns: the number of key versions now at hand.
        """
        wanted = None if key_ids is None else frozenset(key_ids)
        if isinstance(self.store, BulkKeyStore):
            return self._prefetch_many(self.store, wanted, beacons=beacons, active_only=active_only)
        listed = [
            one
            for one in self.store.list()
            if one.destroyed_at is None
            and (wanted is None or one.id in wanted)
            and (one.active or not active_only)
        ]
        for one in sorted(listed, key=lambda one: not one.active):
            if one.active:
                self.active(one.id)
            self.find(one.id, one.version)
        for key_id in {one.id for one in listed} if beacons else ():
            self.beacon(key_id)
        return len(listed)

    def _prefetch_many(
        self,
        store: BulkKeyStore,
        wanted: frozenset[str] | None,
        *,
        beacons: bool,
        active_only: bool,
    ) -> int:
        """One query, and as many unwraps at once as :mod:`encfields.keys.parallel` allows."""
        if wanted is not None and not wanted:
            return 0
        epoch, asked = self._epoch, monotonic()
        found = [
            one
            for one in store.wrapped_many(wanted)
            if one.told.destroyed_at is None and (one.told.active or not active_only)
        ]
        jobs: Jobs = [(slot_of(one), one.unwrap) for one in found]
        if beacons:
            jobs += self._beacon_jobs(frozenset(one.told.id for one in found))
        if epoch == self._epoch:
            self._fetch_many(jobs, asked)
        else:
            # Something was rotated or forgotten since the query: what it told may be out of date.
            for slot, _ in jobs:
                self._fetch(slot, self._fetch_of(slot))
        return len(found)

    async def aprefetch(
        self, key_ids: Iterable[str] | None = None, *, beacons: bool = False
    ) -> int:
        """:meth:`prefetch` from a coroutine, off the event loop."""
        ids = None if key_ids is None else tuple(key_ids)
        return await self.runner.arun(lambda: self.prefetch(ids, beacons=beacons))

    def close(self) -> None:
        """Forget every key and renew none any more, even if keys are asked for again."""
        self._plan = RenewalPlan(self.ttl, 0.0)
        renewer.forget(self)
        self.clear()
