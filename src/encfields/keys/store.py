"""What the rest of the library asks of a key store, and nothing else."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from encfields.keys.branch_key import BranchKey


@dataclass(frozen=True, slots=True)
class KeyVersion:
    """What may be told about a key version: never its material.

    :param id: branch key id.
    :param version: UUID text of the version.
    :param active: whether new values are sealed under it.
    :param created_at: when it was made, in UTC.
    :param destroyed_at: when it was destroyed or retired, or ``None``.
    :param number: its place in its key's order, 1 for the first; ``None`` where it is not known.
    :param fault: what is malformed where it is stored; ``""`` for nothing.
    """

    id: str
    version: str
    active: bool
    created_at: dt.datetime
    destroyed_at: dt.datetime | None = None
    number: int | None = None
    fault: str = ""


class KeyStore(Protocol):
    """Branch keys, wherever they are kept.

    Every method may block on a network. Implementations are safe to call from any thread and
    from any process, a forked one included. All raise
    :class:`~encfields.errors.KeyUnavailableError` when the store or its wrapping key cannot be
    reached, :class:`~encfields.errors.KeyNotFoundError` and
    :class:`~encfields.errors.KeyDestroyedError`.
    """

    @property
    def name(self) -> str:
        """The key store's logical name, to which each of its keys is bound."""
        ...

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


@runtime_checkable
class ConfirmingKeyStore(Protocol):
    """A key store that tells, without KMS, which versions are in force. Optional: a key of a
    store without it is believed in force until its time to live is over.

    :ivar confirms_at_once: keys that one call asks for at most.
    """

    confirms_at_once: int

    def newest_versions(self, key_ids: Collection[str]) -> Mapping[str, str]:
        """The newest version of each key that is in force, by the store's own word: it is no
        proof, and only good for asking anew.

        :returns: keys that are missing, retired or destroyed are left out.
        :raises KeyUnavailableError: the store is out of reach.
        """
        ...
