"""Beacon key versions in the key table: at most two in force, the older of which goes again.

A version's number is bound to its wrapped key, as a branch key version's is. A retired version
is wiped, and no number of a key is given twice: the newest version is never retired.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from sqlalchemy import Connection, update

from encfields.errors import ConfigurationError, KeyNotFoundError
from encfields.keys.sql.failures import no_such_key
from encfields.keys.sql.rows import BEACON, KeyRow, in_order, now, require_one_order
from encfields.keys.store import BeaconKey, BeaconVersion
from encfields.keys.store_errors import MAX_TRIES, Conflict, busy, was_destroyed

if TYPE_CHECKING:
    from encfields.keys.sql.store import SqlKeyStore

MAX_IN_FORCE = 2
"""Beacon key versions of one key: a lookup asks for each, and a row has room for two."""

Rows = list[KeyRow]


def beacon_rows(store: SqlKeyStore, key_id: str) -> Rows:
    """The rows of the versions in force, the newest last.

    :raises KeyNotFoundError: there is no such key.
    :raises KeyDestroyedError: it was destroyed.
    :raises KeyAccessError: one is malformed, or two have one number.
    """
    rows = store.rows_of(key_id, BEACON)
    if in_force := in_order(rows):
        require_one_order(in_force, store.table.fullname)
        return in_force
    if rows:
        raise was_destroyed(key_id, rows[-1].destroyed_at)
    raise no_such_key(store.table.fullname, key_id)


def opened(row: KeyRow, material: bytes) -> BeaconKey:
    """A row's beacon key."""
    return BeaconKey(row.key_id, row.number, material, row.created_at)


def beacon_version(row: KeyRow) -> BeaconVersion:
    """What is public about a row's beacon key."""
    return BeaconVersion(row.key_id, row.number, row.created_at)


def rotate(store: SqlKeyStore, key_id: str) -> BeaconVersion:
    """See :meth:`SqlKeyStore.rotate_beacon`."""
    for _ in range(MAX_TRIES):
        before = beacon_rows(store, key_id)
        if len(before) >= MAX_IN_FORCE:
            raise _has_two(key_id, before)
        # Opened, because the new version's number is to follow one that is authentic.
        newest = store.open_beacons(before)[-1]
        made = store.new_row(key_id, BEACON, newest.version + 1)
        with suppress(Conflict):
            store.change(partial(store.add_after, before[-1], made), key_id)
            return BeaconVersion(key_id, newest.version + 1, made["created_at"])
    raise busy(key_id)


def retire(store: SqlKeyStore, key_id: str, version: int) -> None:
    """See :meth:`SqlKeyStore.retire_beacon`."""
    for _ in range(MAX_TRIES):
        rows = beacon_rows(store, key_id)
        if version == rows[-1].number:
            raise ConfigurationError(
                f"version {version} is the newest beacon key of this key, under which values are "
                "indexed; rotate_beacon() first",
                key_id=key_id,
                reason="newest-beacon",
            )
        found = [row for row in rows if row.number == version]
        if not found:
            raise KeyNotFoundError(
                f"no beacon key version {version} of this key is in force; "
                f"{', '.join(str(row.number) for row in rows)} is",
                key_id=key_id,
                reason="no-version",
            )
        try:
            store.change(partial(_wipe, store, found[0]), key_id)
        except Conflict:
            continue
        return
    raise busy(key_id)


def _wipe(store: SqlKeyStore, row: KeyRow, connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        # Otherwise the old bytes stay in the file until their page is used again.
        connection.exec_driver_sql("PRAGMA secure_delete = ON")
    table = store.table
    wiped = connection.execute(
        update(table)
        .where(table.c.key_id == row.key_id, table.c.version == row.version)
        .where(table.c.wrapped.is_not(None))
        .values(wrapped=None, active=None, destroyed_at=now())
    )
    if wiped.rowcount != 1:
        raise Conflict


def _has_two(key_id: str, rows: Rows) -> ConfigurationError:
    return ConfigurationError(
        f"this key has two beacon keys already, versions {rows[0].number} and {rows[-1].number}; "
        f"index all values under the newer one, then retire_beacon({key_id!r}, {rows[0].number})",
        key_id=key_id,
        reason="two-beacons",
    )
