"""The cache in front of a key store, used once per value.

Guarantees:

* one fetch per key at a time for any number of callers (single flight), and no caller waits for the
  fetch of another key;
* a key is fetched again after its time to live, so that a permission revoked in KMS takes effect;
* a key is not sealed with for longer than a few seconds after it was destroyed, retired or
  rotated elsewhere (:mod:`encfields.keys.cache.confirmation`);
* a key in use is renewed in the background before that, so that nobody waits for it;
* during an outage, reads go on with an expired key for a grace period, writes never do;
* a missing key is requested at most once a second, for any number of callers;
* bounded memory; a forked child starts with an empty cache of its own.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any

from encfields.arguments import kind
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
"""Seconds that a key is used before it is fetched and unwrapped again."""

DEFAULT_GRACE = 600.0
"""Seconds past the time to live during which reads continue while KMS or the store is unreachable.
"""

DEFAULT_MAX_ENTRIES = 35_000
"""Most keys held, at some 500 bytes each: two for the active version of each key id and one for its
beacon keys, so enough for 10,000 tenants."""

DEFAULT_CHECK = 5.0
"""Seconds that a key seals before the key store is asked, without KMS, whether it still may."""


class KeyCache:
    """Keys of one store, for the threads and coroutines of one process.

    :param store: where keys come from.
    :param ttl: seconds.
    :param grace: seconds past `ttl` during which reads, but not writes, survive an outage.
    :param max_entries: most keys held; the least recently used are dropped first.
    :param runner: how fetches run; default the store's choice.
    :param renew_before: seconds before its end at which a key that was used since it was
        fetched is fetched again in the background; 0 for never, ``None`` for a tenth of `ttl`.
        At most half of it.
    :param check: seconds for which a key seals before the store is asked whether it still may.
    :param data_key_cache: whether each key keeps what values that were opened are opened again
        with (:mod:`encfields.message.data_key_cache`), until it is dropped.
    :raises ConfigurationError: one of these is not usable.
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
        data_key_cache: bool = True,
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
        if not isinstance(data_key_cache, bool):
            raise ConfigurationError(
                f"data_key_cache= takes True or False, not {kind(data_key_cache)}", reason="cache"
            )
        self.store = store
        self.times = KeyLifetimes(ttl, grace, min(check, ttl), renew_before)
        self.observers: list[FetchObserver] = []
        self._max_entries = max_entries
        self._runner = runner
        self._data_key_cache = data_key_cache
        self._start_afresh()
        _caches.add(self)

    def _start_afresh(self) -> None:
        store, times, outages = self.store, self.times, Outages()
        self.stats = CacheStats()
        self._entries = entries = Entries(
            times, self._max_entries, self.stats, self._data_key_cache
        )
        self._missing = entries.missing
        self._fetcher = fetcher = Fetcher(
            store, entries, outages, self.stats, self._runner, self.observers
        )
        self._grace = Grace(store, entries, fetcher, outages, times)
        self._confirmation = Confirmation(store, entries, fetcher, times)
        self._renewal = Renewal(store, entries, fetcher, times)
        # The same dictionary, one attribute lookup less: it is read for every value.
        self._held = entries.held

    def __repr__(self) -> str:
        return f"<KeyCache {len(self._held)} keys of {self.store!r}>"

    def __len__(self) -> int:
        return len(self._held)

    @property
    def ttl(self) -> float:
        """Seconds that a key is used before it is fetched again."""
        return self.times.ttl

    @property
    def grace(self) -> float:
        """Seconds past :attr:`ttl` during which reads survive an outage."""
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

    def _usable(self, key: CacheKey) -> Any:
        """The cached value that may be used without a request; ``None`` if there is none."""
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
        # _usable() inlined, since this runs for every value read.
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
        key: BranchKey | None = self._usable(key_id)
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
        """Every active beacon key version, the newest last: one, or two during a rotation.

        :param for_writing: to store indexes, not only to look them up.
        :raises KeyStoreError: they cannot be fetched; unless they are for writing, there is no
            expired copy within the grace period either.
        """
        key = (key_id, None)
        beacon_keys: tuple[BeaconKey, ...] | None = self._usable(key)
        if beacon_keys is None:
            beacon_keys = self._fetch(key) if for_writing else self._read(key)
        return beacon_keys

    def beacons_at_hand(self, key_id: str) -> tuple[BeaconKey, ...]:
        """:meth:`beacons`, if they are cached; otherwise none."""
        # _usable() inlined, since this runs for every value looked up.
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
        """:meth:`beacons`, fetched again. Cached ones stay if the store is unreachable.

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
        """The ids of those keys whose active version is not cached.

        :param beacons: whose beacon keys are not cached, instead.
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
        """Load every readable version of some keys, so that no value has to wait: one query, and
        parallel unwraps.

        :param key_ids: by default all keys of the store.
        :param beacons: also their beacon keys.
        :param active_only: leave out versions that only read.
        :returns: the number of key versions now cached.
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
            # Something was rotated or forgotten since the query, so its answer may be outdated.
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
        """Forget a key in this process, or only which of its versions is active."""
        self._fetcher.forget(lambda key: belongs(key, key_id, active_only))

    def forget_beacons(self, key_id: str) -> None:
        """Forget a key's beacon keys in this process."""
        self._fetcher.forget(lambda key: key == (key_id, None))

    def clear(self) -> None:
        """Forget every key; current fetches are answered but not cached."""
        self._fetcher.forget(lambda key: True)

    def close(self) -> None:
        """Forget every key and stop renewing, even if keys are requested again."""
        self.times.lead = 0.0
        renewer.forget(self)
        self.clear()

    # -- for the thread that renews ------------------------------------------------------------

    def _have_renewed(self) -> None:
        """Renew cached keys before they expire."""
        if self.times.lead and self.store.may_fetch_in_background:
            renewer.watch(self)

    def renew_due(self) -> float:
        """Renew what is due; return the seconds until the next call."""
        return self._renewal.renew_due()


_caches: weakref.WeakSet[KeyCache] = weakref.WeakSet()


def _start_all_afresh() -> None:
    # In the child, a lock that another thread held would stay locked forever, and current fetches
    # have no thread to finish them.
    for cache in list(_caches):
        cache._start_afresh()


in_forked_child(_start_all_afresh)


def _check_number(option: str, value: object, takes: str, is_good: Callable[[], bool]) -> None:
    """Check an option of :func:`encfields.attach`.

    :raises ConfigurationError: says what the option takes.
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not is_good():
        shown = value if type(value) in (int, float) else kind(value)
        raise ConfigurationError(f"{option}= takes {takes}, not {shown}", reason="cache")
