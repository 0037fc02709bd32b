"""What a run does to the values of a batch, and what that leaves to be written.

No database is at hand here: everything happens outside any lock and transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from encfields.bulk.rows.reader import BatchReader
from encfields.bulk.rows.stored_keys import Key
from encfields.errors import (
    BindingError,
    DecryptionError,
    EncFieldsError,
    KeyDestroyedError,
    KeyNotFoundError,
)

OF_THIS_VALUE = (DecryptionError, BindingError, KeyDestroyedError, KeyNotFoundError)
"""Faults of a single value. Any other error is one of the keys, and stops the run."""

ABSENT = b""
"""In place of an old value: the column must still be NULL. (No message is empty.)"""


class RowChange(NamedTuple):
    """One row to be written.

    :param key: its primary key.
    :param old: the stored values that must still stand there, :data:`ABSENT` for a NULL; ``None``
        for a column that does not matter.
    :param new: the values to store, ``None`` for a column to be left. Where there is a new value
        there is an old one, which is ``ABSENT`` for a plaintext alone that is sealed.
    :param indexes: what to store in the columns of all blind indexes; ``None`` to leave them.
    :param plain: of each plaintext column that is adopted, the bytes that must still stand there,
        or of one that is refilled what to store; ``None`` for one that does not matter.
    """

    key: Key
    old: tuple[bytes | None, ...]
    new: tuple[Any, ...]
    indexes: tuple[Any, ...] | None = None
    plain: tuple[Any, ...] | None = None


class RefusedValue(NamedTuple):
    """A value that does not open."""

    key: Key
    column: str
    reason: str
    message: str


@dataclass(slots=True)
class BatchOutcome:
    """What is to be done about a batch.

    :ivar changes: rows to write. :ivar refused: values to quarantine.
    :ivar seen: rows looked at. :ivar current: those with nothing to do.
    """

    changes: list[RowChange] = field(default_factory=list)
    refused: list[RefusedValue] = field(default_factory=list)
    seen: int = 0
    current: int = 0

    def refuse(self, key: Key, column: str, error: EncFieldsError) -> None:
        """Quarantine a value."""
        reason = error.reason or type(error).__name__
        message = f"{type(error).__name__}: {error.message}"
        self.refused.append(RefusedValue(key, column, reason, message))


def same_value(one: Any, other: Any) -> bool:
    """Whether two plaintexts are the same; what is not a number is so in both."""
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same_value, one, other))
    return bool(one == other or (one != one and other != other))


class RowWork(Protocol):
    """What a run does to values."""

    sweeps_by_header: bool
    """Whether the first bytes of a value tell that it is current."""

    def outcome_of(self, rows: Sequence[Any], reader: BatchReader) -> BatchOutcome:
        """What is to be done about some rows.

        :raises KeyStoreError: a key cannot be fetched just now.
        """
        ...

    def needs_work(self, rows: Sequence[Any], reader: BatchReader) -> bool:
        """Whether any of some rows is not current, as far as its first bytes tell."""
        ...
