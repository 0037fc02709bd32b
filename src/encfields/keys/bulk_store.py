"""What a key store may offer beyond :class:`~encfields.keys.store.KeyStore`: many keys at once."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from encfields.keys.beacon_key import BeaconKey
from encfields.keys.branch_key import BranchKey
from encfields.keys.store import KeyVersion


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """A key version that was read but not opened yet.

    :ivar told: what may be told of it.
    :ivar unwrap: opens it, with one KMS call; blocks, from any thread; raises as
        ``KeyStore.version`` does.
    """

    told: KeyVersion
    unwrap: Callable[[], BranchKey]


@dataclass(frozen=True, slots=True)
class WrappedBeacons:
    """The beacon key versions in force of one key, read but not opened yet.

    :ivar id: branch key id.
    :ivar unwrap: opens them, the newest last, with one KMS call for each; blocks, from any
        thread; raises as ``KeyStore.beacon`` does.
    """

    id: str
    unwrap: Callable[[], list[BeaconKey]]


@runtime_checkable
class BulkKeyStore(Protocol):
    """A key store that reads many wrapped keys in one query.

    Optional: in front of a store without it, the cache asks for one key after the other.
    """

    def wrapped_many(self, key_ids: Collection[str] | None) -> list[WrappedKey]:
        """Every version of some keys, destroyed ones included, in one query.

        :param key_ids: ``None`` for all keys. Ids that the store does not have are left out.
        :raises KeyUnavailableError: the store is out of reach.
        """
        ...


@runtime_checkable
class BulkBeaconStore(Protocol):
    """A key store that reads the wrapped beacon keys of many keys in one query. Optional."""

    def wrapped_beacons(self, key_ids: Collection[str] | None) -> list[WrappedBeacons]:
        """The beacon keys of some keys, in one query.

        :param key_ids: ``None`` for all keys. Ids that the store does not have, or whose keys
            were destroyed, are left out.
        :raises KeyUnavailableError: the store is out of reach.
        """
        ...
