"""Keys of the rows that an event loop will process, fetched while they can still be awaited.

``AsyncConnection.execute()`` reads all rows inside SQLAlchemy's greenlet and hands them out
outside it, on the event loop's thread, where fetching a missing key would block the loop. So the
rows are scanned as soon as they arrive: for each key that is not cached, the first value is opened,
which fetches the key, and discarded. An ``AsyncSession`` does not need this, because it creates its
objects inside the greenlet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.util.concurrency import in_greenlet

from encfields.errors import EncFieldsError, UnreadableError
from encfields.message.header import PROVIDER_ID
from encfields.orm import internals
from encfields.orm.read.raw_rows import cells_at_hand
from encfields.orm.read.results import encrypted_columns

HoldsKey = Callable[[str, str], bool]

_PROVIDER_BYTES, _LENGTH_BYTES = len(PROVIDER_ID), 2
"""What a key's id follows: the provider's id, and its own length."""
_BEFORE_VERSION, _VERSION_BYTES = 30, 16
"""Where a key's version is, after its id: past a length, a salt of 16 and an IV of 12 bytes."""


class AsyncPrefetch:
    """SQLAlchemy's ``after_execute`` event of an engine for asyncio.

    :param holds_key: whether a key version, by id and version, is cached.
    """

    def __init__(self, holds_key: HoldsKey) -> None:
        self._holds_key = holds_key

    def after_execute(
        self,
        connection: Connection,
        statement: Any,
        multiparams: Any,
        params: Any,
        execution_options: Any,
        result: Any,
    ) -> None:
        """Fetch the keys of the result's rows."""
        if execution_options.get("prebuffer_rows") or not in_greenlet():
            return
        delivered = internals.rows_at_hand(result)
        if not delivered:
            return
        try:
            rows = cells_at_hand(result, delivered)
        except UnreadableError:  # It is raised when the rows are read.
            return
        for position, processor in encrypted_columns(result):
            self._fetch([row[position] for row in rows], processor)

    def _fetch(self, cells: Sequence[Any], processor: Callable[[Any], Any]) -> None:
        seen: set[bytes] = set()
        named, version_at = b"", 0
        for cell in cells:
            if not isinstance(cell, bytes):
                continue
            start = cell.find(PROVIDER_ID) + _PROVIDER_BYTES
            # Nearly every cell names the same key as the one before.
            if not named or not cell.startswith(named, start):
                size = int.from_bytes(cell[start : start + _LENGTH_BYTES], "big")
                version_at = _LENGTH_BYTES + size + _BEFORE_VERSION
                named = cell[start : start + _LENGTH_BYTES + size]
            at = start + version_at
            key = named + cell[at : at + _VERSION_BYTES]
            if key not in seen:
                seen.add(key)
                self._fetch_key_of(cell, key, processor)

    def _fetch_key_of(self, cell: bytes, key: bytes, processor: Callable[[Any], Any]) -> None:
        key_id, version = key[_LENGTH_BYTES:-16].decode("utf-8", "replace"), key[-16:].hex()
        text = "-".join(version[a:b] for a, b in ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32)))
        if not self._holds_key(key_id, text):
            # Opens the whole cell instead of fetching the key by itself: a value that was moved
            # here must not cause a key to be fetched. The error is raised when the row is read.
            with suppress(EncFieldsError):
                processor(cell)
