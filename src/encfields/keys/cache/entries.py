"""The content of a key cache: keys, and keys known to be missing, both bounded in number.

Entries are the active version of a key id, a given version, or its beacon keys.
"""

from __future__ import annotations

import copy
import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any

from encfields.arguments import kind
from encfields.branch_key import BranchKey
from encfields.errors import ConfigurationError, EncFieldsError, shortened
from encfields.keys.cache.stats import CacheStats, KeyCounters, What
from encfields.keys.store import KeyStore
from encfields.keys.versions import BeaconKey, WrappedKey

CacheKey = str | tuple[str, str | None]
"""``key_id`` for the active version, ``(key_id, version)`` for a version, ``(key_id, None)``
for its beacon keys."""


Jobs = list[tuple[CacheKey, Callable[[], Any]]]
"""What to fetch, and the function that fetches it."""


def key_id_of(key: CacheKey) -> str:
    """The branch key id."""
    return key if isinstance(key, str) else key[0]


def what_of(key: CacheKey) -> What:
    """The kind of entry."""
    if isinstance(key, str):
        return "active"
    return "beacon" if key[1] is None else "version"


def cache_key_of(wrapped: WrappedKey) -> CacheKey:
    """The cache key of a version that was read but not unwrapped."""
    version = wrapped.key_version
    return version.id if version.active else (version.id, version.version)


def belongs(key: CacheKey, key_id: str, active_only: bool) -> bool:
    """Whether it belongs to a key id."""
    return key == key_id or (not active_only and isinstance(key, tuple) and key[0] == key_id)


def fetch_from(store: KeyStore, key: CacheKey) -> Any:
    """Fetch from the key store: a branch key, or a tuple of beacon keys, the newest last."""
    if isinstance(key, str):
        return store.active(key)
    key_id, version = key
    return tuple(store.beacons(key_id)) if version is None else store.version(key_id, version)


def named(key: CacheKey) -> str:
    """Its name in the log."""
    what, key_id = what_of(key), repr(shortened(key_id_of(key)))
    if what == "version":
        return f"version {key[1]!r} of key {key_id}"
    return f"{'active version' if what == 'active' else 'beacon key'} of key {key_id}"


def _require_answer(asked: CacheKey, fetched: Any) -> None:
    """Refuse what a key store answers to another question: what is sealed under it opens nowhere.

    :raises ConfigurationError: names the store's method, and what it returned.
    """
    key_id, version = (asked, None) if isinstance(asked, str) else asked
    if isinstance(asked, str) or version is not None:
        is_good = isinstance(fetched, BranchKey) and fetched.id == key_id
        is_good = is_good and version in (None, fetched.version)
        method, takes = "active" if version is None else "version", "the BranchKey of that id"
    else:
        is_good = bool(fetched) and all(isinstance(one, BeaconKey) for one in fetched)
        method, takes = "beacons", "a list of BeaconKeys"
    if not is_good:
        what = "another one" if isinstance(fetched, BranchKey) else kind(fetched)
        raise ConfigurationError(
            f"the key store's {method}() has to return {takes}, and returned {what}",
            key_id=key_id,
            reason="key-store",
        )


MISSING_PAUSE = 1.0
"""Seconds before a missing or destroyed key is requested again."""

MAX_MISSING = 1_000
"""Most missing keys to remember: anybody who writes a message can name any id."""


@dataclass(slots=True, eq=False, repr=False)
class KeyLifetimes:
    """How long keys are used, in seconds.

    :ivar ttl: before a key is fetched again.
    :ivar grace: past `ttl`, for reads during an outage.
    :ivar check: for sealing, before the store is asked whether it still may.
    :ivar lead: before the end of `ttl`, at which a key in use is renewed; 0 for never.
    """

    ttl: float
    grace: float
    check: float
    lead: float


class Entry:
    """A cached key.

    :ivar expires: end of its time to live.
    :ivar usable: until when it is used without a request: at most ``expires``, and earlier for a
        sealing version that must be confirmed.
    :ivar asked: when the key store was last asked whether it is active.
    :ivar retry_at: when a read past ``expires`` tries to fetch again.
    :ivar failure: the error of the last fetch.
    :ivar is_logged: whether its use past ``expires`` was logged.
    """

    __slots__ = (
        "asked",
        "counters",
        "expires",
        "failure",
        "fetched",
        "is_logged",
        "renew_at",
        "retry_at",
        "usable",
        "used",
        "value",
    )

    def __init__(self, value: Any, counters: KeyCounters, now: float, times: KeyLifetimes) -> None:
        self.value = value
        self.asked = now
        self.counters = counters
        self.used = self.fetched = now
        self.expires = self.usable = now + times.ttl
        # Jitter, so that keys loaded together are not renewed together.
        self.renew_at = self.expires - times.lead * (0.5 + 0.5 * random.random())  # noqa: S311
        self.retry_at = 0.0
        self.failure: str | None = None
        self.is_logged = False

    def confirm(self, asked: float, seconds: float) -> None:
        """Record that the key was active at `asked`, which is valid for some seconds."""
        self.asked = asked
        self.usable = min(self.expires, asked + seconds)


class Entries:
    """Cached keys. Call its methods under the cache's lock.

    :param times: how long a key may be used.
    :param max_entries: most keys held.
    :param stats: counts what is held and dropped.
    :param keeps_data_keys: whether values that were opened are opened again with what their branch
        key keeps of them.
    :ivar held: by cache key; reading one needs no lock.
    :ivar epoch: changes whenever something is forgotten.
    """

    def __init__(
        self,
        times: KeyLifetimes,
        max_entries: int,
        stats: CacheStats,
        keeps_data_keys: bool,
    ) -> None:
        self._times = times
        self._max_entries = max_entries
        self._stats = stats
        self._keeps_data_keys = keeps_data_keys
        self.held: dict[CacheKey, Entry] = {}
        self.missing: dict[CacheKey, tuple[EncFieldsError, float]] = {}
        self.epoch = 0

    def value(self, key: CacheKey) -> Any:
        """The cached value; ``None`` if there is none or it has expired."""
        entry = self.held.get(key)
        return entry.value if entry is not None and monotonic() < entry.expires else None

    def own(self, asked: CacheKey, fetched: Any) -> Any:
        """A branch key as an object that is this cache's alone; beacon keys as they are.

        A key store may return one object for ever, and to several caches. What is derived from a
        key and kept in its object is to be dropped when this cache drops the key, and to be what
        this cache's options say.

        :raises ConfigurationError: it is not what was asked for.
        """
        _require_answer(asked, fetched)
        if not isinstance(fetched, BranchKey):
            return fetched
        key = BranchKey(fetched.id, fetched.version, fetched.material, fetched.number)
        key.keeps_data_keys = self._keeps_data_keys
        return key

    def keep(self, key: CacheKey, value: Any, confirmed_at: float | None) -> list[CacheKey]:
        """Cache a key.

        :param value: from :meth:`own`.
        :param confirmed_at: when the key store was asked for an active version, if the store can
            confirm it later.
        :returns: the replaced entries that had been used past their time.
        """
        now = monotonic()
        keys: list[CacheKey] = [key, (key, value.version)] if isinstance(key, str) else [key]
        stood_in = [key for key in keys if (old := self.held.get(key)) and old.is_logged]
        entry = self.held[key] = Entry(value, self._stats.of(key_id_of(key)), now, self._times)
        for version in keys[1:]:
            # Due at the same time, so renewed by the same fetch.
            self.held[version] = copy.copy(entry)
        if isinstance(key, str) and confirmed_at is not None:
            entry.confirm(confirmed_at, self._times.check)
        self._make_room()
        return stood_in

    def _make_room(self) -> None:
        excess = len(self.held) - self._max_entries
        if excess > 0:
            # Drop an eighth at once, so that many insertions share the cost of a scan.
            count = max(excess, self._max_entries // 8)
            oldest = heapq.nsmallest(count, self.held.items(), key=lambda item: item[1].used)
            for victim, _ in oldest:
                del self.held[victim]
            self._stats.evicted += len(oldest)

    def known_missing(self, key: CacheKey) -> EncFieldsError | None:
        """A copy of the error of a key that was missing a moment ago."""
        noted = self.missing.get(key)
        if noted is None:
            return None
        error, until = noted
        if monotonic() >= until:
            del self.missing[key]
            return None
        self._stats.of(key_id_of(key)).refused += 1
        return copy.copy(error)

    def note_missing(self, key: CacheKey, error: EncFieldsError) -> None:
        """Record that the key store does not have the key."""
        self.held.pop(key, None)
        if len(self.missing) >= MAX_MISSING:
            self.missing.pop(next(iter(self.missing)))
        self.missing[key] = (copy.copy(error), monotonic() + MISSING_PAUSE)

    def forget(self, is_meant: Callable[[CacheKey], bool]) -> None:
        """Forget some keys; current fetches of them are outdated."""
        self.epoch += 1
        drop(self.held, is_meant)
        drop(self.missing, is_meant)


def drop(held: dict[CacheKey, Any], is_meant: Callable[[CacheKey], bool]) -> None:
    """Delete some entries by cache key."""
    for key in [key for key in held if is_meant(key)]:
        del held[key]
