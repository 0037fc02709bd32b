"""Time that passes for a key cache at once, however long a busy machine takes for a test."""

from __future__ import annotations

from encfields.keys.cache.key_cache import KeyCache
from encfields.keys.cache.renewal import renewer


def let_pass(cache: KeyCache, seconds: float) -> None:
    """Have everything in a cache be so much older, and the renewing thread look at it.

    Once only where it counts what is renewed: the thread may not have come to its end yet.
    """
    with cache._fetcher.lock:
        for entry in cache._entries.held.values():
            for name in ("asked", "expires", "fetched", "usable", "used"):
                setattr(entry, name, getattr(entry, name) - seconds)
            # Zero is "not at all" for these.
            entry.renew_at = entry.renew_at and entry.renew_at - seconds
            entry.retry_at = entry.retry_at and entry.retry_at - seconds
        for key, (error, until) in cache._missing.items():
            cache._missing[key] = (error, until - seconds)
        cache._grace._outages._seen_at -= seconds
    with renewer._wake:
        renewer._woken = True
        renewer._wake.notify()
