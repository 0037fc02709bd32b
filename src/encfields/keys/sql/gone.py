"""Versions of destroyed keys that this process has seen wiped, which it uses no more.

Whoever has an old dump and can write to the key table can put a destroyed key's rows back. A new
process cannot know; this one does. What restores a backup on purpose restarts the processes anyway.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

from encfields.errors import KeyDestroyedError
from encfields.keys.sql.rows import KeyRow

MAX_REMEMBERED = 20_000
"""Most versions to remember: anybody who can write to the key table can add tombstones."""


class GoneVersions:
    """The versions, by when their key was destroyed."""

    def __init__(self) -> None:
        self._when: dict[str, dt.datetime] = {}

    def note(self, rows: Iterable[KeyRow]) -> None:
        """Remember a key's rows of one purpose if all of them are wiped.

        One that is only dated is not: a destruction that was interrupted is undone. Nor is a
        retired version, whose row may be restored for a value of that time.
        """
        all_rows = list(rows)
        if any(row.wrapped is not None or row.destroyed_at is None for row in all_rows):
            return
        for row in all_rows:
            if row.destroyed_at is not None and row.version not in self._when:
                while len(self._when) >= MAX_REMEMBERED:
                    self._when.pop(next(iter(self._when)), None)
                self._when[row.version] = row.destroyed_at

    def refuse(self, row: KeyRow) -> None:
        """Refuse a row that has its key again.

        :raises KeyDestroyedError: this process has seen it wiped.
        """
        when = self._when.get(row.version)
        if when is not None:
            raise KeyDestroyedError(
                f"the key was destroyed on {when:%Y-%m-%d}, as this process has seen, and its row "
                "was put back since. If you did, restart the process; if not, destroy it again",
                key_id=row.key_id,
                reason="put-back",
            )
