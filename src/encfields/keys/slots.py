"""The places of a key cache: what a key is asked for by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from encfields.keys.bulk_store import WrappedKey
from encfields.keys.cache_stats import What

Slot = str | tuple[str, str | None]
"""``key_id`` for the active version, ``(key_id, version)`` for a version, ``(key_id, None)``
for its beacon keys."""

Jobs = list[tuple[Slot, Callable[[], Any]]]
"""Keys to fetch, and how each is fetched."""


def key_id_of(slot: Slot) -> str:
    """The branch key id."""
    return slot if isinstance(slot, str) else slot[0]


def what_of(slot: Slot) -> What:
    """What of the key it is."""
    if isinstance(slot, str):
        return "active"
    return "beacon" if slot[1] is None else "version"


def slot_of(one: WrappedKey) -> Slot:
    """Where a key version goes that was read but not opened yet."""
    return one.told.id if one.told.active else (one.told.id, one.told.version)


def belongs(slot: Slot, key_id: str, active_only: bool) -> bool:
    """Whether a place is one of a key's."""
    return slot == key_id or (not active_only and isinstance(slot, tuple) and slot[0] == key_id)
