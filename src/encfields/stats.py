"""``Stats``: what the encryption of one engine did."""

from __future__ import annotations

from collections.abc import Callable

from encfields.keys.cache.key_cache import KeyCache
from encfields.keys.cache.stats import CacheStats, Observer


class Stats:
    """What an :class:`Encryption` did since it was attached.

    :ivar sealed: values encrypted.
    :ivar opened: values decrypted.
    :ivar index_mismatches: rows that a full-length blind index found and that were left out of a
        result, because their value is not the one that was looked up.
    """

    __slots__ = ("_cache", "index_mismatches", "opened", "sealed")

    def __init__(self, cache: KeyCache) -> None:
        self._cache = cache
        self.sealed = 0
        self.opened = 0
        self.index_mismatches = 0

    @property
    def keys(self) -> CacheStats:
        """Counters of the key cache, in all and ``by_key``: hits, misses, fetches
        (``store_calls``, each unwraps one branch key), KMS calls, seconds, renewals, failures."""
        return self._cache.stats

    def observe(self, observer: Observer, end: Callable[[], None]) -> Callable[[], None]:
        """Have `observer` told of each key fetch from now on.

        :param observer: called on the thread of the fetch; it must be quick.
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
