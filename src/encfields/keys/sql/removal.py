"""Takes keys out of force: refuses them, retires one version, or destroys a whole key.

A key or version is first *refused*: its rows are dated, but keep their wrapped keys. From then on
it is not read from the table, and a process that has it in memory checks within ``cache_check``
seconds before sealing with it. So when the rows are wiped after that, no process seals under it any
more, and a count made in between is final.
"""

from __future__ import annotations

import datetime as dt
from contextlib import suppress
from dataclasses import replace

from sqlalchemy import Connection, update

from encfields.errors import KeyUnavailableError
from encfields.keys.sql.branch_keys import BranchKeys
from encfields.keys.sql.failures import no_such_key
from encfields.keys.sql.rows import BEACON, BRANCH, KeyRow, key_version
from encfields.keys.sql.table import KeyTable
from encfields.keys.store import (
    MAX_TRIES,
    Conflict,
    busy,
    newest_version,
    no_version,
    was_destroyed,
    was_retired,
)
from encfields.keys.versions import KeyVersion, utc_now


def set_refused(table: KeyTable, key_id: str, version: str | None, *, refused: bool) -> bool:
    """Date the rows of a key, or of one version, that still have a wrapped key; or undo that.

    :returns: whether there is one.
    """
    columns = table.table.c
    marked: list[int] = []

    def mark(connection: Connection) -> None:
        statement = update(table.table).where(columns.key_id == key_id)
        if version is not None:
            statement = statement.where(columns.version == version)
        done = connection.execute(
            statement.where(columns.wrapped.is_not(None)).values(
                destroyed_at=utc_now() if refused else None
            )
        )
        marked.append(done.rowcount)

    for _ in range(MAX_TRIES):
        with suppress(Conflict):
            table.change(mark, key_id)
            return marked[-1] > 0
    raise busy(key_id)


def retire(table: KeyTable, keys: BranchKeys, key_id: str, version: str) -> None:
    """See :meth:`SqlKeyStore.retire <encfields.keys.sql.store.SqlKeyStore.retire>`."""
    row = retirable_row(table, keys, key_id, version)

    def wipe(connection: Connection) -> None:
        table.wipe(connection, row, row.destroyed_at or utc_now())

    for _ in range(MAX_TRIES):
        with suppress(Conflict):
            table.change(wipe, key_id)
            return
    raise busy(key_id)


def retirable_row(table: KeyTable, keys: BranchKeys, key_id: str, version: str) -> KeyRow:
    """The row of a version that still has its key and is not the newest.

    :raises KeyNotFoundError: there is no such version.
    :raises KeyDestroyedError: it was retired before, or the whole key destroyed.
    :raises ConfigurationError: it is the newest.
    """
    newest = keys.newest_row(key_id)
    if version == newest.version:
        raise newest_version(key_id, version)
    rows = table.rows_of(key_id, BRANCH, version=version)
    if not rows:
        raise no_version(key_id, version)
    if rows[0].wrapped is None:
        raise was_retired(key_id, version, rows[0].destroyed_at)
    return rows[0]


def destroy(table: KeyTable, key_id: str) -> list[KeyVersion]:
    """See :meth:`SqlKeyStore.destroy <encfields.keys.sql.store.SqlKeyStore.destroy>`."""
    if not table.rows_of(key_id, BRANCH):
        raise no_such_key(table.fullname, key_id)
    when, wiped = utc_now(), []  # type: dt.datetime, list[KeyVersion]
    for _ in range(MAX_TRIES):
        rows = [row for purpose in (BRANCH, BEACON) for row in table.rows_of(key_id, purpose)]
        left = [row for row in rows if row.wrapped is not None or row.destroyed_at is None]
        if not left and not wiped:
            raise was_destroyed(key_id, max(row.destroyed_at or when for row in rows))
        if not left:
            table.gone.note(rows)
            return wiped
        # Again afterwards: a rotation may have committed a version meanwhile.
        with suppress(Conflict):
            wiped += _wipe_all(table, key_id, left, when)
    raise KeyUnavailableError(
        "other processes kept changing this key at the same time; the versions that are left are "
        "still in force. Retry",
        key_id=key_id,
        reason="error",
    )


def _wipe_all(
    table: KeyTable, key_id: str, rows: list[KeyRow], when: dt.datetime
) -> list[KeyVersion]:
    columns = table.table.c
    # If two processes destroy it at once, only one succeeds.
    is_left = columns.wrapped.is_not(None) | columns.destroyed_at.is_(None)
    wiped: list[KeyRow] = []

    def wipe(connection: Connection) -> None:
        wiped[:] = [row for row in rows if table.wipe(connection, row, when, is_left)]

    table.change(wipe, key_id)
    return [
        replace(key_version(row, active=False), destroyed_at=when, wiped=True)
        for row in wiped
        if row.purpose == BRANCH
    ]
