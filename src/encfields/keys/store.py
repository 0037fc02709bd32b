"""What the rest of the library asks of a key store, and nothing else."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Protocol

from encfields.keys.branch_key import BranchKey


@dataclass(frozen=True, slots=True)
class KeyVersion:
    """What may be told about a key version: never its material.

    :param id: branch key id.
    :param version: UUID text of the version.
    :param active: whether new values are sealed under it.
    :param created_at: when it was made, in UTC.
    :param destroyed_at: when it was destroyed, or ``None``.
    """

    id: str
    version: str
    active: bool
    created_at: dt.datetime
    destroyed_at: dt.datetime | None = None


class KeyStore(Protocol):
    """Branch keys, wherever they are kept.

    Every method may block on a network. Implementations are safe to call from any thread and
    from any process, a forked one included. All raise
    :class:`~encfields.errors.KeyUnavailableError` when the store or its wrapping key cannot be
    reached, :class:`~encfields.errors.KeyNotFoundError` and
    :class:`~encfields.errors.KeyDestroyedError`.
    """

    def active(self, key_id: str) -> BranchKey:
        """The version of `key_id` under which new values are sealed."""
        ...

    def version(self, key_id: str, version: str) -> BranchKey:
        """One given version of `key_id`, active or not."""
        ...

    def beacon(self, key_id: str) -> bytes:
        """32 secret bytes from which the blind-index keys of `key_id` are derived."""
        ...

    def create(self, key_id: str) -> KeyVersion:
        """Make a new key and its first version.

        :raises KeyExistsError: there is one of that id.
        """
        ...

    def rotate(self, key_id: str) -> KeyVersion:
        """Make a new version and let new values use it; older ones stay readable."""
        ...

    def list(self) -> list[KeyVersion]:
        """Every version of every key, ordered by id and age."""
        ...
