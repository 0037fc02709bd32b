"""The report of one verb on many keys: what succeeded, and why the rest failed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from encfields.errors import EncFieldsError
from encfields.keys.removal import DestructionReceipt
from encfields.keys.versions import RewrapReport


@dataclass(frozen=True, slots=True)
class KeyFailure:
    """A key that failed. It does not keep the exception, whose frames may hold keys.

    :ivar key_id: branch key id.
    :ivar error: name of the exception's class, of :mod:`encfields.errors`.
    :ivar reason: its short word, such as ``"denied"``.
    :ivar message: what happened and what to do about it.
    """

    key_id: str
    error: str
    reason: str | None
    message: str

    @classmethod
    def of(cls, key_id: str, error: EncFieldsError) -> KeyFailure:
        """What is kept of an exception."""
        return cls(key_id, type(error).__name__, error.reason, error.message)

    def to_json(self) -> dict[str, Any]:
        """The failure as plain data."""
        return {
            "key_id": self.key_id,
            "error": self.error,
            "reason": self.reason,
            "message": self.message,
        }


@dataclass(frozen=True, slots=True)
class KeysProgress:
    """Progress of the work on many keys.

    :ivar total: all keys. :ivar done: keys finished now.
    :ivar already: keys that needed nothing. :ivar failed: keys that failed.
    """

    total: int
    done: int = 0
    already: int = 0
    failed: int = 0

    @property
    def tried(self) -> int:
        """Keys that this run has finished with."""
        return self.done + self.already + self.failed


OnKeys = Callable[[KeysProgress], None]
"""Called before the first key and after each, on the thread that called the verb."""


@dataclass(frozen=True, slots=True)
class KeysReport:
    """What one verb did to many keys. Nothing is raised for a key that failed: look at
    :attr:`is_complete`.

    :ivar done: ids of the keys finished now.
    :ivar already: ids of the keys that were created, rotated, moved or destroyed before.
    :ivar failed: the keys that failed, and why.
    :ivar left: ids of the keys not tried, because too many in a row failed from an outage of KMS or
        the database.
    :ivar rewrapped: counts of wrapped keys in a rewrap; each key has at least two.
    :ivar receipts: one for each key destroyed now.
    """

    done: tuple[str, ...] = ()
    already: tuple[str, ...] = ()
    failed: tuple[KeyFailure, ...] = ()
    left: tuple[str, ...] = ()
    rewrapped: RewrapReport | None = None
    receipts: tuple[DestructionReceipt, ...] = ()

    @property
    def is_complete(self) -> bool:
        """Whether every key is done, now or before."""
        return not self.failed and not self.left

    @property
    def progress(self) -> KeysProgress:
        """The numbers alone."""
        done, already, failed = len(self.done), len(self.already), len(self.failed)
        return KeysProgress(done + already + failed + len(self.left), done, already, failed)

    def to_json(self) -> dict[str, Any]:
        """The report as plain data, for ``json.dumps``."""
        document: dict[str, Any] = {
            "done": list(self.done),
            "already": list(self.already),
            "failed": [failure.to_json() for failure in self.failed],
            "left": list(self.left),
        }
        if self.rewrapped is not None:
            document["rewrapped"] = self.rewrapped.to_json()
        if self.receipts:
            document["receipts"] = [receipt.to_json() for receipt in self.receipts]
        return document
