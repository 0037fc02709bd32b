"""A beacon key version: the secret from which blind indexes of one key id are derived."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol, runtime_checkable

BEACON_KEY_BYTES = 32
"""Length of a beacon key's material. Fixed by the hierarchical keyring's specification."""

FIRST_VERSION = 1
"""Number of the beacon key that a key is made with. Frozen."""


class BeaconKey:
    """One version of the beacon key of one key id.

    :param id: the branch key id that it belongs to.
    :param version: 1 for the one made with the key, 2 for the next, and so on. A number is
        never used again.
    :param material: 32 secret bytes.
    :param created_at: when it was made, in UTC; ``None`` where the store does not tell.
    :ivar derived: what others derive from the material and want to keep no longer than it, by
        any key of theirs.

    Its ``repr`` shows no material, and it refuses to be pickled.
    """

    __slots__ = ("created_at", "derived", "id", "material", "version")

    def __init__(
        self, id: str, version: int, material: bytes, created_at: dt.datetime | None = None
    ) -> None:
        if len(material) != BEACON_KEY_BYTES:
            raise ValueError(f"a beacon key has {BEACON_KEY_BYTES} bytes, not {len(material)}")
        self.id = id
        self.version = version
        self.material = material
        self.created_at = created_at
        self.derived: dict[Any, Any] = {}

    def __repr__(self) -> str:
        return f"<BeaconKey id={self.id!r} version={self.version}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a beacon key is never pickled")

    def __copy__(self) -> BeaconKey:
        return self

    def __deepcopy__(self, memo: object) -> BeaconKey:
        return self


@dataclass(frozen=True, slots=True)
class BeaconVersion:
    """What may be told about a beacon key version in force: never its material.

    :param id: branch key id.
    :param version: its number.
    :param created_at: when it was made, in UTC.
    """

    id: str
    version: int
    created_at: dt.datetime


@runtime_checkable
class BeaconKeyStore(Protocol):
    """A key store whose keys can have a second beacon key, for a time.

    Optional: of a store without it, the one beacon key is version 1.
    """

    def beacons(self, key_id: str) -> list[BeaconKey]:
        """Every beacon key version in force, the newest last; raises as ``KeyStore.beacon``."""
        ...

    def list_beacons(self, key_id: str) -> list[BeaconVersion]:
        """The same, unopened."""
        ...

    def rotate_beacon(self, key_id: str) -> BeaconVersion:
        """Make a second beacon key version beside the one in force.

        :raises ConfigurationError: there are two already, or the store allows one only.
        """
        ...

    def retire_beacon(self, key_id: str, version: int) -> None:
        """Wipe a version that is not the newest.

        :raises ConfigurationError: it is the newest, or the store allows one only.
        :raises KeyNotFoundError: there is none of that number.
        """
        ...


def beacons_of(store: Any, key_id: str) -> list[BeaconKey]:
    """A key's beacon keys in force, the newest last, from whatever key store."""
    if isinstance(store, BeaconKeyStore):
        return store.beacons(key_id)
    return [BeaconKey(key_id, FIRST_VERSION, store.beacon(key_id))]
