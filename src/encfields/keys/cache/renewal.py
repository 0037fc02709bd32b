"""Renewal of keys in use before they expire, by one thread for all caches of a process.

The thread starts when a renewing cache gets its first key, never at import; it ends when no such
cache is left. A forked child starts its own when it needs one.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from time import monotonic
from typing import Any, Protocol

from encfields.errors import EncFieldsError
from encfields.keys.cache.entries import CacheKey, Entries, Jobs, KeyLifetimes, key_id_of
from encfields.keys.cache.fetcher import Fetcher
from encfields.keys.forking import in_forked_child
from encfields.keys.store import KeyStore
from encfields.keys.versions import BeaconKey, WrappedBeacons

MAX_SLEEP = 60.0
"""Longest sleep, in seconds, before the thread checks whether a cache is left."""


class Renewable(Protocol):
    """A cache as seen by the thread."""

    def renew_due(self) -> float:
        """Renew what is due; seconds until it should be asked again."""
        ...


class Renewer:
    """Calls ``renew_due()`` of every watched cache when it is time."""

    def __init__(self) -> None:
        self._start_afresh()

    def _start_afresh(self) -> None:
        self._wake = threading.Condition()
        self._caches: weakref.WeakSet[Renewable] = weakref.WeakSet()
        self._thread: threading.Thread | None = None
        self._woken = False

    def watch(self, cache: Renewable) -> None:
        """Renew the keys of `cache` from now on; repeated calls are harmless and cheap."""
        if cache in self._caches:
            return
        with self._wake:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="encfields-renewal", daemon=True)
                try:
                    thread.start()
                except RuntimeError:
                    # The interpreter is ending (an atexit handler's, from Python 3.12 on), or the
                    # system has no thread to spare: a key is fetched when it is needed.
                    return
                self._thread = thread
            self._caches.add(cache)
            self._woken = True
            self._wake.notify()

    def forget(self, cache: Renewable) -> None:
        """Stop renewing the keys of `cache`."""
        with self._wake:
            self._caches.discard(cache)
            self._woken = True
            self._wake.notify()

    @property
    def is_running(self) -> bool:
        """Whether this process has the thread."""
        return self._thread is not None

    def _run(self) -> None:
        while True:
            pause = self._renew_all()
            with self._wake:
                if not self._caches:
                    self._thread = None
                    return
                if not self._woken:
                    self._wake.wait(pause)
                self._woken = False

    def _renew_all(self) -> float:
        # A separate function, since a local name would keep a cache alive while the thread sleeps.
        with self._wake:
            caches = list(self._caches)
        return min([cache.renew_due() for cache in caches], default=MAX_SLEEP)


renewer = Renewer()
"""The one of this process."""

in_forked_child(renewer._start_afresh)


class RenewalPlan:
    """When keys of one cache are renewed.

    :param ttl: seconds for which a key is used.
    :param lead: seconds before expiry from which it is renewed; 0 for never.
    """

    __slots__ = ("lead", "pause", "tick", "ttl")

    def __init__(self, ttl: float, lead: float) -> None:
        self.ttl = ttl
        self.lead = lead
        # Not per key: finding what is due takes a millisecond for 10,000 keys.
        self.tick = min(1.0, max(0.01, lead / 20))
        self.pause = max(self.tick, lead / 10)

    def next_look(self, earliest: float | None) -> float:
        """Seconds to sleep when the earliest known key is due at `earliest`.

        A key cached meanwhile is due no sooner than `ttl` minus `lead` from now, so it need not
        wake the thread.
        """
        longest = min(MAX_SLEEP, max(self.tick, self.ttl - self.lead))
        if earliest is None:
            return longest
        return min(longest, max(self.tick, earliest - monotonic()))


class Renewal:
    """Renews the keys of one cache; called only by the thread."""

    def __init__(
        self, store: KeyStore, entries: Entries, fetcher: Fetcher, times: KeyLifetimes
    ) -> None:
        self._store = store
        self._entries = entries
        self._fetcher = fetcher
        self._times = times
        self._plan = RenewalPlan(times.ttl, times.lead)

    def renew_due(self) -> float:
        """Renew what is due.

        :returns: seconds after which to call again.
        """
        if self._times.lead:
            due = self._due()
            with self._fetcher.runner.aside() if due else nullcontext():
                asked = monotonic()
                fetches = self._unwraps(due)
                for key in due:
                    call = fetches.get(key)
                    self._renew(key, call, asked if call else None)
        with self._fetcher.lock:
            times = [entry.renew_at for entry in self._entries.held.values() if entry.renew_at]
        return self._plan.next_look(min(times, default=None))

    def _due(self) -> list[CacheKey]:
        """Keys to renew, active versions first: fetching one also renews its version."""
        now = monotonic()
        due = []
        with self._fetcher.lock:
            for key, entry in self._entries.held.items():
                if not entry.renew_at or now < entry.renew_at:
                    continue
                if entry.used > entry.fetched and now < entry.expires:
                    due.append(key)
                    entry.renew_at = now + self._plan.pause
                elif now >= entry.expires:
                    entry.renew_at = 0.0
                else:
                    entry.renew_at = now + self._plan.pause
        return sorted(due, key=lambda key: not isinstance(key, str))

    def _unwraps(self, due: list[CacheKey]) -> dict[CacheKey, Callable[[], Any]]:
        """The jobs that unwrap the due keys, read in one query."""
        if len(due) < 2:
            return {}
        epoch = self._entries.epoch
        indexed = frozenset(key[0] for key in due if isinstance(key, tuple) and key[1] is None)
        try:
            wrapped_keys = self._store.wrapped_many(frozenset(key_id_of(key) for key in due))
            beacons = beacon_jobs(self._store.wrapped_beacons(indexed)) if indexed else []
        except EncFieldsError:
            return {}
        if epoch != self._entries.epoch:
            return {}
        unwraps: dict[CacheKey, Callable[[], Any]] = dict(beacons)
        for wrapped in wrapped_keys:
            version = wrapped.key_version
            if version.active:
                unwraps[version.id] = wrapped.unwrap
            unwraps[(version.id, version.version)] = wrapped.unwrap
        return unwraps

    def _renew(self, key: CacheKey, call: Callable[[], Any] | None, asked: float | None) -> None:
        with self._fetcher.lock:
            entry = self._entries.held.get(key)
            is_renewed = entry is None or entry.renew_at > monotonic() + self._plan.pause
        if is_renewed:
            return
        flight, leads = self._fetcher.join(key)
        if leads:
            self._fetcher.fetch_into(key, flight, call, renewal=True, asked=asked)


def beacon_jobs(wrapped: Iterable[WrappedBeacons]) -> Jobs:
    """The jobs that unwrap beacon keys already read."""
    return [((beacons.id, None), _as_tuple(beacons.unwrap)) for beacons in wrapped]


def _as_tuple(unwrap: Callable[[], list[BeaconKey]]) -> Callable[[], tuple[BeaconKey, ...]]:
    return lambda: tuple(unwrap())
