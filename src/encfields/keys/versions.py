"""What passes between a key store and the rest of the library: keys, wrapped or not, and what is
public about them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

from encfields.arguments import is_unicode
from encfields.branch_key import BEACON_KEY_BYTES, BranchKey
from encfields.errors import ConfigurationError

MAX_KEY_ID_CHARS = 255
"""Length of a branch key id at most, in characters."""

FIRST_VERSION = 1
"""Number of the beacon key that a key is made with. Frozen."""


def check_key_id(key_id: str) -> None:
    """Refuse an id that some key store, database or message could not hold exactly.

    :raises ConfigurationError: says what an id is.
    """
    if not isinstance(key_id, str) or not 1 <= len(key_id) <= MAX_KEY_ID_CHARS:
        raise ConfigurationError(
            f"a key id is text of 1 to {MAX_KEY_ID_CHARS} characters", reason="key-id"
        )
    if not key_id.isprintable() or key_id != key_id.strip():
        raise ConfigurationError(
            "a key id is printable text without blanks around it", reason="key-id"
        )


def asked_ids(given: Iterable[str] | str) -> frozenset[str]:
    """The ids of keys that are asked for: one, or several.

    :raises ConfigurationError: something else was given.
    """
    several = given if isinstance(given, Iterable) else (given,)
    ids = [given] if isinstance(given, str) else list(several)
    for key_id in ids:
        if not isinstance(key_id, str) or not is_unicode(key_id):
            named = (
                "text with a lone surrogate" if isinstance(key_id, str) else type(key_id).__name__
            )
            raise ConfigurationError(f"a key id is text, not {named}", reason="key-id")
    return frozenset(ids)


class BeaconKey:
    """One version of the beacon key of one key id: what its blind indexes are derived from.

    :param id: the branch key id that it belongs to.
    :param version: 1 for the one made with the key, 2 for the next, and so on. A number is
        never used again.
    :param material: 32 secret bytes.
    :param created_at: when it was made, in UTC; ``None`` where the store does not know.
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
class KeyVersion:
    """What is public about a branch key version: never its material.

    :param id: branch key id.
    :param version: UUID text of the version.
    :param active: whether new values are sealed under it.
    :param created_at: when it was made, in UTC.
    :param destroyed_at: when it was destroyed or retired, or ``None``.
    :param number: its place in its key's order, 1 for the first; ``None`` where it is not known.
    :param fault: what is malformed where it is stored; ``""`` for nothing.
    :param wiped: whether nothing of its material is kept any more. A version that is about to be
        destroyed or retired has a date, and is not.
    """

    id: str
    version: str
    active: bool
    created_at: dt.datetime
    destroyed_at: dt.datetime | None = None
    number: int | None = None
    fault: str = ""
    wiped: bool = False


@dataclass(frozen=True, slots=True)
class BeaconVersion:
    """What is public about a beacon key version in force: never its material.

    :param id: branch key id.
    :param version: its number.
    :param created_at: when it was made, in UTC.
    """

    id: str
    version: int
    created_at: dt.datetime


class WrappedKey(NamedTuple):
    """A branch key version that was read but not unwrapped yet.

    :ivar key_version: what is public about it.
    :ivar unwrap: unwraps it, with one KMS call; blocks, from any thread; raises as
        :meth:`KeyStore.version` does.
    """

    key_version: KeyVersion
    unwrap: Callable[[], BranchKey]


class WrappedBeacons(NamedTuple):
    """The beacon key versions in force of one key, read but not unwrapped yet.

    :ivar id: branch key id.
    :ivar unwrap: unwraps them, the newest last, with one KMS call for each; blocks, from any
        thread; raises as :meth:`KeyStore.beacons` does.
    """

    id: str
    unwrap: Callable[[], list[BeaconKey]]


@dataclass(frozen=True, slots=True)
class RewrapReport:
    """What a rewrap did.

    :ivar moved: wrapped keys (branch key versions and beacon keys) that were moved.
    :ivar already: those that the new keyring's wrapping keys held already, from an earlier run.
    :ivar destroyed: destroyed ones, which hold nothing to move.
    """

    moved: int = 0
    already: int = 0
    destroyed: int = 0

    def to_json(self) -> dict[str, int]:
        """The report as plain data."""
        return {"moved": self.moved, "already": self.already, "destroyed": self.destroyed}

    def __add__(self, other: RewrapReport) -> RewrapReport:
        """Both together."""
        return RewrapReport(
            self.moved + other.moved,
            self.already + other.already,
            self.destroyed + other.destroyed,
        )


# Key stores have a method called "list", which the type of that name cannot be told from in them.
KeyVersionList = list[KeyVersion]
WrappedKeyList = list[WrappedKey]
BeaconKeyList = list[BeaconKey]
BeaconVersionList = list[BeaconVersion]
WrappedBeaconsList = list[WrappedBeacons]

OnRewrap = Callable[[RewrapReport], None]
"""Called after each wrapped key with how far the rewrap is."""


def utc_now() -> dt.datetime:
    """The time that what is made or wiped now is dated with."""
    return dt.datetime.now(dt.UTC)


CURRENT = "current"
OLDER = "older version"
DESTROYED = "key destroyed"
MISSING = "key version missing"
"""No such version: the key table is from an older backup, or the value is not genuine."""


class KeyVersions:
    """The versions that a key store lists.

    :param listed: as its ``list()`` gives them.
    :ivar active: the active version of each key id.
    """

    def __init__(self, listed: Iterable[KeyVersion]) -> None:
        self._destroyed: dict[tuple[str, str], bool] = {}
        self.active: dict[str, str] = {}
        for version in listed:
            self._destroyed[version.id, version.version] = version.destroyed_at is not None
            if version.active and version.destroyed_at is None:
                self.active[version.id] = version.version

    def state(self, key_id: str, version: str) -> str:
        """The state of a value, in its place, that claims this version."""
        if self.active.get(key_id) == version:
            return CURRENT
        destroyed = self._destroyed.get((key_id, version))
        if destroyed is None:
            return MISSING
        return DESTROYED if destroyed else OLDER

    def opens(self, key_id: str, version: str) -> bool:
        """Whether the key of this version exists and is not destroyed."""
        return self.state(key_id, version) in (CURRENT, OLDER)

    def without_key(self, counts: Mapping[tuple[str, str], int]) -> int:
        """How many values are under versions that are missing or destroyed."""
        return sum(count for name, count in counts.items() if not self.opens(*name))
