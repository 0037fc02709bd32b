"""Reads with an expired key while KMS or the store may be unreachable.

A deliberate refusal by KMS (denied, disabled) takes effect at the time to live, so the first reader
fetches, and waits at most :data:`PATIENCE` for the answer. During a known outage nobody waits:
readers use the expired key until its grace ends, while fetches are tried in the background.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Any

from encfields.errors import KeyUnavailableError
from encfields.keys.cache.entries import CacheKey, Entries, Entry, KeyLifetimes
from encfields.keys.cache.fetcher import Fetcher, Flight, wait_for
from encfields.keys.cache.outages import Outages, is_outage, log_expired_use
from encfields.keys.fetching.threads import daemon_threads
from encfields.keys.store import KeyStore

PATIENCE = 0.5
"""Seconds that a reader of an expired key waits for its fetch, unless an outage is known."""


class Grace:
    """Serves reads with expired keys during an outage."""

    def __init__(
        self,
        store: KeyStore,
        entries: Entries,
        fetcher: Fetcher,
        outages: Outages,
        times: KeyLifetimes,
    ) -> None:
        self._store = store
        self._entries = entries
        self._fetcher = fetcher
        self._outages = outages
        self._times = times

    def read(self, key: CacheKey) -> Any:
        """A key for reading: fetched, or expired but within its grace during an outage."""
        entry = self._entries.held.get(key)
        now = monotonic()
        if entry is None or now >= entry.expires + self._times.grace:
            return self._fetcher.fetch(key)
        if now < entry.expires:  # renewed meanwhile
            return entry.value
        if now < entry.retry_at:
            return self._expired_value(key, entry)
        if self._store.may_fetch_in_background:
            return self._read_while_fetching(key, entry)
        return self._fetch_on_this_thread(key, entry)

    def _read_while_fetching(self, key: CacheKey, entry: Entry) -> Any:
        """Fetch on another thread, and wait briefly if no outage is known."""
        flight, leads = self._fetcher.join(key)
        if leads:
            fetch_into = partial(self._fetch_on_other_thread, key, flight)
            self._fetcher.launch_on(self._start_aside, key, flight, fetch_into)
        if self._outages.is_known and not flight.done():
            return self._expired_value(key, entry)
        if not self._fetcher.runner.wait_briefly(flight, PATIENCE):
            # Reset when the fetch ends.
            self._outages.note_outage()
            entry.retry_at = math.inf
            return self._expired_value(key, entry)
        return self._fetched_or_expired(key, entry, lambda: wait_for(flight, self._fetcher.runner))

    def _start_aside(self, job: Callable[[], None]) -> None:
        try:
            daemon_threads().submit(job)
        except RuntimeError:  # the interpreter is ending and starts no threads
            self._fetcher.runner.start(job)

    def _fetch_on_other_thread(self, key: CacheKey, flight: Flight) -> None:
        with self._fetcher.runner.aside():
            self._fetcher.fetch_into(key, flight)

    def _fetch_on_this_thread(self, key: CacheKey, entry: Entry) -> Any:
        """Fetch on this thread: the store's only connection is the application's."""
        return self._fetched_or_expired(key, entry, lambda: self._fetcher.refetch(key))

    def _fetched_or_expired(self, key: CacheKey, entry: Entry, wait: Callable[[], Any]) -> Any:
        """The fetched key, or the expired one if the fetch met an outage."""
        try:
            return wait()
        except KeyUnavailableError as error:
            is_over = monotonic() >= entry.expires + self._times.grace
            if is_over or not is_outage(error):
                raise
            return self._expired_value(key, entry, error)

    def _expired_value(
        self, key: CacheKey, entry: Entry, error: KeyUnavailableError | None = None
    ) -> Any:
        """The expired key, logged once."""
        with self._fetcher.lock:
            entry.counters.stale += 1
            first, entry.is_logged = not entry.is_logged, True
        if first:
            left = entry.expires + self._times.grace - monotonic()
            log_expired_use(key, entry, left, error)
        return entry.value
