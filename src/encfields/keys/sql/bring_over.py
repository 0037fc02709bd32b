"""Imports a key table of a development version, which did not bind keys to a key store.

Its wrapped keys name only key id, version and purpose. Each is opened under those three pairs and
wrapped under today's five; material and ids stay, so no value is touched. The column ``active`` and
the rows' dates are trusted this once, as they were then.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, update

from encfields.context import deserialize
from encfields.errors import MalformedMessageError
from encfields.keys.keyrings.wrapping import (
    KEY_ID,
    KEY_PURPOSE,
    KEY_VERSION,
    KeyWrapper,
    WrappingContext,
)
from encfields.keys.sql.rows import BRANCH, KeyRow
from encfields.keys.sql.store_name import insert_name, new_name, read_name
from encfields.keys.sql.table import KeyTable
from encfields.keys.store import MAX_TRIES, Conflict, busy
from encfields.message.header import read_any_header

BroughtOver = tuple[KeyRow, bytes, int]
"""A row, its new wrap, and its version's number."""


def bring_over(table: KeyTable, wrapper: KeyWrapper) -> int:
    """See :meth:`SqlKeyStore.bring_over <encfields.keys.sql.store.SqlKeyStore.bring_over>`."""
    table.use_name(_name_of(table))
    rows = sorted(table.all_rows(), key=lambda row: (row.key_id, row.purpose))
    count = 0
    for _, group in groupby(rows, key=lambda row: (row.key_id, row.purpose)):
        changes = _changes(table, wrapper, list(group))
        if changes:
            table.change(partial(_apply, table, changes), changes[0][0].key_id)
            count += len(changes)
    return count


def _name_of(table: KeyTable) -> str:
    """The table's name, which is created and stored if it has none."""
    name = table.given_name or new_name()
    kept: list[str] = []

    def keep(connection: Connection) -> None:
        present = read_name(connection, table.table)
        if present is None:
            insert_name(connection, table.table, name)
        kept.append(present or name)

    for _ in range(MAX_TRIES):
        with suppress(Conflict):
            table.change(keep, "")
            return kept[-1]
    raise busy("")


def _changes(table: KeyTable, wrapper: KeyWrapper, rows: list[KeyRow]) -> list[BroughtOver]:
    changes = []
    for number, row in enumerate(sorted(filter(_is_earlier, rows), key=_place_then), start=1):
        context = {KEY_ID: row.key_id, KEY_VERSION: row.version, KEY_PURPOSE: row.purpose}
        if row.purpose != BRANCH and isinstance(row.active, int):
            number = row.active
        purpose: Any = row.purpose
        place = WrappingContext(table.name, row.key_id, row.version, number, purpose)
        material = wrapper.unwrap_bound_to(context, row.wrapped or b"", row.key_id)
        changes.append((row, wrapper.wrap(material, place), number))
    return changes


def _place_then(row: KeyRow) -> Any:
    return row.active or 0, row.created_at, row.version


def _is_earlier(row: KeyRow) -> bool:
    if row.wrapped is None or row.destroyed_at is not None:
        return False
    try:
        context = deserialize(read_any_header(row.wrapped).context)
    except MalformedMessageError:
        return False
    return context.keys() == {KEY_ID, KEY_VERSION, KEY_PURPOSE}


def _apply(table: KeyTable, changes: Iterable[BroughtOver], connection: Connection) -> None:
    columns = table.table.c
    # The newest first, because that frees number 1.
    for row, wrapped, number in sorted(changes, key=lambda change: -change[2]):
        connection.execute(
            update(table.table)
            .where(columns.key_id == row.key_id, columns.version == row.version)
            .values(wrapped=wrapped, active=number)
        )
