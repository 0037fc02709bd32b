"""The cache in front of a key store: what is asked for once per value is answered here.

Guarantees:

* one fetch per key at a time, whoever asks (single flight), and no caller waits behind the
  fetch of another key;
* a key is fetched anew after its time to live, so that a permission that KMS takes away takes
  effect;
* during an outage, reads go on with an expired key for a grace period, writes never do;
* bounded memory; a forked child starts with an empty cache of its own.
"""

from __future__ import annotations

import copy
import heapq
import os
import threading
import weakref
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from time import monotonic
from typing import Any

from encfields.errors import EncFieldsError, KeyUnavailableError
from encfields.keys.branch_key import BranchKey
from encfields.keys.runner import Runner, ThreadRunner
from encfields.keys.store import KeyStore

DEFAULT_TTL = 3600.0
"""Seconds for which a key is used before it is fetched and unwrapped anew."""

DEFAULT_GRACE = 600.0
"""Seconds past the time to live for which reads go on while KMS or the store is out of reach."""

DEFAULT_MAX_ENTRIES = 10_000
"""Keys held at most; some 500 bytes each."""

RETRY_PAUSE = 1.0
"""Seconds for which an outage is believed before a read in its grace period asks again."""

_GRACE_REASONS = frozenset({"unreachable", "throttled", "error"})
"""Outages. A denied or disabled key is somebody's decision and takes effect at once."""

Slot = str | tuple[str, str | None]
"""``key_id`` for the active version, ``(key_id, version)`` for a version, ``(key_id, None)``
for the beacon key."""


@dataclass(slots=True)
class CacheStats:
    """Counters since the process started (or was forked).

    :param hits: answers from the cache. May be a little low under many threads: counting
        exactly would cost a lock per value. All others are exact.
    :param misses: callers that had to wait for a fetch.
    :param store_calls: fetches from the store; each unwraps one key with one KMS call, more
        only where a first wrapping key fails.
    :param failures: fetches that failed.
    :param stale: reads answered from an expired key during an outage.
    :param evicted: keys dropped for lack of room.
    """

    hits: int = 0
    misses: int = 0
    store_calls: int = 0
    failures: int = 0
    stale: int = 0
    evicted: int = 0


class _Entry:
    __slots__ = ("expires", "retry_at", "used", "value")

    def __init__(self, value: Any, now: float, ttl: float) -> None:
        self.value = value
        self.used = now
        self.expires = now + ttl
        self.retry_at = 0.0


class KeyCache:
    """Keys of one store, for the threads and coroutines of one process.

    :param store: where keys come from.
    :param ttl: seconds.
    :param grace: seconds past `ttl` for which reads, not writes, survive an outage.
    :param max_entries: keys held; the least recently used go first.
    :param runner: how fetches run; by default the store's own choice.
    """

    def __init__(
        self,
        store: KeyStore,
        *,
        ttl: float = DEFAULT_TTL,
        grace: float = DEFAULT_GRACE,
        max_entries: int = DEFAULT_MAX_ENTRIES,
        runner: Runner | None = None,
    ) -> None:
        if ttl <= 0 or grace < 0 or max_entries < 1:
            raise ValueError("ttl and max_entries are positive, grace is not negative")
        self.store = store
        self.ttl = ttl
        self.grace = grace
        self.max_entries = max_entries
        self._runner = runner
        self._start_afresh()
        _caches.add(self)

    def _start_afresh(self) -> None:
        self.stats = CacheStats()
        self._entries: dict[Slot, _Entry] = {}
        self._flights: dict[Slot, Future[Any]] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<KeyCache {len(self._entries)} keys of {self.store!r}>"

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, key_id: str, version: str) -> BranchKey:
        """The given version, for reading; the message reader's ``find_key``.

        :raises KeyStoreError: it cannot be had, and no expired copy within the grace period.
        """
        entry = self._entries.get((key_id, version))
        if entry is not None:
            now = monotonic()
            if now < entry.expires:
                entry.used = now
                self.stats.hits += 1
                return entry.value  # type: ignore[no-any-return]
        key: BranchKey = self._read((key_id, version), lambda: self.store.version(key_id, version))
        return key

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
            if now < entry.expires:
                entry.used = now
                self.stats.hits += 1
                return entry.value  # type: ignore[no-any-return]
        key: BranchKey = self._fetch(key_id, lambda: self.store.active(key_id))
        return key

    def beacon(self, key_id: str) -> bytes:
        """The 32 secret bytes of the beacon key.

        It also decides what is stored, so an expired one is never used.

        :raises KeyStoreError: it cannot be had.
        """
        entry = self._entries.get((key_id, None))
        if entry is not None:
            now = monotonic()
            if now < entry.expires:
                entry.used = now
                self.stats.hits += 1
                return entry.value  # type: ignore[no-any-return]
        material: bytes = self._fetch((key_id, None), lambda: self.store.beacon(key_id))
        return material

    def prefetch(self, key_ids: Iterable[str] | None = None, *, beacons: bool = False) -> int:
        """Load every readable version of some keys, so that no value has to wait for one.

        :param key_ids: by default all keys of the store.
        :param beacons: their beacon keys as well.
        :returns: the number of key versions now at hand.
        """
        wanted = None if key_ids is None else frozenset(key_ids)
        listed = [
            one
            for one in self.store.list()
            if one.destroyed_at is None and (wanted is None or one.id in wanted)
        ]
        for one in sorted(listed, key=lambda one: not one.active):
            if one.active:
                self.active(one.id)
            self.find(one.id, one.version)
        for key_id in {one.id for one in listed} if beacons else ():
            self.beacon(key_id)
        return len(listed)

    async def aprefetch(
        self, key_ids: Iterable[str] | None = None, *, beacons: bool = False
    ) -> int:
        """:meth:`prefetch` from a coroutine, off the event loop."""
        ids = None if key_ids is None else tuple(key_ids)
        return await self.runner.arun(lambda: self.prefetch(ids, beacons=beacons))

    @property
    def runner(self) -> Runner:
        """How fetches run and how callers wait for them."""
        if self._runner is None:
            # Asked late, because a store learns what engine it serves when it is bound.
            self._runner = getattr(self.store, "runner", None) or ThreadRunner()
        return self._runner

    def clear(self) -> None:
        """Forget every key; fetches under way are answered but not kept."""
        with self._lock:
            self._entries.clear()
            self._flights.clear()

    def forget(self, key_id: str, *, active_only: bool = False) -> None:
        """Forget a key, or only which of its versions is active, in this process."""
        with self._lock:
            for held in (self._entries, self._flights):
                for slot in [slot for slot in held if _belongs(slot, key_id, active_only)]:
                    del held[slot]

    def _read(self, slot: Slot, fetch: Callable[[], Any]) -> Any:
        """A fetch that an expired entry stands in for during an outage."""
        entry = self._entries.get(slot)
        if entry is not None and monotonic() < min(entry.retry_at, entry.expires + self.grace):
            self.stats.stale += 1
            return entry.value
        try:
            return self._fetch(slot, fetch)
        except KeyUnavailableError as error:
            now = monotonic()
            if (
                entry is None
                or error.reason not in _GRACE_REASONS
                or now >= entry.expires + self.grace
            ):
                raise
            entry.retry_at = now + RETRY_PAUSE
        self.stats.stale += 1
        return entry.value

    def _fetch(self, slot: Slot, fetch: Callable[[], Any]) -> Any:
        """Fetch, or wait for whoever is fetching the same."""
        with self._lock:
            entry = self._entries.get(slot)
            if entry is not None and monotonic() < entry.expires:
                return entry.value
            self.stats.misses += 1
            flight = self._flights.get(slot)
            leads = flight is None
            if flight is None:
                flight = self._flights[slot] = Future()
                # A future that runs cannot be cancelled: one waiter's cancellation must not
                # take the key away from the others.
                flight.set_running_or_notify_cancel()
        if leads:
            self._launch(slot, flight, fetch)
        try:
            return self.runner.wait(flight)
        except EncFieldsError as error:
            failure = copy.copy(error)
        # A copy, because several threads raise it and each adds its own traceback.
        raise failure

    def _launch(self, slot: Slot, flight: Future[Any], fetch: Callable[[], Any]) -> None:
        try:
            self.runner.start(lambda: self._fly(slot, flight, fetch))
        except BaseException as error:
            self._land(slot, flight)
            if not flight.done():
                flight.set_exception(_broken_off(error))
            raise

    def _fly(self, slot: Slot, flight: Future[Any], fetch: Callable[[], Any]) -> None:
        """Fetch and settle `flight`, whatever happens."""
        try:
            value = fetch()
        except Exception as error:
            self._land(slot, flight, failed=True)
            flight.set_exception(error)
        except BaseException as error:
            # An interrupt is for this caller alone; the others only learn that it is over.
            self._land(slot, flight, failed=True)
            flight.set_exception(_broken_off(error))
            raise
        else:
            self._land(slot, flight, value)
            flight.set_result(value)

    def _land(
        self, slot: Slot, flight: Future[Any], value: Any = None, *, failed: bool = False
    ) -> None:
        with self._lock:
            self.stats.store_calls += 1
            self.stats.failures += failed
            if self._flights.get(slot) is not flight:
                # Forgotten or cleared meanwhile: what it brings may be out of date.
                return
            del self._flights[slot]
            if value is not None:
                self._keep(slot, value)

    def _keep(self, slot: Slot, value: Any) -> None:
        now = monotonic()
        self._entries[slot] = _Entry(value, now, self.ttl)
        if isinstance(slot, str):
            self._entries[(slot, value.version)] = _Entry(value, now, self.ttl)
        excess = len(self._entries) - self.max_entries
        if excess > 0:
            # An eighth at once, so that a scan is paid for by many insertions.
            count = max(excess, self.max_entries // 8)
            oldest = heapq.nsmallest(count, self._entries.items(), key=lambda item: item[1].used)
            for old, _ in oldest:
                del self._entries[old]
            self.stats.evicted += len(oldest)


def _belongs(slot: Slot, key_id: str, active_only: bool) -> bool:
    return slot == key_id or (not active_only and isinstance(slot, tuple) and slot[0] == key_id)


def _broken_off(error: BaseException) -> KeyUnavailableError:
    return KeyUnavailableError(
        f"the fetch of the key was broken off ({type(error).__name__}); retry", reason="error"
    )


_caches: weakref.WeakSet[KeyCache] = weakref.WeakSet()


def _start_all_afresh() -> None:
    # A lock that another thread held at the fork would stay locked for ever in the child, and
    # fetches under way have no thread there to finish them.
    for cache in list(_caches):
        cache._start_afresh()


os.register_at_fork(after_in_child=_start_all_afresh)
