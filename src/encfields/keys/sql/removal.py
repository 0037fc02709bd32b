"""Retiring one version of a branch key, and refusing rows before they are wiped.

A key or version that is to go is *refused* first: its rows get their date, and keep what they
wrap. Whoever asks the table from then on is told that it is gone, and who has it in memory asks
within ``cache_check`` seconds before sealing with it. So when the rows are wiped after that, no
process seals under it any more, and a count made in between is the last word.
"""

from __future__ import annotations

import datetime as dt
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Table, update

from encfields.errors import KeyUnavailableError
from encfields.keys.sql.failures import no_such_key
from encfields.keys.sql.rows import BEACON, BRANCH, KeyRow, key_version, now
from encfields.keys.store import KeyVersion
from encfields.keys.store_errors import (
    MAX_TRIES,
    Conflict,
    busy,
    newest_version,
    no_version,
    was_destroyed,
    was_retired,
)

if TYPE_CHECKING:
    from encfields.keys.sql.store import SqlKeyStore


def set_refused(store: SqlKeyStore, key_id: str, version: str | None, *, refused: bool) -> bool:
    """Date the rows of a key, or of one version, that still hold something; or take that back.

    :returns: whether there is one.
    """
    table = store.table
    marked: list[int] = []

    def mark(connection: Connection) -> None:
        statement = update(table).where(table.c.key_id == key_id, table.c.wrapped.is_not(None))
        if version is not None:
            statement = statement.where(table.c.version == version)
        done = connection.execute(statement.values(destroyed_at=now() if refused else None))
        marked.append(done.rowcount)

    for _ in range(MAX_TRIES):
        with suppress(Conflict):
            store.change(mark, key_id)
            return marked[-1] > 0
    raise busy(key_id)


def retire(store: SqlKeyStore, key_id: str, version: str) -> None:
    """See :meth:`SqlKeyStore.retire <encfields.keys.sql.store.SqlKeyStore.retire>`."""
    row = require_retirable(store, key_id, version)
    for _ in range(MAX_TRIES):
        with suppress(Conflict):
            store.change(partial(_wipe, store, row), key_id)
            return
    raise busy(key_id)


def require_retirable(store: SqlKeyStore, key_id: str, version: str) -> KeyRow:
    """The row of a version that still holds its key and is not the newest.

    :raises KeyNotFoundError: there is no such version.
    :raises KeyDestroyedError: it was retired before, or the whole key destroyed.
    :raises ConfigurationError: it is the newest.
    """
    newest = store.newest_row(key_id)
    if version == newest.version:
        raise newest_version(key_id, version)
    found = store.rows_of(key_id, BRANCH, version=version)
    if not found:
        raise no_version(key_id, version)
    if found[0].wrapped is None:
        raise was_retired(key_id, version, found[0].destroyed_at)
    return found[0]


def _wipe(store: SqlKeyStore, row: KeyRow, connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        # Otherwise the old bytes stay in the file until their page is used again.
        connection.exec_driver_sql("PRAGMA secure_delete = ON")
    table = store.table
    connection.execute(
        update(table)
        .where(table.c.key_id == row.key_id, table.c.version == row.version)
        .values(wrapped=None, active=None, destroyed_at=row.destroyed_at or now())
    )


def destroy_rows(store: SqlKeyStore, key_id: str) -> list[KeyVersion]:
    """See :meth:`SqlKeyStore.destroy <encfields.keys.sql.store.SqlKeyStore.destroy>`."""
    if not store.rows_of(key_id, BRANCH):
        raise no_such_key(store.table.fullname, key_id)
    when, wiped = now(), []  # type: dt.datetime, list[KeyVersion]
    for _ in range(MAX_TRIES):
        rows = [row for purpose in (BRANCH, BEACON) for row in store.rows_of(key_id, purpose)]
        left = [row for row in rows if row.wrapped is not None or row.destroyed_at is None]
        if not left and not wiped:
            raise was_destroyed(key_id, max(row.destroyed_at or when for row in rows))
        if not left:
            return wiped
        # Again afterwards: a rotation may have committed a version meanwhile.
        with suppress(Conflict):
            store.change(partial(_wipe_all, store.table, left, when), key_id)
            wiped += [
                replace(key_version(row, active=False), destroyed_at=when)
                for row in left
                if row.purpose == BRANCH
            ]
    raise KeyUnavailableError(
        "others kept changing this key at the same time; what is left of it is still in force. "
        "Retry",
        key_id=key_id,
        reason="error",
    )


def _wipe_all(table: Table, rows: list[KeyRow], when: dt.datetime, connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        # Otherwise the old bytes stay in the file until their page is used again.
        connection.exec_driver_sql("PRAGMA secure_delete = ON")
    for row in rows:
        connection.execute(
            update(table)
            .where(table.c.key_id == row.key_id, table.c.version == row.version)
            .values(wrapped=None, active=None, destroyed_at=when)
        )
