"""Counters of a key cache, in total and by key id, and reports of fetches."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Literal, NamedTuple

from encfields.keys.aws.kms_calls import kms_attempts

What = Literal["active", "version", "beacon"]
"""Kinds of fetches."""

MAX_KEY_IDS = 10_000
"""Most key ids counted separately; the rest are counted together, to bound memory."""

MAX_UNKNOWN_IDS = 1_000
"""Most of these ids without a key: anybody who writes a value can name any id."""

OTHERS = "*"
"""The id under which further key ids are counted. The counts of a key with this very id would be
added to theirs."""


@dataclass(slots=True)
class KeyCounters:
    """Counters of one key id since the process started (or was forked).

    :ivar hits: answers from memory. May be a little low under many threads: counting exactly
        would cost a lock per value. ``stale`` likewise; all others are exact.
    :ivar misses: callers that had to wait for a fetch.
    :ivar store_calls: fetches from the store, including renewals; each unwraps one key.
    :ivar kms_calls: requests sent to KMS for them, including retries.
    :ivar failures: fetches that failed.
    :ivar refused: callers refused without a fetch, because the key was missing a moment ago.
    :ivar stale: reads answered from an expired key during an outage.
    :ivar renewals: fetches in the background, before the key expired, that succeeded.
    :ivar seconds: time spent on all fetches together.
    :ivar slowest: seconds that the slowest fetch took.
    """

    hits: int = 0
    misses: int = 0
    store_calls: int = 0
    kms_calls: int = 0
    failures: int = 0
    refused: int = 0
    stale: int = 0
    renewals: int = 0
    seconds: float = 0.0
    slowest: float = 0.0

    def add(self, fetch: Fetch) -> None:
        """Count a fetch that is over."""
        self.store_calls += 1
        self.kms_calls += fetch.kms_calls
        self.failures += fetch.failure is not None
        self.renewals += fetch.renewal and fetch.failure is None
        self.seconds += fetch.seconds
        self.slowest = max(self.slowest, fetch.seconds)


_NAMES = tuple(field.name for field in fields(KeyCounters) if field.name != "slowest")


class CacheStats:
    """Counters since the process started (or was forked): each of :class:`KeyCounters`, summed.

    :ivar by_key: the same by key id.
    :ivar evicted: keys dropped for lack of room.
    """

    __slots__ = ("_unknown", "by_key", "evicted")

    def __init__(self) -> None:
        self.by_key: dict[str, KeyCounters] = {}
        self.evicted = 0
        self._unknown: dict[str, None] = {}

    def of(self, key_id: str) -> KeyCounters:
        """The counters of a key id. Call it under the cache's lock."""
        counters = self.by_key.get(key_id)
        if counters is not None:
            return counters
        if len(self._unknown) >= MAX_UNKNOWN_IDS:
            self._merge_into_others(next(iter(self._unknown)))
        if len(self.by_key) >= MAX_KEY_IDS:
            return self.by_key.setdefault(OTHERS, KeyCounters())
        self._unknown[key_id] = None
        counters = self.by_key[key_id] = KeyCounters()
        return counters

    def add(self, fetch: Fetch) -> None:
        """Count a finished fetch. Call it under the cache's lock."""
        self.of(fetch.key_id).add(fetch)
        if fetch.failure is None:
            self._unknown.pop(fetch.key_id, None)

    def _merge_into_others(self, key_id: str) -> None:
        """Merge an id's counts, past and future, with those of the other ids."""
        del self._unknown[key_id]
        counted = self.by_key.pop(key_id)
        others = self.by_key.setdefault(OTHERS, KeyCounters())
        for name in _NAMES:
            setattr(others, name, getattr(others, name) + getattr(counted, name))
        others.slowest = max(others.slowest, counted.slowest)

    def total(self) -> KeyCounters:
        """All counters over all keys."""
        counters = list(self.by_key.values())
        sums = {name: sum(getattr(counter, name) for counter in counters) for name in _NAMES}
        return KeyCounters(
            **sums, slowest=max((counter.slowest for counter in counters), default=0.0)
        )

    def _sum(self, name: str) -> int:
        return sum(getattr(counter, name) for counter in list(self.by_key.values()))

    @property
    def hits(self) -> int:
        """Answers from memory."""
        return self._sum("hits")

    @property
    def misses(self) -> int:
        """Callers that had to wait for a fetch."""
        return self._sum("misses")

    @property
    def store_calls(self) -> int:
        """Fetches from the store."""
        return self._sum("store_calls")

    @property
    def kms_calls(self) -> int:
        """Requests sent to KMS."""
        return self._sum("kms_calls")

    @property
    def failures(self) -> int:
        """Fetches that failed."""
        return self._sum("failures")

    @property
    def refused(self) -> int:
        """Callers refused a key that was missing a moment ago."""
        return self._sum("refused")

    @property
    def stale(self) -> int:
        """Reads answered from an expired key."""
        return self._sum("stale")

    @property
    def renewals(self) -> int:
        """Fetches in the background."""
        return self._sum("renewals")

    def __repr__(self) -> str:
        total = self.total()
        counts = ", ".join(f"{name}={getattr(total, name)!r}" for name in (*_NAMES, "slowest"))
        return f"CacheStats({counts}, evicted={self.evicted}, key_ids={len(self.by_key)})"


class Fetch(NamedTuple):
    """One finished fetch, for observers. It contains no key.

    :ivar key_id: branch key id.
    :ivar what: ``"active"``, ``"version"`` or ``"beacon"``.
    :ivar renewal: whether it happened in the background, before the key expired.
    :ivar started: when it started, in nanoseconds since 1970.
    :ivar seconds: how long it took.
    :ivar kms_calls: requests sent to KMS.
    :ivar failure: ``None``, or the error's ``reason``, or its class if it has none.
    """

    key_id: str
    what: What
    renewal: bool
    started: int
    seconds: float
    kms_calls: int
    failure: str | None


FetchObserver = Callable[[Fetch], None]
"""Called after each fetch on its thread; it must be quick and must not raise."""


class FetchMeter:
    """Measures a fetch on this thread."""

    __slots__ = ("_attempts", "_key_id", "_renewal", "_started", "_tick", "_what")

    def __init__(self, key_id: str, what: What, *, renewal: bool) -> None:
        self._key_id = key_id
        self._what = what
        self._renewal = renewal
        self._started = time.time_ns()
        self._attempts = kms_attempts()
        self._tick = time.perf_counter()

    def stop(self, error: BaseException | None = None) -> Fetch:
        """What it came to."""
        failure = None
        if error is not None:
            failure = getattr(error, "reason", None) or type(error).__name__
        return Fetch(
            key_id=self._key_id,
            what=self._what,
            renewal=self._renewal,
            started=self._started,
            seconds=time.perf_counter() - self._tick,
            kms_calls=kms_attempts() - self._attempts,
            failure=failure,
        )
