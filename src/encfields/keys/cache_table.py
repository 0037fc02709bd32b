"""What a key cache holds: keys at hand, keys that are missing, and fetches under way."""

from __future__ import annotations

import copy
import heapq
import math
import random
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from time import monotonic
from typing import Any

from encfields.errors import EncFieldsError
from encfields.keys.cache_stats import CacheStats, KeyCounters, Observer
from encfields.keys.forking import in_forked_child
from encfields.keys.renewal import RenewalPlan, renewer
from encfields.keys.runner import Runner
from encfields.keys.slots import Slot, belongs, key_id_of
from encfields.keys.store import ConfirmingKeyStore, KeyStore

DEFAULT_TTL = 3600.0
"""Seconds for which a key is used before it is fetched and unwrapped anew."""

DEFAULT_GRACE = 600.0
"""Seconds past the time to live for which reads go on while KMS or the store is out of reach."""

DEFAULT_MAX_ENTRIES = 35_000
"""Keys held at most, two for the active version of each key id and one for its beacon keys:
10,000 tenants' and more. Some 500 bytes each."""

DEFAULT_CHECK = 5.0
"""Seconds for which a key seals before the key store is asked, without KMS, if it still may."""

MISSING_PAUSE = 1.0
"""Seconds for which a missing or destroyed key is not asked for again."""

MAX_MISSING = 1_000
"""Missing keys that are remembered at most: ids can come from whoever wrote a message."""


class Entry:
    """A key at hand, until when, and when it was used last.

    :ivar asked: when the key store was last asked whether it is in force.
    :ivar confirmed: until when that is believed, for sealing; never longer than ``expires``.
    :ivar retry_at: when a read past ``expires`` asks again.
    :ivar failure: what the last fetch failed with.
    :ivar is_told: whether the log says that it stood in past ``expires``.
    """

    __slots__ = (
        "asked",
        "confirmed",
        "counters",
        "expires",
        "failure",
        "fetched",
        "is_told",
        "renew_at",
        "retry_at",
        "used",
        "value",
    )

    def __init__(
        self, value: Any, counters: KeyCounters, now: float, ttl: float, lead: float
    ) -> None:
        self.value = value
        self.asked = now
        self.counters = counters
        self.used = self.fetched = now
        self.expires = self.confirmed = now + ttl
        # Spread, so that keys that were loaded together are not renewed together.
        self.renew_at = self.expires - lead * (0.5 + 0.5 * random.random())  # noqa: S311
        self.retry_at = 0.0
        self.failure: str | None = None
        self.is_told = False

    def confirm(self, asked: float, seconds: float) -> None:
        """It was in force at `asked`, which is believed for some seconds."""
        self.asked = asked
        self.confirmed = min(self.expires, asked + seconds)


class CacheTable:
    """The tables, their lock, and what is forgotten; no key is fetched here."""

    def __init__(
        self,
        store: KeyStore,
        *,
        ttl: float = DEFAULT_TTL,
        grace: float = DEFAULT_GRACE,
        max_entries: int = DEFAULT_MAX_ENTRIES,
        runner: Runner | None = None,
        renew_before: float = 0.0,
        check: float = DEFAULT_CHECK,
    ) -> None:
        if check <= 0:
            raise ValueError("check is positive")
        if ttl <= 0 or grace < 0 or max_entries < 1:
            raise ValueError("ttl and max_entries are positive, grace is not negative")
        if not 0 <= renew_before <= ttl / 2:
            raise ValueError("renew_before is between 0 and half of ttl")
        self.store = store
        self.ttl = ttl
        self.grace = grace
        self.max_entries = max_entries
        self.check = min(check, ttl)
        self._runner = runner
        self._plan = RenewalPlan(ttl, renew_before)
        self.observers: list[Observer] = []
        self._start_afresh()
        _caches.add(self)

    def _start_afresh(self) -> None:
        self.stats = CacheStats()
        self._missing: dict[Slot, tuple[EncFieldsError, float]] = {}
        self._epoch = 0
        self._outage_seen = -math.inf
        self._entries: dict[Slot, Entry] = {}
        self._flights: dict[Slot, Future[Any]] = {}
        self._confirming: Future[Any] | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<KeyCache {len(self._entries)} keys of {self.store!r}>"

    def __len__(self) -> int:
        return len(self._entries)

    def renew_due(self) -> float:
        """Renew what is due; seconds until it should be asked again."""
        raise NotImplementedError

    def clear(self) -> None:
        """Forget every key; fetches under way are answered but not kept."""
        with self._lock:
            self._epoch += 1
            self._entries.clear()
            self._flights.clear()
            self._missing.clear()

    def forget(self, key_id: str, *, active_only: bool = False) -> None:
        """Forget a key, or only which of its versions is active, in this process."""
        self._drop(lambda slot: belongs(slot, key_id, active_only))

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

    def _known_missing(self, slot: Slot) -> EncFieldsError | None:
        """The error of a key that was missing a moment ago, to be raised by this caller."""
        found = self._missing.get(slot)
        if found is None:
            return None
        error, until = found
        if monotonic() >= until:
            del self._missing[slot]
            return None
        self.stats.of(key_id_of(slot)).refused += 1
        return copy.copy(error)

    def _note_missing(self, slot: Slot, error: EncFieldsError) -> None:
        self._entries.pop(slot, None)
        if len(self._missing) >= MAX_MISSING:
            self._missing.pop(next(iter(self._missing)))
        self._missing[slot] = (copy.copy(error), monotonic() + MISSING_PAUSE)

    def _keep(self, slot: Slot, value: Any, asked: float) -> list[Slot]:
        """Have a key at hand.

        :returns: which of the entries that it replaces had stood in past their time.
        """
        now = monotonic()
        places: list[Slot] = [slot, (slot, value.version)] if isinstance(slot, str) else [slot]
        stood_in = [one for one in places if (old := self._entries.get(one)) and old.is_told]
        counters = self.stats.of(key_id_of(slot))
        entry = self._entries[slot] = Entry(value, counters, now, self.ttl, self._plan.lead)
        if isinstance(slot, str):
            if isinstance(self.store, ConfirmingKeyStore):
                entry.confirm(asked, self.check)
            # Due at the same time, and then renewed by the same fetch.
            self._entries[(slot, value.version)] = copy.copy(entry)
        if self._plan.lead and getattr(self.store, "may_fetch_in_background", True):
            renewer.watch(self)
        excess = len(self._entries) - self.max_entries
        if excess > 0:
            # An eighth at once, so that a scan is paid for by many insertions.
            count = max(excess, self.max_entries // 8)
            oldest = heapq.nsmallest(count, self._entries.items(), key=lambda item: item[1].used)
            for victim, _ in oldest:
                del self._entries[victim]
            self.stats.evicted += len(oldest)
        return stood_in


_caches: weakref.WeakSet[CacheTable] = weakref.WeakSet()


def _start_all_afresh() -> None:
    # A lock that another thread held at the fork would stay locked for ever in the child, and
    # fetches under way have no thread there to finish them.
    for cache in list(_caches):
        cache._start_afresh()


in_forked_child(_start_all_afresh)
