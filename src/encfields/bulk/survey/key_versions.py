"""The key versions that a key store lists: whether there is one that a value opens with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from encfields.keys.versions import KeyVersion

CURRENT = "current"
OLDER = "older version"
DESTROYED = "key destroyed"
MISSING = "key version missing"
"""Nobody has this version: the key table is of an older backup, or the value is not genuine."""


class KeyVersions:
    """The versions that a key store lists.

    :param listed: as its ``list()`` gives them.
    :ivar active: the active version of each key id.
    """

    def __init__(self, listed: Iterable[KeyVersion]) -> None:
        self._destroyed: dict[tuple[str, str], bool] = {}
        self.active: dict[str, str] = {}
        for version in listed:
            self._destroyed[version.id, version.version] = version.destroyed_at is not None
            if version.active and version.destroyed_at is None:
                self.active[version.id] = version.version

    def state(self, key_id: str, version: str) -> str:
        """What a value in its place is that says it is under this version."""
        if self.active.get(key_id) == version:
            return CURRENT
        destroyed = self._destroyed.get((key_id, version))
        if destroyed is None:
            return MISSING
        return DESTROYED if destroyed else OLDER

    def opens(self, key_id: str, version: str) -> bool:
        """Whether there is a key that values under this version open with."""
        return self.state(key_id, version) in (CURRENT, OLDER)

    def without_key(self, counts: Mapping[tuple[str, str], int]) -> int:
        """How many values are under versions that nobody has, or that were destroyed."""
        return sum(count for name, count in counts.items() if not self.opens(*name))
