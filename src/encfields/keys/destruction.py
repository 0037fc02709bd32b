"""The receipt of a destroyed key: what was destroyed, when, and what became unreadable by it."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Values of one column that the key's destruction makes unreadable.

    :ivar table: the table, with its schema where it has one.
    :ivar column: the column's name in the database.
    :ivar values: how many; never 0.
    """

    table: str
    column: str
    values: int


@dataclass(frozen=True, slots=True)
class DestructionReceipt:
    """Evidence that a key was destroyed. It holds no key and no value.

    :ivar key_id: branch key id.
    :ivar destroyed_at: when, in UTC; the tombstones' date too.
    :ivar versions: the branch key versions that were wiped, as UUID texts.
    :ivar store: where they were kept.
    :ivar tables: tables that were counted first; ``None`` if counting was declined.
    :ivar unreadable: values under the key when it was counted, by column.
    :ivar cached_until: when the last process that held the key in its cache drops it, at the
        latest, provided that all have this process's ``cache_ttl`` and ``cache_grace``.
    :ivar signed_off_by: who answers for it, as given.
    """

    key_id: str
    destroyed_at: dt.datetime
    versions: tuple[str, ...]
    store: str
    tables: tuple[str, ...] | None
    unreadable: tuple[Unreadable, ...]
    cached_until: dt.datetime
    signed_off_by: str | None = None

    @property
    def values(self) -> int:
        """Values that became unreadable, in the tables counted."""
        return sum(one.values for one in self.unreadable)

    def to_json(self) -> dict[str, Any]:
        """The receipt as plain data, for ``json.dumps``."""
        return {
            "receipt": "encfields key destruction",
            "key_id": self.key_id,
            "destroyed_at": self.destroyed_at.isoformat(),
            "versions": list(self.versions),
            "store": self.store,
            "tables_counted": None if self.tables is None else list(self.tables),
            "values_unreadable": None if self.tables is None else self.values,
            "columns": [
                {"table": one.table, "column": one.column, "values": one.values}
                for one in self.unreadable
            ],
            "cached_until": self.cached_until.isoformat(),
            "signed_off_by": self.signed_off_by,
        }
