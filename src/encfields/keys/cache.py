"""The cache in front of a key store: what is asked for once per value is answered here.

Guarantees:

* one fetch per key at a time, whoever asks (single flight), and no caller waits behind the
  fetch of another key;
* a key is fetched anew after its time to live, so that a permission that KMS takes away takes
  effect;
* a key in use is renewed in the background before that, so that nobody waits for it;
* during an outage, reads go on with an expired key for a grace period, writes never do;
* a missing key is asked for once a second at most, however many callers need it;
* bounded memory; a forked child starts with an empty cache of its own.
"""

from __future__ import annotations

import copy
import heapq
import logging
import os
import random
import threading
import weakref
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import nullcontext
from functools import partial
from time import monotonic
from typing import Any

from encfields.errors import (
    EncFieldsError,
    KeyDestroyedError,
    KeyNotFoundError,
    KeyUnavailableError,
)
from encfields.keys.beacon_key import FIRST_VERSION, BeaconKey, BeaconKeyStore
from encfields.keys.branch_key import BranchKey
from encfields.keys.bulk_store import BulkBeaconStore, BulkKeyStore, WrappedKey
from encfields.keys.cache_stats import (
    CacheStats,
    Fetch,
    FetchMeter,
    KeyCounters,
    Observer,
    What,
)
from encfields.keys.parallel import work_off
from encfields.keys.renewal import RenewalPlan, renewer
from encfields.keys.runner import Runner, ThreadRunner
from encfields.keys.store import KeyStore

__all__ = ["DEFAULT_GRACE", "DEFAULT_MAX_ENTRIES", "DEFAULT_TTL", "CacheStats", "KeyCache"]

_log = logging.getLogger(__name__)

DEFAULT_TTL = 3600.0
"""Seconds for which a key is used before it is fetched and unwrapped anew."""

DEFAULT_GRACE = 600.0
"""Seconds past the time to live for which reads go on while KMS or the store is out of reach."""

DEFAULT_MAX_ENTRIES = 25_000
"""Keys held at most, two for the active version of each key id: 10,000 tenants' and more. Some
500 bytes each."""

RETRY_PAUSE = 1.0
"""Seconds for which an outage is believed before a read in its grace period asks again."""

MISSING_PAUSE = 1.0
"""Seconds for which a missing or destroyed key is not asked for again."""

MAX_MISSING = 1_000
"""Missing keys that are remembered at most: ids can come from whoever wrote a message."""

_GRACE_REASONS = frozenset({"unreachable", "throttled", "error"})
"""Outages. A denied or disabled key is somebody's decision and takes effect at once."""

Slot = str | tuple[str, str | None]
"""``key_id`` for the active version, ``(key_id, version)`` for a version, ``(key_id, None)``
for its beacon keys."""


Jobs = list[tuple[Slot, Callable[[], Any]]]


class _Entry:
    __slots__ = ("counters", "expires", "fetched", "renew_at", "retry_at", "used", "value")

    def __init__(
        self, value: Any, counters: KeyCounters, now: float, ttl: float, lead: float
    ) -> None:
        self.value = value
        self.counters = counters
        self.used = self.fetched = now
        self.expires = now + ttl
        # Spread, so that keys that were loaded together are not renewed together.
        self.renew_at = self.expires - lead * (0.5 + 0.5 * random.random())  # noqa: S311
        self.retry_at = 0.0


class KeyCache:
    """Keys of one store, for the threads and coroutines of one process.

    :param store: where keys come from.
    :param ttl: seconds.
    :param grace: seconds past `ttl` for which reads, not writes, survive an outage.
    :param max_entries: keys held; the least recently used go first.
    :param runner: how fetches run; by default the store's own choice.
    :param renew_before: seconds before its end at which a key that was used since it was
        fetched is fetched anew in the background; 0 for never. At most half of `ttl`.
    :ivar observers: told of each fetch; see :data:`~encfields.keys.cache_stats.Observer`.
    """

    def __init__(
        self,
        store: KeyStore,
        *,
        ttl: float = DEFAULT_TTL,
        grace: float = DEFAULT_GRACE,
        max_entries: int = DEFAULT_MAX_ENTRIES,
        runner: Runner | None = None,
        renew_before: float = 0.0,
    ) -> None:
        if ttl <= 0 or grace < 0 or max_entries < 1:
            raise ValueError("ttl and max_entries are positive, grace is not negative")
        if not 0 <= renew_before <= ttl / 2:
            raise ValueError("renew_before is between 0 and half of ttl")
        self.store = store
        self.ttl = ttl
        self.grace = grace
        self.max_entries = max_entries
        self._runner = runner
        self._plan = RenewalPlan(ttl, renew_before)
        self.observers: list[Observer] = []
        self._start_afresh()
        _caches.add(self)

    def _start_afresh(self) -> None:
        self.stats = CacheStats()
        self._missing: dict[Slot, tuple[EncFieldsError, float]] = {}
        self._epoch = 0
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
            if now < entry.expires:
                entry.used = now
                entry.counters.hits += 1
                return entry.value  # type: ignore[no-any-return]
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

    def _store_beacons(self, key_id: str) -> tuple[BeaconKey, ...]:
        store: Any = self.store
        if isinstance(store, BeaconKeyStore):
            return tuple(store.beacons(key_id))
        return (BeaconKey(key_id, FIRST_VERSION, store.beacon(key_id)),)

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
        epoch = self._epoch
        found = [
            one
            for one in store.wrapped_many(wanted)
            if one.told.destroyed_at is None and (one.told.active or not active_only)
        ]
        jobs: Jobs = [(_slot_of(one), one.unwrap) for one in found]
        if beacons:
            jobs += self._beacon_jobs(frozenset(one.told.id for one in found))
        if epoch == self._epoch:
            self._fetch_many(jobs)
        else:
            # Something was rotated or forgotten since the query: what it told may be out of date.
            for slot, _ in jobs:
                self._fetch(slot, self._fetch_of(slot))
        return len(found)

    def _beacon_jobs(self, key_ids: frozenset[str]) -> Jobs:
        """How the beacon keys of some keys are had: from one query, where the store has one."""
        if not isinstance(self.store, BulkBeaconStore):
            return [((key_id, None), self._fetch_of((key_id, None))) for key_id in sorted(key_ids)]
        return [
            ((one.id, None), _as_tuple(one.unwrap)) for one in self.store.wrapped_beacons(key_ids)
        ]

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
            self._epoch += 1
            self._entries.clear()
            self._flights.clear()
            self._missing.clear()

    def close(self) -> None:
        """Forget every key and renew none any more, even if keys are asked for again."""
        self._plan = RenewalPlan(self.ttl, 0.0)
        renewer.forget(self)
        self.clear()

    def forget(self, key_id: str, *, active_only: bool = False) -> None:
        """Forget a key, or only which of its versions is active, in this process."""
        self._drop(lambda slot: _belongs(slot, key_id, active_only))

    def forget_beacons(self, key_id: str) -> None:
        """Forget which beacon keys a key has, in this process."""
        self._drop(lambda slot: slot == (key_id, None))

    def _drop(self, belongs: Callable[[Slot], bool]) -> None:
        held: dict[Slot, Any]
        with self._lock:
            self._epoch += 1
            for held in (self._entries, self._flights, self._missing):
                for slot in [slot for slot in held if belongs(slot)]:
                    del held[slot]

    def _read(self, slot: Slot, fetch: Callable[[], Any]) -> Any:
        """A fetch that an expired entry stands in for during an outage."""
        entry = self._entries.get(slot)
        if entry is not None and monotonic() < min(entry.retry_at, entry.expires + self.grace):
            entry.counters.stale += 1
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
        entry.counters.stale += 1
        return entry.value

    def _fetch_of(self, slot: Slot) -> Callable[[], Any]:
        """How one key is asked for."""
        if isinstance(slot, str):
            return lambda: self.store.active(slot)
        key_id, version = slot
        if version is None:
            return lambda: self._store_beacons(key_id)
        return lambda: self.store.version(key_id, version)

    def _fetch(self, slot: Slot, fetch: Callable[[], Any]) -> Any:
        """Fetch, or wait for whoever is fetching the same."""
        with self._lock:
            entry = self._entries.get(slot)
            if entry is not None and monotonic() < entry.expires:
                return entry.value
            failure = self._known_missing(slot)
            if failure is None:
                flight, leads = self._claim(slot)
        if failure is not None:
            raise failure
        if leads:
            self._launch(slot, flight, fetch)
        return self._wait(flight)

    def _fetch_many(self, jobs: Jobs) -> None:
        """Have many keys at hand; the first failure is raised when all are settled."""
        flights, led = [], []
        for slot, fetch in jobs:
            with self._lock:
                entry = self._entries.get(slot)
                if entry is not None and monotonic() < entry.expires:
                    continue
                flight, leads = self._claim(slot)
            flights.append(flight)
            if leads:
                led.append((slot, flight, fetch))
        if len(led) == 1:
            self._launch(*led[0])
        elif led:
            work_off([partial(self._fly, *one) for one in led], self.runner.start)
        failures = []
        for flight in flights:
            try:
                self._wait(flight)
            except EncFieldsError as error:
                failures.append(error)
        if failures:
            raise failures[0]

    def _claim(self, slot: Slot) -> tuple[Future[Any], bool]:
        """The fetch of a slot that is under way, or a new one to be led by the caller."""
        self.stats.of(_key_id(slot)).misses += 1
        flight = self._flights.get(slot)
        if flight is not None:
            return flight, False
        flight = self._flights[slot] = Future()
        # A future that runs cannot be cancelled: one waiter's cancellation must not take the
        # key away from the others.
        flight.set_running_or_notify_cancel()
        return flight, True

    def _wait(self, flight: Future[Any]) -> Any:
        try:
            return self.runner.wait(flight)
        except EncFieldsError as error:
            failure = copy.copy(error)
        # A copy, because several threads raise it and each adds its own traceback.
        raise failure

    def _known_missing(self, slot: Slot) -> EncFieldsError | None:
        """The error of a key that was missing a moment ago, to be raised by this caller."""
        found = self._missing.get(slot)
        if found is None:
            return None
        error, until = found
        if monotonic() >= until:
            del self._missing[slot]
            return None
        self.stats.of(_key_id(slot)).refused += 1
        return copy.copy(error)

    def _launch(self, slot: Slot, flight: Future[Any], fetch: Callable[[], Any]) -> None:
        try:
            self.runner.start(lambda: self._fly(slot, flight, fetch))
        except BaseException as error:
            if not flight.done():
                with self._lock:
                    if self._flights.get(slot) is flight:
                        del self._flights[slot]
                flight.set_exception(_broken_off(error))
            raise

    def _fly(
        self, slot: Slot, flight: Future[Any], fetch: Callable[[], Any], *, renewal: bool = False
    ) -> None:
        """Fetch and settle `flight`, whatever happens."""
        try:
            self._fetch_and_settle(slot, flight, fetch, renewal=renewal)
        finally:
            if not flight.done():  # interrupted between the fetch and its being told
                self._drop(lambda held: held == slot)
                flight.set_exception(_broken_off(KeyboardInterrupt()))

    def _fetch_and_settle(
        self, slot: Slot, flight: Future[Any], fetch: Callable[[], Any], *, renewal: bool
    ) -> None:
        meter = FetchMeter(_key_id(slot), _what(slot), renewal=renewal)
        try:
            value = fetch()
        except Exception as error:
            self._land(slot, flight, meter.stop(error), error=error)
            flight.set_exception(error)
        except BaseException as error:
            # An interrupt is for this caller alone; the others only learn that it is over.
            self._land(slot, flight, meter.stop(error))
            flight.set_exception(_broken_off(error))
            raise
        else:
            self._land(slot, flight, meter.stop(), value)
            flight.set_result(value)

    def _land(
        self,
        slot: Slot,
        flight: Future[Any],
        fetch: Fetch,
        value: Any = None,
        *,
        error: Exception | None = None,
    ) -> None:
        with self._lock:
            self.stats.of(fetch.key_id).add(fetch)
            # Otherwise forgotten or cleared meanwhile: what it brings may be out of date.
            if self._flights.get(slot) is flight:
                del self._flights[slot]
                if value is not None:
                    self._keep(slot, value)
                elif isinstance(error, (KeyNotFoundError, KeyDestroyedError)):
                    self._note_missing(slot, error)
        for observer in self.observers:
            try:
                observer(fetch)
            except Exception as failure:
                _log.warning("an observer of key fetches raised %s", type(failure).__name__)

    def _note_missing(self, slot: Slot, error: EncFieldsError) -> None:
        self._entries.pop(slot, None)
        if len(self._missing) >= MAX_MISSING:
            self._missing.pop(next(iter(self._missing)))
        self._missing[slot] = (copy.copy(error), monotonic() + MISSING_PAUSE)

    def _keep(self, slot: Slot, value: Any) -> None:
        now = monotonic()
        counters = self.stats.of(_key_id(slot))
        entry = self._entries[slot] = _Entry(value, counters, now, self.ttl, self._plan.lead)
        if isinstance(slot, str):
            # Due at the same time, and then renewed by the same fetch.
            self._entries[(slot, value.version)] = copy.copy(entry)
        if self._plan.lead and getattr(self.store, "may_fetch_in_background", True):
            renewer.watch(self)
        excess = len(self._entries) - self.max_entries
        if excess > 0:
            # An eighth at once, so that a scan is paid for by many insertions.
            count = max(excess, self.max_entries // 8)
            oldest = heapq.nsmallest(count, self._entries.items(), key=lambda item: item[1].used)
            for old, _ in oldest:
                del self._entries[old]
            self.stats.evicted += len(oldest)

    def renew_due(self) -> float:
        """Renew what is due; for the thread of :mod:`encfields.keys.renewal` alone.

        :returns: seconds after which to call again.
        """
        if self._plan.lead:
            due = self._due()
            with self.runner.aside() if due else nullcontext():
                fetches = self._renewals(due)
                for slot in due:
                    self._renew(slot, fetches.get(slot) or self._fetch_of(slot))
        with self._lock:
            times = [entry.renew_at for entry in self._entries.values() if entry.renew_at]
        return self._plan.next_look(min(times, default=None))

    def _due(self) -> list[Slot]:
        """Keys to renew, the active versions first: fetching one renews that version as well."""
        now = monotonic()
        due = []
        with self._lock:
            for slot, entry in self._entries.items():
                if not entry.renew_at or now < entry.renew_at:
                    continue
                if entry.used > entry.fetched and now < entry.expires:
                    due.append(slot)
                    entry.renew_at = now + self._plan.pause
                elif now >= entry.expires:
                    entry.renew_at = 0.0
                else:
                    entry.renew_at = now + self._plan.pause
        return sorted(due, key=lambda slot: not isinstance(slot, str))

    def _renewals(self, due: list[Slot]) -> dict[Slot, Callable[[], Any]]:
        """Wrapped keys of what is due, in one query where the store has one."""
        if len(due) < 2 or not isinstance(self.store, BulkKeyStore):
            return {}
        epoch = self._epoch
        indexed = frozenset(slot[0] for slot in due if isinstance(slot, tuple) and slot[1] is None)
        try:
            found = self.store.wrapped_many(frozenset(_key_id(slot) for slot in due))
            beacons = self._beacon_jobs(indexed) if indexed else []
        except EncFieldsError:
            return {}
        if epoch != self._epoch:
            return {}
        fetches: dict[Slot, Callable[[], Any]] = dict(beacons)
        for one in found:
            if one.told.active:
                fetches[one.told.id] = one.unwrap
            fetches[(one.told.id, one.told.version)] = one.unwrap
        return fetches

    def _renew(self, slot: Slot, fetch: Callable[[], Any]) -> None:
        with self._lock:
            entry = self._entries.get(slot)
            renewed = entry is None or entry.renew_at > monotonic() + self._plan.pause
            if renewed or slot in self._flights:
                return
            flight: Future[Any] = Future()
            flight.set_running_or_notify_cancel()
            self._flights[slot] = flight
        self._fly(slot, flight, fetch, renewal=True)


def _key_id(slot: Slot) -> str:
    return slot if isinstance(slot, str) else slot[0]


def _what(slot: Slot) -> What:
    if isinstance(slot, str):
        return "active"
    return "beacon" if slot[1] is None else "version"


def _slot_of(one: WrappedKey) -> Slot:
    return one.told.id if one.told.active else (one.told.id, one.told.version)


def _as_tuple(unwrap: Callable[[], list[BeaconKey]]) -> Callable[[], tuple[BeaconKey, ...]]:
    return lambda: tuple(unwrap())


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
