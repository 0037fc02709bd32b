"""Key stores: the base class of each, and what passes between one and the rest of the library.

A store of your own derives from :class:`KeyStore` and implements its abstract methods. The others
have defaults, which :class:`~encfields.keys.sql.store.SqlKeyStore` and
:class:`~encfields.keys.dynamodb.store.DynamoDbKeyStore` replace where they can do better.
"""

from __future__ import annotations

import datetime as dt
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from encfields.branch_key import BranchKey
from encfields.errors import ConfigurationError
from encfields.keys.fetching.runner import Runner, ThreadRunner
from encfields.keys.keyrings.keyring import Keyring

if TYPE_CHECKING:
    from sqlalchemy import Engine

__all__ = [
    "BeaconKey",
    "BeaconVersion",
    "BranchKey",
    "KeyStore",
    "KeyVersion",
    "Progress",
    "RewrapReport",
    "WrappedBeacons",
    "WrappedKey",
]

MAX_KEY_ID_CHARS = 255
"""Length of a branch key id at most, in characters."""

BEACON_KEY_BYTES = 32
"""Length of a beacon key's material. Fixed by the hierarchical keyring's specification."""

FIRST_VERSION = 1
"""Number of the beacon key that a key is made with. Frozen."""


def check_key_id(key_id: str) -> None:
    """Refuse an id that some key store, database or message could not hold exactly.

    :raises ConfigurationError: says what an id is.
    """
    if not 1 <= len(key_id) <= MAX_KEY_ID_CHARS:
        raise ConfigurationError(
            f"a key id is text of 1 to {MAX_KEY_ID_CHARS} characters", reason="key-id"
        )
    if not key_id.isprintable() or key_id != key_id.strip():
        raise ConfigurationError(
            "a key id is printable text without blanks around it", reason="key-id"
        )


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


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """A branch key version that was read but not unwrapped yet.

    :ivar key_version: what is public about it.
    :ivar unwrap: unwraps it, with one KMS call; blocks, from any thread; raises as
        :meth:`KeyStore.version` does.
    """

    key_version: KeyVersion
    unwrap: Callable[[], BranchKey]


@dataclass(frozen=True, slots=True)
class WrappedBeacons:
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


Progress = Callable[[RewrapReport], None]
"""Called after each wrapped key with how far the rewrap is."""


class KeyStore(ABC):
    """Branch keys, wherever they are kept.

    Every method may block on a network. Implementations are safe to call from any thread and
    from any process, a forked one included. All raise
    :class:`~encfields.errors.KeyUnavailableError` when the store or its wrapping key cannot be
    reached, :class:`~encfields.errors.KeyNotFoundError` and
    :class:`~encfields.errors.KeyDestroyedError`.

    :cvar confirms_at_once: keys that one call of :meth:`newest_versions` may name. 0 if the store
        cannot answer it cheaply: a key is then taken to be in force until its time to live ends.
    """

    confirms_at_once: ClassVar[int] = 0

    # -- reading keys --------------------------------------------------------------------------

    @property
    @abstractmethod
    def name(self) -> str:
        """The key store's logical name, to which each of its keys is bound."""

    @abstractmethod
    def active(self, key_id: str) -> BranchKey:
        """The version of `key_id` under which new values are sealed."""

    @abstractmethod
    def version(self, key_id: str, version: str) -> BranchKey:
        """One given version of `key_id`, active or not."""

    @abstractmethod
    def beacon(self, key_id: str) -> bytes:
        """32 secret bytes from which the blind-index keys of `key_id` are derived: of the newest
        beacon key, if there are two."""

    def beacons(self, key_id: str) -> list[BeaconKey]:
        """Every beacon key version in force, the newest last; raises as :meth:`beacon`."""
        return [BeaconKey(key_id, FIRST_VERSION, self.beacon(key_id))]

    def newest_versions(self, key_ids: Collection[str]) -> Mapping[str, str]:
        """The newest version of each key that is in force, without a call of KMS.

        It is the store's word without proof, and only decides whether to fetch the key again.

        :returns: keys that are missing, retired or destroyed are left out.
        """
        return {one.id: one.version for one in self.list() if one.active and one.id in key_ids}

    def wrapped_many(self, key_ids: Collection[str] | None) -> list[WrappedKey]:
        """Every version of some keys, destroyed ones included, in one query where that is
        possible.

        :param key_ids: ``None`` for all keys. Ids that the store does not have are left out.
        """
        return [
            WrappedKey(
                one,
                partial(self.active, one.id)
                if one.active
                else partial(self.version, one.id, one.version),
            )
            for one in self.list()
            if key_ids is None or one.id in key_ids
        ]

    def versions_of(self, key_ids: Collection[str] | None) -> list[KeyVersion]:
        """What is public about every version of some keys, ordered by id and age, in one query
        where that is possible.

        :param key_ids: ``None`` for all keys. Ids that the store does not have are left out.
        """
        wanted = None if key_ids is None else frozenset(key_ids)
        return [one for one in self.list() if wanted is None or one.id in wanted]

    def wrapped_beacons(self, key_ids: Collection[str]) -> list[WrappedBeacons]:
        """The beacon keys of some keys, in one query where that is possible.

        :param key_ids: those that the store does not have, or whose keys were destroyed, may be
            left out.
        """
        return [WrappedBeacons(one, partial(self.beacons, one)) for one in sorted(key_ids)]

    def wrapped_with_beacons(
        self, key_ids: Collection[str] | None
    ) -> tuple[list[WrappedKey], list[WrappedBeacons]]:
        """Both :meth:`wrapped_many` and the beacon keys of the same keys, in one query where that
        is possible."""
        found = self.wrapped_many(key_ids)
        in_force = {one.key_version.id for one in found if one.key_version.destroyed_at is None}
        return found, self.wrapped_beacons(in_force)

    # -- how it is reached ---------------------------------------------------------------------

    @property
    def is_bound(self) -> bool:
        """Whether the store needs no engine, or has one: ``attach()`` gives it one otherwise."""
        return True

    def bind(self, engine: Engine) -> None:  # noqa: B027 - most stores need nothing here
        """Use the database of `engine`; of an ``AsyncEngine``, its ``sync_engine``."""

    def preload(self) -> None:  # noqa: B027 - most stores need nothing here
        """Import what unwraps keys now, not when the first one is fetched."""

    @property
    def runner(self) -> Runner:
        """How the cache runs fetches from this store."""
        return ThreadRunner()

    @property
    def needs_greenlet(self) -> bool:
        """Whether keys can only be read by awaiting, from inside a greenlet of SQLAlchemy's."""
        return False

    @property
    def may_fetch_in_background(self) -> bool:
        """Whether a thread of this library may read keys at any time."""
        return True

    # -- administration ------------------------------------------------------------------------

    @abstractmethod
    def create(self, key_id: str) -> KeyVersion:
        """Make a new key and its first version.

        :raises KeyExistsError: there is one of that id.
        """

    @abstractmethod
    def rotate(self, key_id: str) -> KeyVersion:
        """Make a new version and let new values use it; older ones stay readable."""

    def rotate_from(self, key_id: str, version: str) -> KeyVersion | None:
        """Rotate a key whose newest version is still the given one.

        :returns: ``None`` if it is not, because somebody else has rotated it.
        """
        newest = self.newest_versions([key_id]).get(key_id, version)
        return self.rotate(key_id) if newest == version else None

    def list_beacons(self, key_id: str) -> list[BeaconVersion]:
        """The beacon key versions in force, the newest last, without their material.

        :raises ConfigurationError: the store has one beacon key for each key and keeps no date.
        """
        raise self._has_one_beacon()

    def rotate_beacon(self, key_id: str) -> BeaconVersion:
        """Make a second beacon key version beside the one in force.

        :raises ConfigurationError: there are two already, or the store allows one only.
        """
        raise self._has_one_beacon()

    def retire_beacon(self, key_id: str, version: int) -> None:
        """Wipe a beacon key version that is not the newest.

        :raises ConfigurationError: it is the newest, or the store allows one only.
        :raises KeyNotFoundError: there is none of that number.
        """
        raise self._has_one_beacon()

    def refuse(self, key_id: str, version: str | None = None) -> bool:
        """Give nobody a key, or one version of it, from now on; what is wrapped is kept.

        :param version: by default all of the key, its beacon key too.
        :returns: whether anything is refused now: ``False`` for a store that cannot.
        """
        return False

    def readmit(self, key_id: str, version: str | None = None) -> None:  # noqa: B027 - most stores need nothing here
        """Take :meth:`refuse` back."""

    def destroy(self, key_id: str) -> list[KeyVersion]:
        """Wipe every version of a key, its beacon keys too.

        :returns: the branch key versions that were wiped.
        :raises ConfigurationError: the store cannot.
        """
        raise self._cannot("destroy")

    def require_retirable(self, key_id: str, version: str) -> None:
        """Raise as :meth:`retire` would, and change nothing."""
        raise self._cannot("retire")

    def retire(self, key_id: str, version: str) -> None:
        """Wipe a version that is not the active one.

        :raises ConfigurationError: it is the active one, or the store cannot.
        """
        raise self._cannot("retire")

    def rewrap(self, new: Keyring, *, progress: Progress | None = None) -> RewrapReport:
        """Move every wrapped key to another keyring, without touching a value.

        :raises ConfigurationError: the store cannot, or the keyring only opens keys.
        """
        raise self._cannot("rewrap")

    def mover_to(self, new: Keyring) -> Callable[[str], RewrapReport]:
        """Use another keyring from now on, as :meth:`rewrap` does.

        :returns: what moves all that is wrapped of one key; it is called from several threads.
        :raises ConfigurationError: as :meth:`rewrap`.
        """
        raise self._cannot("rewrap")

    def create_table(self) -> None:
        """Make the table that keys are kept in, unless it is there.

        :raises ConfigurationError: they are kept elsewhere.
        """
        raise ConfigurationError(
            f"{type(self).__name__} has no table to make", reason="no-table-store"
        )

    def _cannot(self, verb: str) -> ConfigurationError:
        return ConfigurationError(f"{type(self).__name__} cannot {verb} keys", reason=f"no-{verb}")

    def _has_one_beacon(self) -> ConfigurationError:
        return ConfigurationError(
            f"{type(self).__name__} has one beacon key for each key", reason="one-beacon"
        )

    # Last, because the name hides the type for what follows it.
    @abstractmethod
    def list(self) -> list[KeyVersion]:
        """Every version of every key, ordered by id and age, destroyed ones included."""
