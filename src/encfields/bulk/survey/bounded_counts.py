"""Counts by names that stand in stored values, where whoever writes to the database makes names up.

So many names are counted apart, and all further ones together: memory is bounded, and a name that
is asked for is never among the others.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from encfields.keys.store import MAX_KEY_ID_CHARS

if TYPE_CHECKING:
    from encfields.message.header import Header

MAX_VERSIONS = 100_000
"""Key versions that are counted apart, for each column and state."""

MAX_NAMES = 1_000
"""Logical names of columns."""

OTHERS = "*"
"""The name under which further ones are counted, and what is too long to be one."""

KeyVersionName = tuple[str, str]
"""Branch key id, and version as UUID text."""


class VersionCounts(Counter[KeyVersionName]):
    """Values by key id and version.

    :ivar asked: key ids that are counted exactly, each as the sum of its versions.
    :ivar asked_version: a version of them that is counted exactly too; ``None`` for none.
    """

    asked: frozenset[str] = frozenset()
    asked_version: str | None = None

    def add(self, header: Header) -> None:
        """Count one value by what its header says."""
        name = header.key_id, header.version
        is_asked = header.key_id in self.asked
        if name not in self and not (is_asked and header.version == self.asked_version):
            if is_asked:
                name = name if len(self) < MAX_VERSIONS else (header.key_id, OTHERS)
            elif len(self) >= MAX_VERSIONS or len(header.key_id) > MAX_KEY_ID_CHARS:
                name = OTHERS, OTHERS
        self[name] += 1

    def under(self, key_id: str, version: str | None) -> int:
        """Values under a key, or one of its versions.

        Those that were not counted apart may be under any that was not asked for beforehand.
        """
        if version is None:
            known = sum(count for (id_, _), count in self.items() if id_ == key_id)
            return known + (0 if key_id in self.asked else self[OTHERS, OTHERS])
        if key_id in self.asked and version == self.asked_version:
            return self[key_id, version]
        return self[key_id, version] + self[key_id, OTHERS] + self[OTHERS, OTHERS]


def count_name(counts: Counter[str], name: str) -> None:
    """Count a logical name that a value says of itself."""
    is_kept = name in counts or (len(counts) < MAX_NAMES and len(name) <= MAX_KEY_ID_CHARS)
    counts[name if is_kept else OTHERS] += 1
