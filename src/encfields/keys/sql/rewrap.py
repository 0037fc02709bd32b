"""Moves the key table's rows to another keyring, each in its own transaction."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, update

from encfields.keys.sql.failures import no_such_key
from encfields.keys.sql.rows import BEACON, BRANCH, KeyRow
from encfields.keys.sql.store_name import require_of_store
from encfields.keys.sql.table import KeyTable
from encfields.keys.store import MAX_TRIES, Conflict, busy
from encfields.keys.versions import OnRewrap, RewrapReport

if TYPE_CHECKING:
    from encfields.keys.keyrings.rewrap import Rewrapper


def rewrap_rows(table: KeyTable, rewrapper: Rewrapper, progress: OnRewrap | None) -> RewrapReport:
    """See :meth:`SqlKeyStore.rewrap <encfields.keys.sql.store.SqlKeyStore.rewrap>`."""
    report = RewrapReport()
    seen: set[tuple[str, str]] = set()
    # Repeated until nothing new is found, because older processes still wrap with the old keyring.
    while rows := [row for row in table.all_rows() if (row.key_id, row.version) not in seen]:
        for row in rows:
            seen.add((row.key_id, row.version))
            report = _rewrap_row(table, rewrapper, row, report)
            if progress is not None:
                progress(report)
    return report


def rewrap_key(table: KeyTable, rewrapper: Rewrapper, key_id: str) -> RewrapReport:
    """Move all rows of one key.

    :raises KeyNotFoundError: there is no such key.
    """
    rows = [row for purpose in (BRANCH, BEACON) for row in table.rows_of(key_id, purpose)]
    if not rows:
        raise no_such_key(table.fullname, key_id)
    report = RewrapReport()
    for row in rows:
        report = _rewrap_row(table, rewrapper, row, report)
    return report


def _rewrap_row(
    table: KeyTable, rewrapper: Rewrapper, row: KeyRow, report: RewrapReport
) -> RewrapReport:
    for _ in range(MAX_TRIES):
        if row.destroyed_at is not None or row.wrapped is None:
            return replace(report, destroyed=report.destroyed + 1)
        row.require_sound(table.fullname)
        old = row.wrapped
        if rewrapper.is_moved(old):
            return replace(report, already=report.already + 1)
        require_of_store(row, table.name, table.table)
        made = rewrapper.rewrap(old, row.place(table.name))
        with suppress(Conflict):
            if _swap(table, row, old, made):
                return replace(report, moved=report.moved + 1)
        # Moved by another run, or destroyed, since it was read, so read it again.
        purpose: Any = row.purpose
        current = table.rows_of(row.key_id, purpose, version=row.version)
        if not current:  # the whole row was deleted
            return report
        row = current[0]
    raise busy(row.key_id, "run it again")


def _swap(table: KeyTable, row: KeyRow, old: bytes, made: bytes) -> bool:
    """Replace the old wrap by the new one, if it is still there."""
    columns = table.table.c
    swapped: list[int] = []

    def swap(connection: Connection) -> None:
        done = connection.execute(
            update(table.table)
            .where(columns.key_id == row.key_id, columns.version == row.version)
            .where(columns.wrapped == old)
            .values(wrapped=made)
        )
        swapped.append(done.rowcount)

    table.change(swap, row.key_id)
    return swapped[-1] == 1
