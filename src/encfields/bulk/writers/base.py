"""What a writer is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from encfields.message.header import CONTEXT_OFFSET

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from encfields.bulk.rows.changes import Change


IDENTIFYING_BYTES = CONTEXT_OFFSET - 2
"""The first bytes of a message, up to its 32 random bytes of message id: no two share them, so
they tell whether a value is still the one that was read, for a sixteenth of the bytes."""


class Writer(Protocol):
    """Stores a batch in the caller's transaction.

    It never waits for a row's lock: a row that is locked is left out. It stores a value only
    where the old one still stands, so that no update of the application is undone.
    """

    def write(self, connection: Connection, changes: Sequence[Change]) -> int:
        """Store some rows, which are in the order of their keys.

        :returns: how many were stored; the others were locked, changed or deleted meanwhile.
        """
        ...
