"""``Stats``: counters of one engine's encryption."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from encfields.keys.cache.key_cache import KeyCache
from encfields.keys.cache.stats import CacheStats, FetchObserver


class AdoptionStats:
    """Counters of columns in an adoption.

    :ivar fallback_reads: values read from the plaintext because their row was pending.
    :ivar unsealed_statements: statements that could not seal and left rows pending, by column.
    :ivar places: where these statements are, each logged once: column, place, and why.
    """

    __slots__ = ("fallback_reads", "places", "unsealed_statements")

    def __init__(self) -> None:
        self.fallback_reads = 0
        self.unsealed_statements: Counter[str] = Counter()
        self.places: set[tuple[str, str, str]] = set()

    def __repr__(self) -> str:
        return (
            f"AdoptionStats(fallback_reads={self.fallback_reads}, "
            f"unsealed_statements={dict(self.unsealed_statements)!r})"
        )


class Stats:
    """Counters of an :class:`Encryption` since it was attached.

    :ivar sealed: values encrypted.
    :ivar opened: values decrypted.
    :ivar adoption: counters of columns in an adoption.
    :ivar index_mismatches: rows that a full-length blind index found but that were left out of a
        result because their value differs from the one looked up.
    """

    __slots__ = ("_cache", "adoption", "index_mismatches", "opened", "sealed")

    def __init__(self, cache: KeyCache) -> None:
        self._cache = cache
        self.sealed = 0
        self.opened = 0
        self.index_mismatches = 0
        self.adoption = AdoptionStats()

    @property
    def keys(self) -> CacheStats:
        """Counters of the key cache, in total and ``by_key``: hits, misses, fetches
        (``store_calls``, each unwraps one branch key), KMS calls, seconds, renewals, failures."""
        return self._cache.stats

    def observe(self, observer: FetchObserver, end: Callable[[], None]) -> Callable[[], None]:
        """Call `observer` after each key fetch from now on.

        :param observer: called on the fetching thread, so it must be quick.
        :param end: called once when observing ends.
        :returns: a function that ends it.
        """
        observers = self._cache.observers
        observers.append(observer)

        def stop() -> None:
            if observer in observers:
                observers.remove(observer)
                end()

        return stop

    def __repr__(self) -> str:
        return (
            f"Stats(sealed={self.sealed}, opened={self.opened}, "
            f"index_mismatches={self.index_mismatches}, keys={self.keys!r})"
        )
