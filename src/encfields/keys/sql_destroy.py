"""Wiping all rows of a key: what is left of each is a date."""

from __future__ import annotations

import datetime as dt
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Table, update

from encfields.errors import KeyUnavailableError
from encfields.keys.key_rows import KeyRow
from encfields.keys.sql_rows import (
    BEACON,
    BRANCH,
    MAX_TRIES,
    Conflict,
    no_such_key,
    now,
    told,
    was_destroyed,
)
from encfields.keys.store import KeyVersion

if TYPE_CHECKING:
    from encfields.keys.sql_store import SqlKeyStore


def destroy_rows(store: SqlKeyStore, key_id: str) -> list[KeyVersion]:
    """See :meth:`SqlKeyStore.destroy <encfields.keys.sql_store.SqlKeyStore.destroy>`."""
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
            store.change(partial(_wipe, store.table, left, when), key_id)
            wiped += [
                replace(told(row, active=False), destroyed_at=when)
                for row in left
                if row.purpose == BRANCH
            ]
    raise KeyUnavailableError(
        "others kept changing this key at the same time; what is left of it is still in force. "
        "Retry",
        key_id=key_id,
        reason="error",
    )


def _wipe(table: Table, rows: list[KeyRow], when: dt.datetime, connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        # Otherwise the old bytes stay in the file until their page is used again.
        connection.exec_driver_sql("PRAGMA secure_delete = ON")
    for row in rows:
        connection.execute(
            update(table)
            .where(table.c.key_id == row.key_id, table.c.version == row.version)
            .values(wrapped=None, active=None, destroyed_at=when)
        )
