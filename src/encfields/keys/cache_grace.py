"""How a key cache reads past a key's time to live, while KMS or the store may be away.

A decision of KMS (denied, disabled) takes effect at the time to live, so the first reader asks,
and waits for the answer for :data:`PATIENCE` at the most. Once an outage is known nobody waits:
readers have the expired key until its grace is over, and one fetch after the other is tried
beside them.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from concurrent.futures import Future
from time import monotonic
from typing import Any

from encfields.errors import KeyUnavailableError, shortened
from encfields.keys.cache_fetch import GRACE_REASONS, FetchingCache
from encfields.keys.cache_table import Entry
from encfields.keys.daemon_threads import daemon_threads
from encfields.keys.slots import Slot, key_id_of, what_of

log = logging.getLogger("encfields.keys")

PATIENCE = 0.5
"""Seconds for which a reader of an expired key waits for its fetch, unless an outage is known."""

BELIEF = 30.0
"""Seconds for which one key's outage is believed to be that of others."""


class GraceCache(FetchingCache):
    """Reads whose expired key stands in during an outage."""

    def _read(self, slot: Slot, fetch: Callable[[], Any]) -> Any:
        """A key for reading: fetched, or the expired one of an outage within its grace."""
        entry = self._entries.get(slot)
        now = monotonic()
        if entry is None or now >= entry.expires + self.grace:
            return self._fetch(slot, fetch)
        if now < entry.expires:  # renewed since the caller looked
            return entry.value
        if now < entry.retry_at:
            return self._stale(slot, entry)
        if self._fetches_beside:
            return self._read_beside(slot, entry, fetch)
        return self._read_here(slot, entry, fetch)

    def _read_beside(self, slot: Slot, entry: Entry, fetch: Callable[[], Any]) -> Any:
        """Fetch on another thread, and wait a moment for it if no outage is known."""
        with self._lock:
            flight, leads = self._flight_of(slot)
        if leads:
            self._launch_beside(slot, flight, fetch)
        if monotonic() - self._outage_seen < BELIEF and not flight.done():
            return self._stale(slot, entry)
        if not self.runner.wait_briefly(flight, PATIENCE):
            # Set back when the fetch has come to its end.
            self._outage_seen, entry.retry_at = monotonic(), math.inf
            return self._stale(slot, entry)
        return self._landed(slot, entry, flight)

    def _launch_beside(self, slot: Slot, flight: Future[Any], fetch: Callable[[], Any]) -> None:
        def fly() -> None:
            with self.runner.aside():
                self._fly(slot, flight, fetch)

        self._launch_by(daemon_threads().submit, slot, flight, fly)

    def _read_here(self, slot: Slot, entry: Entry, fetch: Callable[[], Any]) -> Any:
        """Fetch on this thread: the store has one connection, which is the application's."""
        with self._lock:
            flight, leads = self._claim(slot)
        if leads:
            self._launch(slot, flight, fetch)
        return self._landed(slot, entry, flight)

    def _landed(self, slot: Slot, entry: Entry, flight: Future[Any]) -> Any:
        """What a fetch brought, or the expired key if it met an outage."""
        try:
            return self._wait(flight)
        except KeyUnavailableError as error:
            if error.reason not in GRACE_REASONS or monotonic() >= entry.expires + self.grace:
                raise
            return self._stale(slot, entry, error)

    def _stale(self, slot: Slot, entry: Entry, error: KeyUnavailableError | None = None) -> Any:
        """An expired key, in an outage; said once."""
        with self._lock:
            entry.counters.stale += 1
            first, entry.is_told = not entry.is_told, True
        if first:
            left = entry.expires + self.grace - monotonic()
            log.warning(
                "the %s is past its time to live and cannot be fetched: reads go on with it for "
                "%.0f s more, writes fail (%s)",
                _named(slot),
                max(0.0, left),
                error or entry.failure or "no answer yet",
            )
        return entry.value

    def _note_recovered(self, slot: Slot) -> None:
        log.warning("the %s was fetched again after an outage", _named(slot))


def _named(slot: Slot) -> str:
    """A key as the log names it."""
    what, key_id = what_of(slot), repr(shortened(key_id_of(slot)))
    if what == "version":
        return f"version {slot[1]!r} of key {key_id}"
    return f"{'active version' if what == 'active' else 'beacon key'} of key {key_id}"
