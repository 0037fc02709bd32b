"""The interface of what a run does to a batch, and its outcome.

No database access here: this work happens outside any lock or transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from encfields.bulk.rows.reader import BatchReader
from encfields.bulk.rows.run_keys import SetAsideError
from encfields.bulk.rows.stored_keys import Key
from encfields.errors import (
    BindingError,
    DecryptionError,
    EncFieldsError,
    KeyDestroyedError,
    KeyNotFoundError,
)

OF_THIS_VALUE = (
    DecryptionError,
    BindingError,
    KeyDestroyedError,
    KeyNotFoundError,
    SetAsideError,
)
"""Errors of a single value. Any other error concerns the keys, and stops the run."""

ABSENT = b""
"""Stands for an old value: the column must still be NULL. (No message is empty.)"""


class RowChange(NamedTuple):
    """One row to be written.

    :param key: its primary key.
    :param old: the values that must still be stored, :data:`ABSENT` for NULL; ``None`` for a column
        that is not compared.
    :param new: the values to store; ``None`` for a column left as it is. Each new value has an old
        one, which is ``ABSENT`` when only plaintext is there to seal.
    :param indexes: what to store in all blind index columns; ``None`` to leave them.
    :param plain: for each plaintext column, the bytes that must still be stored if it is adopted,
        or the value to store if it is refilled; ``None`` for one that is not compared.
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
    """What to do about a batch.

    :ivar changes: rows to write. :ivar refused: values to quarantine.
    :ivar seen: rows looked at. :ivar current: rows that need no work.
    :ivar ready: what the writer made ready of the changes, if anything.
    """

    changes: list[RowChange] = field(default_factory=list)
    refused: list[RefusedValue] = field(default_factory=list)
    seen: int = 0
    current: int = 0
    ready: Any = None

    def refuse(self, key: Key, column: str, error: EncFieldsError) -> None:
        """Quarantine a value."""
        reason = error.reason or type(error).__name__
        message = error.message
        if not isinstance(error, SetAsideError):  # which names the error and the key
            message = f"{type(error).__name__}: {message}"
        self.refused.append(RefusedValue(key, column, reason, message))


def same_value(one: Any, other: Any) -> bool:
    """Whether two plaintexts are equal; NaN equals NaN."""
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same_value, one, other))
    return bool(one == other or (one != one and other != other))


class RowWork(Protocol):
    """What a run does to values."""

    sweeps_by_header: bool
    """Whether a value's first bytes tell if it is current."""

    def outcome_of(self, rows: Sequence[Any], reader: BatchReader) -> BatchOutcome:
        """What to do about some rows.

        :raises KeyStoreError: a key cannot be fetched.
        """
        ...

    def needs_work(self, rows: Sequence[Any], reader: BatchReader) -> bool:
        """Whether any of the rows is not current, judged by first bytes."""
        ...
