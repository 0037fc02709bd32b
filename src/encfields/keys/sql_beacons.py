"""Beacon key versions in the key table: at most two in force, the older of which goes again.

A row's column ``active`` holds the version's number, so that the table's unique constraint keeps
numbers apart; a key's first beacon key has always been stored with 1. A retired version has NULL
there, and no number of a key is given twice: the newest version is never retired.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, insert, update

from encfields.errors import ConfigurationError, KeyNotFoundError, KeyUnavailableError
from encfields.keys.beacon_key import BeaconKey, BeaconVersion
from encfields.keys.sql_rows import (
    BEACON,
    MAX_TRIES,
    Conflict,
    no_such_key,
    now,
    was_destroyed,
)

if TYPE_CHECKING:
    from encfields.keys.sql_store import SqlKeyStore

MAX_IN_FORCE = 2
"""Beacon key versions of one key: a lookup asks for each, and a row has room for two."""

Rows = list[Any]


def beacon_rows(store: SqlKeyStore, key_id: str) -> Rows:
    """The rows of the versions in force, the newest last.

    :raises KeyNotFoundError: there is no such key.
    :raises KeyDestroyedError: it was destroyed.
    """
    rows = store.rows_of(key_id, BEACON)
    if in_force := order(rows):
        return in_force
    if rows:
        raise was_destroyed(key_id, max(row.destroyed_at for row in rows))
    raise no_such_key(store.table.fullname, key_id)


def order(rows: Rows) -> Rows:
    """Those in force of some rows of one key, the newest last."""
    return sorted((row for row in rows if row.active), key=lambda row: row.active)


def opened(row: Any, material: bytes) -> BeaconKey:
    """A row's beacon key."""
    return BeaconKey(row.key_id, row.active, material, row.created_at)


def told(row: Any) -> BeaconVersion:
    """What may be told of a row."""
    return BeaconVersion(row.key_id, row.active, row.created_at)


def rotate(store: SqlKeyStore, key_id: str) -> BeaconVersion:
    """See :meth:`SqlKeyStore.rotate_beacon`."""
    made: dict[str, Any] | None = None
    for _ in range(MAX_TRIES):
        before = beacon_rows(store, key_id)
        if len(before) >= MAX_IN_FORCE:
            raise _has_two(key_id, before)
        if made is None:
            made = store.new_row(key_id, BEACON)
        made.update(active=before[-1].active + 1, created_at=now())
        try:
            store.change(partial(_add, store, before[-1], made), key_id)
        except Conflict:
            continue
        return BeaconVersion(key_id, made["active"], made["created_at"])
    raise _busy(key_id)


def _add(store: SqlKeyStore, newest: Any, made: dict[str, Any], connection: Connection) -> None:
    table = store.table
    # Changes nothing, but lets no one destroy the key meanwhile.
    locked = connection.execute(
        update(table)
        .where(table.c.key_id == newest.key_id, table.c.version == newest.version)
        .where(table.c.active == newest.active)
        .values(active=newest.active)
    )
    if locked.rowcount != 1:
        raise Conflict
    connection.execute(insert(table), [made])


def retire(store: SqlKeyStore, key_id: str, version: int) -> None:
    """See :meth:`SqlKeyStore.retire_beacon`."""
    for _ in range(MAX_TRIES):
        rows = beacon_rows(store, key_id)
        if version == rows[-1].active:
            raise ConfigurationError(
                f"version {version} is the newest beacon key of this key, under which values are "
                "indexed; rotate_beacon() first",
                key_id=key_id,
                reason="newest-beacon",
            )
        found = [row for row in rows if row.active == version]
        if not found:
            raise KeyNotFoundError(
                f"no beacon key version {version} of this key is in force; "
                f"{', '.join(str(row.active) for row in rows)} is",
                key_id=key_id,
                reason="no-version",
            )
        try:
            store.change(partial(_wipe, store, found[0]), key_id)
        except Conflict:
            continue
        return
    raise _busy(key_id)


def _wipe(store: SqlKeyStore, row: Any, connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        # Otherwise the old bytes stay in the file until their page is used again.
        connection.exec_driver_sql("PRAGMA secure_delete = ON")
    table = store.table
    wiped = connection.execute(
        update(table)
        .where(table.c.key_id == row.key_id, table.c.version == row.version)
        .where(table.c.active == row.active)
        .values(wrapped=None, active=None, destroyed_at=now())
    )
    if wiped.rowcount != 1:
        raise Conflict


def _has_two(key_id: str, rows: Rows) -> ConfigurationError:
    return ConfigurationError(
        f"this key has two beacon keys already, versions {rows[0].active} and {rows[-1].active}; "
        f"index all values under the newer one, then retire_beacon({key_id!r}, {rows[0].active})",
        key_id=key_id,
        reason="two-beacons",
    )


def _busy(key_id: str) -> KeyUnavailableError:
    return KeyUnavailableError(
        "others kept changing this key at the same time; retry", key_id=key_id, reason="error"
    )
