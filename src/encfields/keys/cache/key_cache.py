"""The cache in front of a key store: what is asked for once per value is answered here.

Guarantees:

* one fetch per key at a time, however many ask (single flight), and no caller waits behind the
  fetch of another key;
* a key is fetched again after its time to live, so that a permission that KMS takes away takes
  effect;
* a key is not sealed with for longer than a few seconds after it was destroyed, retired or
  rotated elsewhere (:mod:`encfields.keys.cache.confirmation`);
* a key in use is renewed in the background before that, so that nobody waits for it;
* during an outage, reads go on with an expired key for a grace period, writes never do;
* a missing key is asked for once a second at most, however many callers need it;
* bounded memory; a forked child starts with an empty cache of its own.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any

from encfields.branch_key import BranchKey
from encfields.errors import ConfigurationError
from encfields.keys.cache.confirmation import Confirmation
from encfields.keys.cache.entries import (
    CacheKey,
    Entries,
    Jobs,
    KeyLifetimes,
    belongs,
    cache_key_of,
)
from encfields.keys.cache.fetcher import Fetcher
from encfields.keys.cache.grace import Grace
from encfields.keys.cache.outages import Outages
from encfields.keys.cache.renewal import Renewal, beacon_jobs, renewer
from encfields.keys.cache.stats import CacheStats, FetchObserver
from encfields.keys.fetching.runner import Runner
from encfields.keys.forking import in_forked_child
from encfields.keys.store import KeyStore
from encfields.keys.versions import BeaconKey, asked_ids

DEFAULT_TTL = 3600.0
"""Seconds for which a key is used before it is fetched and unwrapped again."""

DEFAULT_GRACE = 600.0
"""Seconds past the time to live for which reads go on while KMS or the store is out of reach."""

DEFAULT_MAX_ENTRIES = 35_000
"""Keys held at most, two for the active version of each key id and one for its beacon keys:
10,000 tenants' and more. Some 500 bytes each."""

DEFAULT_CHECK = 5.0
"""Seconds for which a key seals before the key store is asked, without KMS, if it still may."""


class KeyCache:
    """Keys of one store, for the threads and coroutines of one process.

    :param store: where keys come from.
    :param ttl: seconds.
    :param grace: seconds past `ttl` for which reads, not writes, survive an outage.
    :param max_entries: keys held; the least recently used go first.
    :param runner: how fetches run; by default the store's own choice.
    :param renew_before: seconds before its end at which a key that was used since it was
        fetched is fetched again in the background; 0 for never, ``None`` for a tenth of `ttl`.
        At most half of it.
    :param check: seconds for which a key seals before the store is asked whether it still may.
    :raises ConfigurationError: one of the numbers is not usable.
    :ivar observers: called with each fetch; see :data:`~encfields.keys.cache.stats.FetchObserver`.
    """

    def __init__(
        self,
        store: KeyStore,
        *,
        ttl: float = DEFAULT_TTL,
        grace: float = DEFAULT_GRACE,
        max_entries: int = DEFAULT_MAX_ENTRIES,
        runner: Runner | None = None,
        renew_before: float | None = 0.0,
        check: float = DEFAULT_CHECK,
    ) -> None:
        _check_number("cache_ttl", ttl, "more than 0", lambda: ttl > 0)
        renew_before = ttl / 10 if renew_before is None else renew_before
        _check_number("cache_grace", grace, "0 or more", lambda: grace >= 0)
        _check_number("cache_check", check, "more than 0", lambda: check > 0)
        _check_number(
            "cache_entries",
            max_entries,
            "1 or more",
            lambda: isinstance(max_entries, int) and max_entries >= 1,
        )
        half = ttl / 2
        _check_number(
            "cache_renewal",
            renew_before,
            "0 to half of cache_ttl",
            lambda: 0 <= renew_before <= half,
        )
        self.store = store
        self.times = KeyLifetimes(ttl, grace, min(check, ttl), renew_before)
        self.observers: list[FetchObserver] = []
        self._max_entries = max_entries
        self._runner = runner
        self._start_afresh()
        _caches.add(self)

    def _start_afresh(self) -> None:
        store, times, outages = self.store, self.times, Outages()
        self.stats = CacheStats()
        self._entries = entries = Entries(times, self._max_entries, self.stats)
        self._missing = entries.missing
        self._fetcher = fetcher = Fetcher(
            store, entries, outages, self.stats, self._runner, self.observers
        )
        self._grace = Grace(store, entries, fetcher, outages, times)
        self._confirmation = Confirmation(store, entries, fetcher, times)
        self._renewal = Renewal(store, entries, fetcher, times)
        # The same dictionary, one attribute nearer: it is read for every value.
        self._held = entries.held

    def __repr__(self) -> str:
        return f"<KeyCache {len(self._held)} keys of {self.store!r}>"

    def __len__(self) -> int:
        return len(self._held)

    @property
    def ttl(self) -> float:
        """Seconds for which a key is used before it is fetched again."""
        return self.times.ttl

    @property
    def grace(self) -> float:
        """Seconds past :attr:`ttl` for which reads survive an outage."""
        return self.times.grace

    @property
    def check(self) -> float:
        """Seconds for which a key seals before the store is asked whether it still may."""
        return self.times.check

    @property
    def runner(self) -> Runner:
        """How fetches run and how callers wait for them."""
        return self._fetcher.runner

    # -- keys, once per value ------------------------------------------------------------------

    def _at_hand(self, key: CacheKey) -> Any:
        """What is used without asking anybody, ``None`` if there is nothing."""
        entry = self._held.get(key)
        if entry is not None:
            now = monotonic()
            if now < entry.usable:
                entry.used = now
                entry.counters.hits += 1
                return entry.value
        return None

    def find(self, key_id: str, version: str) -> BranchKey:
        """The given version, for reading; the message reader's ``find_key``.

        :raises KeyStoreError: it cannot be fetched, and there is no expired copy within the grace
            period.
        """
        # _at_hand() once more, without a call: this is asked for every value that is read.
        entry = self._held.get((key_id, version))
        if entry is not None:
            now = monotonic()
            if now < entry.usable:
                entry.used = now
                entry.counters.hits += 1
                branch_key: BranchKey = entry.value
                return branch_key
        key: BranchKey = self._read((key_id, version))
        return key

    def holds(self, key_id: str, version: str) -> bool:
        """Whether :meth:`find` would answer at once."""
        return self._entries.value((key_id, version)) is not None

    def active(self, key_id: str) -> BranchKey:
        """The version that seals new values. Never an expired one.

        :raises KeyStoreError: it cannot be fetched.
        """
        key: BranchKey | None = self._at_hand(key_id)
        if key is None:
            self._confirmation.confirm(key_id)
            key = self._fetch(key_id)
        return key

    def beacon(self, key_id: str) -> bytes:
        """The 32 secret bytes of the newest beacon key version, for writing: never an expired
        one.

        :raises KeyStoreError: it cannot be fetched.
        """
        return self.beacons(key_id, for_writing=True)[-1].material

    def beacons(self, key_id: str, *, for_writing: bool = False) -> tuple[BeaconKey, ...]:
        """Every beacon key version in force, the newest last: one, or two during a rotation.

        :param for_writing: to store what is derived from them, and not only to look for it.
        :raises KeyStoreError: they cannot be fetched; unless they are for writing, there is no
            expired copy within the grace period either.
        """
        key = (key_id, None)
        beacon_keys: tuple[BeaconKey, ...] | None = self._at_hand(key)
        if beacon_keys is None:
            beacon_keys = self._fetch(key) if for_writing else self._read(key)
        return beacon_keys

    def beacons_at_hand(self, key_id: str) -> tuple[BeaconKey, ...]:
        """:meth:`beacons`, none if anybody would have to be asked for them."""
        # _at_hand() once more, without a call: this is asked for every value that is looked up.
        entry = self._held.get((key_id, None))
        if entry is not None:
            now = monotonic()
            if now < entry.usable:
                entry.used = now
                entry.counters.hits += 1
                beacon_keys: tuple[BeaconKey, ...] = entry.value
                return beacon_keys
        return ()

    def refetched_beacons(self, key_id: str) -> tuple[BeaconKey, ...]:
        """:meth:`beacons` as the store has them now. What is at hand stays if it cannot be asked.

        :raises KeyStoreError: they cannot be fetched.
        """
        beacon_keys: tuple[BeaconKey, ...] = self._fetcher.refetch((key_id, None))
        self._have_renewed()
        return beacon_keys

    def _fetch(self, key: CacheKey) -> Any:
        fetched = self._fetcher.fetch(key)
        self._have_renewed()
        return fetched

    def _read(self, key: CacheKey) -> Any:
        value = self._grace.read(key)
        self._have_renewed()
        return value

    # -- many keys at once ---------------------------------------------------------------------

    def without(self, key_ids: Iterable[str], *, beacons: bool = False) -> list[str]:
        """The ids of the keys, among some, whose active version is not at hand.

        :param beacons: whose beacon keys, instead.
        """
        value = self._entries.value
        return [
            key_id for key_id in key_ids if value((key_id, None) if beacons else key_id) is None
        ]

    def prefetch(
        self,
        key_ids: Iterable[str] | None = None,
        *,
        beacons: bool = False,
        active_only: bool = False,
    ) -> int:
        """Load every readable version of some keys, so that no value has to wait for one: one
        query, and as many unwraps at once as there are threads for them.

        :param key_ids: by default all keys of the store.
        :param beacons: their beacon keys as well.
        :param active_only: not the versions that only read.
        :returns: the number of key versions now at hand.
        """
        wanted = None if key_ids is None else asked_ids(key_ids)
        if wanted is not None and not wanted:
            return 0
        epoch, asked = self._entries.epoch, monotonic()
        of_branches, of_beacons = (
            self.store.wrapped_with_beacons(wanted)
            if beacons
            else (self.store.wrapped_many(wanted), [])
        )
        wrapped = [
            one
            for one in of_branches
            if one.key_version.destroyed_at is None and (one.key_version.active or not active_only)
        ]
        jobs: Jobs = [(cache_key_of(one), one.unwrap) for one in wrapped]
        jobs += beacon_jobs(of_beacons)
        if epoch == self._entries.epoch:
            self._fetcher.fetch_many(jobs, asked)
        else:
            # Something was rotated or forgotten since the query: its answer may be out of date.
            for key, _ in jobs:
                self._fetcher.fetch(key)
        self._have_renewed()
        return len(wrapped)

    async def aprefetch(
        self, key_ids: Iterable[str] | None = None, *, beacons: bool = False
    ) -> int:
        """:meth:`prefetch` from a coroutine, off the event loop."""
        ids = None if key_ids is None else tuple(key_ids)
        return await self.runner.arun(lambda: self.prefetch(ids, beacons=beacons))

    # -- what is forgotten ---------------------------------------------------------------------

    def forget(self, key_id: str, *, active_only: bool = False) -> None:
        """Forget a key, or only which of its versions is active, in this process."""
        self._fetcher.forget(lambda key: belongs(key, key_id, active_only))

    def forget_beacons(self, key_id: str) -> None:
        """Forget which beacon keys a key has, in this process."""
        self._fetcher.forget(lambda key: key == (key_id, None))

    def clear(self) -> None:
        """Forget every key; fetches under way are answered but not kept."""
        self._fetcher.forget(lambda key: True)

    def close(self) -> None:
        """Forget every key and renew none any more, even if keys are asked for again."""
        self.times.lead = 0.0
        renewer.forget(self)
        self.clear()

    # -- for the thread that renews ------------------------------------------------------------

    def _have_renewed(self) -> None:
        """Have the keys at hand renewed before they expire."""
        if self.times.lead and self.store.may_fetch_in_background:
            renewer.watch(self)

    def renew_due(self) -> float:
        """Renew what is due; seconds until it should be asked again."""
        return self._renewal.renew_due()


_caches: weakref.WeakSet[KeyCache] = weakref.WeakSet()


def _start_all_afresh() -> None:
    # A lock that another thread held at the fork would stay locked for ever in the child, and
    # fetches under way have no thread there to finish them.
    for cache in list(_caches):
        cache._start_afresh()


in_forked_child(_start_all_afresh)


def _check_number(option: str, value: object, takes: str, is_good: Callable[[], bool]) -> None:
    """Refuse what :func:`encfields.attach` was given for one of its options.

    :raises ConfigurationError: says what it takes.
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not is_good():
        raise ConfigurationError(f"{option}= takes {takes}, not {value!r}", reason="cache")
