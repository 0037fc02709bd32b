"""Preconditions and receipts of destroying a key or retiring a version.

When a key is wiped, no process may still seal under it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from encfields.errors import ConfigurationError
from encfields.keys.cache.key_cache import KeyCache
from encfields.keys.store import KeyStore
from encfields.keys.versions import BeaconVersion, KeyVersion

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine


@contextmanager
def refused(store: KeyStore, cache: KeyCache, key_id: str, version: str | None) -> Iterator[None]:
    """Context in which the key store refuses a key, or one version of it, and every process has
    learned so within its ``cache_check``. The key is readmitted if the body fails.

    :param store: AWS's store, which cannot refuse keys, is not changed.
    """
    is_ours = True  # An interrupt may come when it is, and before that is known here.
    try:
        try:
            is_ours = store.refuse(key_id, version)
        except Exception:
            is_ours = False
            raise
        if is_ours:
            cache.forget(key_id)
            cache.runner.pause(cache.check)
        yield
    except BaseException:
        if is_ours:
            store.readmit(key_id, version)
        raise


def require_replaced_before(versions: Sequence[KeyVersion], version: str, ttl: float) -> None:
    """Check that no process cut off from the key store can still seal under a version.

    :param versions: of the key.
    :param ttl: seconds that a process uses a version without a request.
    :raises ConfigurationError: its successor is younger than that.
    """
    (old,) = [known for known in versions if known.version == version]
    later = [version.created_at for version in versions if _is_after(version, old)]
    known_at = min(later) + dt.timedelta(seconds=ttl)
    if dt.datetime.now(dt.UTC) < known_at:
        raise ConfigurationError(
            f"version {version} was replaced only a short time ago: until "
            f"{known_at:%Y-%m-%d %H:%M:%S} UTC a process that is cut off from the key store may "
            "seal values under it. Wait, or give at_once=True if there is no such process",
            key_id=old.id,
            reason="too-early",
        )


def _is_after(version: KeyVersion, old: KeyVersion) -> bool:
    if version.number is None or old.number is None:
        return version.created_at > old.created_at
    return version.number > old.number


def require_known_everywhere(newest: BeaconVersion, seconds: float) -> None:
    """Check that no process can still have only the older of two beacon keys.

    :param newest: the newer one.
    :param seconds: how long a process uses cached keys.
    :raises ConfigurationError: the newer one is younger than that.
    """
    known_at = newest.created_at + dt.timedelta(seconds=seconds)
    if dt.datetime.now(dt.UTC) < known_at:
        raise ConfigurationError(
            f"beacon key version {newest.version} is new: until {known_at:%Y-%m-%d %H:%M:%S} UTC "
            "other processes may index and look up values under the older one only. Wait, or give "
            "at_once=True if there are no others",
            key_id=newest.id,
            reason="too-early",
        )


def no_database() -> ConfigurationError:
    """The error for counting values without an engine."""
    return ConfigurationError(
        "there is no database to count values in: use encryption.keys of an attached engine",
        reason="no-database",
    )


def no_tables(key_id: str) -> ConfigurationError:
    """The error for a census of nothing."""
    return ConfigurationError(
        "nothing was retired: specs= must name every table that may hold values under the key",
        key_id=key_id,
        reason="no-table-named",
    )


def values_left(key_id: str, version: str, values: Sequence[Any]) -> ConfigurationError:
    """The error for a version that still has values.

    :param found: columns with table, column, values.
    """
    places = places_of(values)
    return ConfigurationError(
        f"version {version} cannot be retired, because values are under it: {places}. "
        "Re-encrypt them first; without this version they cannot be read",
        key_id=key_id,
        table=values[0].table,
        column=values[0].column,
        reason="values-left",
    )


@dataclass(frozen=True, slots=True)
class ValuesUnder:
    """Values of one column that are under a key or a version of it: unreadable without it.

    :ivar table: the table, with its schema where it has one.
    :ivar column: the column's name in the database.
    :ivar values: how many; never 0.
    """

    table: str
    column: str
    values: int


class CountableTable(Protocol):
    """A table in which the values under a key can be counted, as
    :class:`encfields.bulk.rows.spec.TableSpec` can."""

    def count_under(
        self, bind: Engine | Connection, key_id: str, version: str | None = None
    ) -> tuple[str, list[ValuesUnder]]:
        """The columns that hold values under a key; no key is used.

        :param version: only those under this version.
        :returns: the table's name, and the columns.
        """
        ...

    def count_under_each(
        self, bind: Engine | Connection, key_ids: Collection[str]
    ) -> tuple[str, dict[str, list[ValuesUnder]]]:
        """The columns that hold values under each of many keys; no key is used.

        :returns: the table's name, and the columns by key id.
        """
        ...


Counted = tuple[list[str], list[ValuesUnder]]
"""The tables that were counted, and their columns with values under a key."""

CountedForEach = tuple[list[str], dict[str, list[ValuesUnder]]]
"""The tables that were counted, and their columns by key id; keys without values are left out."""

CountableTables = Sequence[CountableTable]


class CountValues(Protocol):
    """Counts the values under a key, or under one version of it, in some tables."""

    def __call__(
        self, tables: CountableTables, key_id: str, version: str | None = None
    ) -> Counted: ...

    def under_each(self, tables: CountableTables, key_ids: Collection[str]) -> CountedForEach:
        """The values under each of many keys."""
        ...


RECEIPT = "encfields key destruction"
"""What a receipt says that it is."""


@dataclass(frozen=True, slots=True)
class DestructionReceipt:
    """Evidence that a key was destroyed. It contains no key and no value.

    :ivar key_id: branch key id.
    :ivar destroyed_at: when, in UTC; also the tombstones' date.
    :ivar versions: the branch key versions that were wiped, as UUID texts.
    :ivar store: where they were kept.
    :ivar tables: tables that were counted first; ``None`` if counting was declined.
    :ivar unreadable: values under the key when it was counted, by column.
    :ivar cached_until: when the last process drops the key from its cache at the latest, if all
        have this process's ``cache_ttl`` and ``cache_grace``.
    :ivar signed_off_by: who is responsible, as given.
    """

    key_id: str
    destroyed_at: dt.datetime
    versions: tuple[str, ...]
    store: str
    tables: tuple[str, ...] | None
    unreadable: tuple[ValuesUnder, ...]
    cached_until: dt.datetime
    signed_off_by: str | None = None

    @property
    def values(self) -> int:
        """Values that became unreadable, in the tables counted."""
        return sum(place.values for place in self.unreadable)

    def to_json(self) -> dict[str, Any]:
        """The receipt as plain data, for ``json.dumps``."""
        return {
            "receipt": RECEIPT,
            "key_id": self.key_id,
            "destroyed_at": self.destroyed_at.isoformat(),
            "versions": list(self.versions),
            "store": self.store,
            "tables_counted": None if self.tables is None else list(self.tables),
            "values_unreadable": None if self.tables is None else self.values,
            "columns": [
                {"table": place.table, "column": place.column, "values": place.values}
                for place in self.unreadable
            ],
            "cached_until": self.cached_until.isoformat(),
            "signed_off_by": self.signed_off_by,
        }


def receipt_of(
    store: KeyStore,
    cache: KeyCache,
    key_id: str,
    wiped: Sequence[KeyVersion],
    *,
    tables: Sequence[str] | None,
    unreadable: Sequence[ValuesUnder],
    signed_off_by: str | None,
) -> DestructionReceipt:
    """The receipt for a key that was just wiped.

    :param wiped: its versions.
    :param tables: that were counted; ``None`` for no counting.
    """
    now = dt.datetime.now(dt.UTC)
    return DestructionReceipt(
        key_id=key_id,
        destroyed_at=min((version.destroyed_at or now for version in wiped), default=now),
        versions=tuple(version.version for version in wiped),
        store=repr(store),
        tables=None if tables is None else tuple(tables),
        unreadable=tuple(unreadable),
        cached_until=now + dt.timedelta(seconds=cache.ttl + cache.grace),
        signed_off_by=signed_off_by,
    )


def loss(unreadable: Sequence[ValuesUnder] | None) -> str:
    """What would become unreadable, in words.

    :param unreadable: ``None`` if not counted.
    """
    if unreadable is None:
        return "the values under it were not counted"
    if not unreadable:
        return "no value is under it"
    return f"these would become unreadable: {places_of(unreadable)}"


def places_of(values: Sequence[ValuesUnder]) -> str:
    """Columns with their numbers of values."""
    return ", ".join(
        f"{counted.table}.{counted.column} ({counted.values:,} values)" for counted in values
    )
