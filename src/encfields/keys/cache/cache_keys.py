"""What a key cache is asked for: the active version of a key id, a given one, or its beacons."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from encfields.errors import shortened
from encfields.keys.store import KeyStore, WrappedKey

CacheKey = str | tuple[str, str | None]
"""``key_id`` for the active version, ``(key_id, version)`` for a version, ``(key_id, None)``
for its beacon keys."""

What = Literal["active", "version", "beacon"]

Jobs = list[tuple[CacheKey, Callable[[], Any]]]
"""What to fetch, and what fetches it."""


def key_id_of(key: CacheKey) -> str:
    """The branch key id."""
    return key if isinstance(key, str) else key[0]


def what_of(key: CacheKey) -> What:
    """What of the branch key it is."""
    if isinstance(key, str):
        return "active"
    return "beacon" if key[1] is None else "version"


def cache_key_of(wrapped: WrappedKey) -> CacheKey:
    """Where a key version goes that was read but not unwrapped yet."""
    found = wrapped.key_version
    return found.id if found.active else (found.id, found.version)


def belongs(key: CacheKey, key_id: str, active_only: bool) -> bool:
    """Whether it is one of a key id's."""
    return key == key_id or (not active_only and isinstance(key, tuple) and key[0] == key_id)


def fetch_from(store: KeyStore, key: CacheKey) -> Any:
    """What the key store has: a branch key, or a tuple of beacon keys, the newest last."""
    if isinstance(key, str):
        return store.active(key)
    key_id, version = key
    return tuple(store.beacons(key_id)) if version is None else store.version(key_id, version)


def named(key: CacheKey) -> str:
    """As the log names it."""
    what, key_id = what_of(key), repr(shortened(key_id_of(key)))
    if what == "version":
        return f"version {key[1]!r} of key {key_id}"
    return f"{'active version' if what == 'active' else 'beacon key'} of key {key_id}"
