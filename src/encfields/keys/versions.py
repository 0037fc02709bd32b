"""Data that key stores exchange with the rest of the library: keys, wrapped or not, and their
public data."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

from encfields.arguments import is_unicode
from encfields.branch_key import BEACON_KEY_BYTES, BranchKey, key_material
from encfields.errors import ConfigurationError
from encfields.traces import leaves_no_trace

MAX_KEY_ID_CHARS = 255
"""Most characters of a branch key id."""

FIRST_VERSION = 1
"""Number of the beacon key created with a key. Frozen."""


def check_key_id(key_id: str) -> None:
    """Refuse an id that some key store, database or message cannot store exactly.

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
    """The requested key ids: one, or several.

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
    """One version of a key's beacon key, from which its blind indexes' keys are derived.

    :param id: the branch key id that it belongs to.
    :param version: 1 for the one created with the key, 2 for the next, and so on. Numbers are never
        reused.
    :param material: 32 secret bytes.
    :param created_at: when it was created, in UTC; ``None`` if the store does not know.
    :ivar derived: a cache of what others derive from the material, with its lifetime.

    Its ``repr`` does not show the material, and it cannot be pickled.
    """

    __slots__ = ("created_at", "derived", "id", "material", "version")

    @leaves_no_trace
    def __init__(
        self, id: str, version: int, material: bytes, created_at: dt.datetime | None = None
    ) -> None:
        self.id = id
        self.version = version
        self.material = key_material("a beacon key", id, material, BEACON_KEY_BYTES)
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
    """The public data of a branch key version, never its material.

    :param id: branch key id.
    :param version: UUID text of the version.
    :param active: whether new values are sealed under it.
    :param created_at: when it was created, in UTC.
    :param destroyed_at: when it was destroyed or retired, or ``None``.
    :param number: its position among its key's versions, 1 for the first; ``None`` if unknown.
    :param fault: what is malformed in its stored form; ``""`` for nothing.
    :param wiped: whether its material is gone. A version about to be destroyed or retired already
        has a date, but is not wiped.
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
    """The public data of an active beacon key version, never its material.

    :param id: branch key id.
    :param version: its number.
    :param created_at: when it was made, in UTC.
    """

    id: str
    version: int
    created_at: dt.datetime


class WrappedKey(NamedTuple):
    """A branch key version that was read but not unwrapped.

    :ivar key_version: its public data.
    :ivar unwrap: unwraps it with one KMS call; blocks, callable from any thread; raises as
        :meth:`KeyStore.version` does.
    """

    key_version: KeyVersion
    unwrap: Callable[[], BranchKey]


class WrappedBeacons(NamedTuple):
    """The active beacon key versions of one key, read but not unwrapped.

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
    :ivar already: those already under the new wrapping keys, from an earlier run.
    :ivar destroyed: destroyed ones, which have nothing to move.
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
"""Called after each wrapped key with the counts so far."""


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
        self._is_left: dict[str, bool] = {}
        self.active: dict[str, str] = {}
        for version in listed:
            is_destroyed = version.destroyed_at is not None
            self._destroyed[version.id, version.version] = is_destroyed
            self._is_left[version.id] = self._is_left.get(version.id, False) or not is_destroyed
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

    def is_destroyed(self, key_id: str) -> bool:
        """Whether a key is listed, and every version of it destroyed."""
        return self._is_left.get(key_id) is False

    def opens(self, key_id: str, version: str) -> bool:
        """Whether the key of this version exists and is not destroyed."""
        return self.state(key_id, version) in (CURRENT, OLDER)

    def without_key(self, counts: Mapping[tuple[str, str], int]) -> int:
        """How many values are under versions that are missing or destroyed."""
        return sum(count for name, count in counts.items() if not self.opens(*name))
