"""Beacon key versions in the key table: at most two in force, the older of which is later retired.

A version's number is bound to its wrapped key, as a branch key version's is. A retired version is
wiped, and numbers are never reused, because the newest version is never retired.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from functools import partial

from sqlalchemy import Connection

from encfields.errors import ConfigurationError, KeyNotFoundError
from encfields.keys.sql.failures import no_beacon_key
from encfields.keys.sql.row_wrapper import RowWrapper
from encfields.keys.sql.rows import (
    BEACON,
    KeyRow,
    KeyRows,
    by_key,
    in_order,
    require_one_order,
)
from encfields.keys.sql.table import KeyTable
from encfields.keys.store import MAX_TRIES, Conflict, busy, was_destroyed
from encfields.keys.versions import (
    BeaconKey,
    BeaconVersion,
    BeaconVersionList,
    WrappedBeacons,
    utc_now,
)

MAX_IN_FORCE = 2
"""Most beacon key versions of one key: a look-up uses each, and a row has room for two."""


class Beacons:
    """The beacon keys of a key table.

    :param table: the key table.
    :param wrapper: wraps and unwraps them.
    """

    def __init__(self, table: KeyTable, wrapper: RowWrapper) -> None:
        self._table = table
        self._wrapper = wrapper

    def unwrap(self, key_id: str) -> list[BeaconKey]:
        """Every version in force, the newest last; raises as :meth:`rows`."""
        return self._unwrap(self.rows(key_id))

    def _unwrap(self, rows: KeyRows) -> list[BeaconKey]:
        require_one_order(rows, self._table.fullname)
        return [self._wrapper.beacon_key(row) for row in rows]

    def rows(self, key_id: str) -> KeyRows:
        """The rows of the versions in force, the newest last.

        :raises KeyNotFoundError: there is no such key.
        :raises KeyDestroyedError: it was destroyed.
        :raises KeyAccessError: one is malformed, or two have one number.
        """
        rows = self._table.rows_of(key_id, BEACON)
        if in_force := in_order(rows):
            require_one_order(in_force, self._table.fullname)
            return in_force
        if rows:
            self._table.gone.note(rows)
            raise was_destroyed(key_id, rows[-1].destroyed_at)
        # Does not query whether there is a branch key, so that a missing key costs one query.
        raise no_beacon_key(self._table.fullname, key_id)

    def wrapped(self, key_ids: Collection[str]) -> list[WrappedBeacons]:
        """Beacon keys of many branch keys, still wrapped, in one query."""
        return self.wrapped_in(self._table.rows_of_many(BEACON, key_ids))

    def wrapped_in(self, rows_of_many: KeyRows) -> list[WrappedBeacons]:
        """Beacon keys, still wrapped, from rows that were already read."""
        return [
            WrappedBeacons(key_id, partial(self._unwrap, in_force))
            for key_id, rows in by_key(rows_of_many)
            if (in_force := in_order(rows))
        ]

    def list(self, key_id: str) -> BeaconVersionList:
        """The public data of the versions in force."""
        return [BeaconVersion(row.key_id, row.number, row.created_at) for row in self.rows(key_id)]

    def rotate(self, key_id: str) -> BeaconVersion:
        """See :meth:`SqlKeyStore.rotate_beacon
        <encfields.keys.sql.store.SqlKeyStore.rotate_beacon>`."""
        for _ in range(MAX_TRIES):
            before = self.rows(key_id)
            if len(before) >= MAX_IN_FORCE:
                raise _has_two(key_id, before)
            # Unwrapped, because the new version's number is to follow one that is authentic.
            newest = self._unwrap(before)[-1]
            made = self._wrapper.new_row(key_id, BEACON, newest.version + 1)
            with suppress(Conflict):
                self._table.change(partial(self._table.insert_after, before[-1], made), key_id)
                return BeaconVersion(key_id, newest.version + 1, made["created_at"])
        raise busy(key_id)

    def retire(self, key_id: str, version: int) -> None:
        """See :meth:`SqlKeyStore.retire_beacon
        <encfields.keys.sql.store.SqlKeyStore.retire_beacon>`."""
        for _ in range(MAX_TRIES):
            row = self._retirable(key_id, version)
            with suppress(Conflict):
                self._table.change(partial(self._wipe, row), key_id)
                return
        raise busy(key_id)

    def _retirable(self, key_id: str, version: int) -> KeyRow:
        rows = self.rows(key_id)
        if version == rows[-1].number:
            raise ConfigurationError(
                f"version {version} is the newest beacon key of this key, under which values are "
                "indexed; rotate_beacon() first",
                key_id=key_id,
                reason="newest-beacon",
            )
        for row in rows:
            if row.number == version:
                return row
        raise KeyNotFoundError(
            f"no beacon key version {version} of this key is in force, only: "
            f"{', '.join(str(row.number) for row in rows)}",
            key_id=key_id,
            reason="no-version",
        )

    def _wipe(self, row: KeyRow, connection: Connection) -> None:
        holds_key = self._table.table.c.wrapped.is_not(None)
        if not self._table.wipe(connection, row, utc_now(), holds_key):
            raise Conflict


def _has_two(key_id: str, rows: KeyRows) -> ConfigurationError:
    return ConfigurationError(
        f"this key has two beacon keys already, versions {rows[0].number} and {rows[-1].number}; "
        f"index all values under the newer one, then retire_beacon({key_id!r}, {rows[0].number})",
        key_id=key_id,
        reason="two-beacons",
    )
