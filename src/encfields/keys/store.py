"""The base class of key stores, and their common errors.

Derive your own store from :class:`KeyStore` and implement its abstract methods. The others have
defaults, which :class:`~encfields.keys.sql.store.SqlKeyStore` and
:class:`~encfields.keys.dynamodb.store.DynamoDbKeyStore` improve.
"""

from __future__ import annotations

import datetime as dt
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from encfields.branch_key import BranchKey
from encfields.errors import (
    ConfigurationError,
    KeyDestroyedError,
    KeyExistsError,
    KeyNotFoundError,
    KeyUnavailableError,
)
from encfields.keys.fetching.runner import Runner, ThreadRunner
from encfields.keys.keyrings.keyring import Keyring
from encfields.keys.versions import (
    FIRST_VERSION,
    BeaconKey,
    BeaconVersion,
    KeyVersion,
    OnRewrap,
    RewrapReport,
    WrappedBeacons,
    WrappedKey,
)

if TYPE_CHECKING:
    from sqlalchemy import Engine


class KeyStore(ABC):
    """Stores branch keys.

    Every method may block on a network. Implementations must be safe to call from any thread and
    any process, including forked ones. All raise
    :class:`~encfields.errors.KeyUnavailableError` when the store or its wrapping key cannot be
    reached, :class:`~encfields.errors.KeyNotFoundError` and
    :class:`~encfields.errors.KeyDestroyedError`.

    :cvar confirms_at_once: most keys that one call of :meth:`newest_versions` may name. 0 if the
        store cannot answer it cheaply: keys then count as active until their time to live ends.
    """

    confirms_at_once: ClassVar[int] = 0

    # -- reading keys --------------------------------------------------------------------------

    @property
    @abstractmethod
    def name(self) -> str:
        """The key store's logical name, to which each of its keys is bound."""

    @abstractmethod
    def active(self, key_id: str) -> BranchKey:
        """The version of `key_id` that seals new values.

        :param key_id: the branch key id.
        :returns: the version with its material.
        """

    @abstractmethod
    def version(self, key_id: str, version: str) -> BranchKey:
        """One given version of `key_id`, active or not.

        :param key_id: the branch key id.
        :param version: the version's UUID, as text.
        """

    @abstractmethod
    def beacon(self, key_id: str) -> bytes:
        """32 secret bytes from which the blind-index keys of `key_id` are derived: of the newest
        beacon key, if there are two.

        :param key_id: the branch key id.
        """

    def beacons(self, key_id: str) -> list[BeaconKey]:
        """Every active beacon key version, the newest last; raises as :meth:`beacon`.

        :param key_id: branch key id.
        """
        return [BeaconKey(key_id, FIRST_VERSION, self.beacon(key_id))]

    def newest_versions(self, key_ids: Collection[str]) -> Mapping[str, str]:
        """The newest version of each active key, without a KMS call.

        The answer is not proved; it only decides whether to fetch a key again.

        :param key_ids: branch key ids.
        :returns: the versions; keys that are missing, retired or destroyed are left out.
        """
        return {
            version.id: version.version
            for version in self.list()
            if version.active and version.id in key_ids
        }

    def wrapped_many(self, key_ids: Collection[str] | None) -> list[WrappedKey]:
        """Every version of some keys, including destroyed ones, in one query if possible.

        :param key_ids: ``None`` for all keys. Unknown ids are left out.
        """
        return [
            WrappedKey(
                version,
                partial(self.active, version.id)
                if version.active
                else partial(self.version, version.id, version.version),
            )
            for version in self.list()
            if key_ids is None or version.id in key_ids
        ]

    def versions_of(self, key_ids: Collection[str] | None) -> list[KeyVersion]:
        """The public data of every version of some keys, ordered by id and age, in one query if
        possible.

        :param key_ids: ``None`` for all keys. Unknown ids are left out.
        """
        wanted = None if key_ids is None else frozenset(key_ids)
        return [version for version in self.list() if wanted is None or version.id in wanted]

    def wrapped_beacons(self, key_ids: Collection[str]) -> list[WrappedBeacons]:
        """The beacon keys of some keys, in one query if possible.

        :param key_ids: unknown or destroyed ones may be left out.
        """
        return [WrappedBeacons(key_id, partial(self.beacons, key_id)) for key_id in sorted(key_ids)]

    def wrapped_with_beacons(
        self, key_ids: Collection[str] | None
    ) -> tuple[list[WrappedKey], list[WrappedBeacons]]:
        """Both :meth:`wrapped_many` and the beacon keys of the same keys, in one query if possible.

        :param key_ids: branch key ids.
        """
        keys = self.wrapped_many(key_ids)
        in_force = {
            wrapped.key_version.id for wrapped in keys if wrapped.key_version.destroyed_at is None
        }
        return keys, self.wrapped_beacons(in_force)

    # -- how it is reached ---------------------------------------------------------------------

    @property
    def is_bound(self) -> bool:
        """Whether the store needs no engine, or has one; otherwise ``attach()`` gives it one."""
        return True

    def bind(self, engine: Engine) -> None:  # noqa: B027 - most stores need nothing here
        """Use the database of `engine`; of an ``AsyncEngine``, its ``sync_engine``.

        :param engine: the application's, to which the store is attached.
        """

    def preload(self) -> None:  # noqa: B027 - most stores need nothing here
        """Import what unwraps keys now, not at the first fetch."""

    @property
    def runner(self) -> Runner:
        """How the cache runs fetches from this store."""
        return ThreadRunner()

    @property
    def needs_greenlet(self) -> bool:
        """Whether keys can only be read by awaiting, inside one of SQLAlchemy's greenlets."""
        return False

    @property
    def may_fetch_in_background(self) -> bool:
        """Whether a thread of this library may read keys at any time."""
        return True

    # -- administration ------------------------------------------------------------------------

    @abstractmethod
    def create(self, key_id: str) -> KeyVersion:
        """Create a new key and its first version.

        :param key_id: branch key id.
        :raises KeyExistsError: the id exists.
        """

    @abstractmethod
    def rotate(self, key_id: str) -> KeyVersion:
        """Create a new version for new values; older versions stay readable.

        :param key_id: branch key id.
        """

    def rotate_from(self, key_id: str, version: str) -> KeyVersion | None:
        """Rotate a key whose newest version is still the given one.

        :param key_id: the branch key id.
        :param version: the UUID of the version that the caller has seen as the newest.
        :returns: the new version; ``None`` if somebody else has rotated it.
        """
        newest = self.newest_versions([key_id]).get(key_id, version)
        return self.rotate(key_id) if newest == version else None

    def list_beacons(self, key_id: str) -> list[BeaconVersion]:
        """The active beacon key versions, the newest last, without their material.

        :param key_id: branch key id.
        :raises ConfigurationError: the store has one beacon key per key and records no dates.
        """
        raise self._has_one_beacon()

    def rotate_beacon(self, key_id: str) -> BeaconVersion:
        """Create a second beacon key version besides the active one.

        :param key_id: branch key id.
        :raises ConfigurationError: there are already two, or the store allows only one.
        """
        raise self._has_one_beacon()

    def retire_beacon(self, key_id: str, version: int) -> None:
        """Wipe a beacon key version that is not the newest.

        :param key_id: the branch key id.
        :param version: the beacon key version's number.
        :raises ConfigurationError: it is the newest, or the store allows only one.
        :raises KeyNotFoundError: there is none with that number.
        """
        raise self._has_one_beacon()

    def refuse(self, key_id: str, version: str | None = None) -> bool:
        """Stop giving out a key, or one version of it; its wrapped material is kept.

        :param key_id: the branch key id.
        :param version: by default all of the key, its beacon key too.
        :returns: whether anything is refused now; ``False`` if the store cannot do it.
        """
        return False

    def readmit(self, key_id: str, version: str | None = None) -> None:  # noqa: B027 - most stores need nothing here
        """Undo :meth:`refuse`.

        :param key_id: the branch key id.
        :param version: by default all of the key, its beacon key too.
        """

    def destroy(self, key_id: str) -> list[KeyVersion]:
        """Wipe every version of a key, its beacon keys too.

        :param key_id: branch key id.
        :returns: the branch key versions that were wiped.
        :raises ConfigurationError: the store cannot.
        """
        raise self._cannot("destroy")

    def require_retirable(self, key_id: str, version: str) -> None:
        """Raise as :meth:`retire` would, and change nothing.

        :param key_id: the branch key id.
        :param version: the version's UUID, as text.
        """
        raise self._cannot("retire")

    def retire(self, key_id: str, version: str) -> None:
        """Wipe a version that is not the active one.

        :param key_id: the branch key id.
        :param version: the version's UUID, as text.
        :raises ConfigurationError: it is the active one, or the store cannot.
        """
        raise self._cannot("retire")

    def rewrap(self, new: Keyring, *, progress: OnRewrap | None = None) -> RewrapReport:
        """Move every wrapped key to another keyring, without touching a value.

        :param new: the keyring that wraps keys from now on.
        :param progress: called with the counts so far, after each key.
        :returns: the counts.
        :raises ConfigurationError: the store cannot do it, or the keyring only opens keys.
        """
        raise self._cannot("rewrap")

    def mover_to(self, new: Keyring) -> Callable[[str], RewrapReport]:
        """Use another keyring from now on, as :meth:`rewrap` does.

        :param new: the keyring that wraps from now on.
        :returns: a function that moves one key; it is called from several threads.
        :raises ConfigurationError: as :meth:`rewrap`.
        """
        raise self._cannot("rewrap")

    def create_table(self) -> None:
        """Create the store's table unless it exists.

        :raises ConfigurationError: the store does not use a table.
        """
        raise ConfigurationError(
            f"{type(self).__name__} has no table to create", reason="no-table-store"
        )

    def _cannot(self, verb: str) -> ConfigurationError:
        return ConfigurationError(f"{type(self).__name__} cannot {verb} keys", reason=f"no-{verb}")

    def _has_one_beacon(self) -> ConfigurationError:
        return ConfigurationError(
            f"{type(self).__name__} keeps exactly one beacon key for each key", reason="one-beacon"
        )

    # Last, because the name hides the type for what follows it.
    @abstractmethod
    def list(self) -> list[KeyVersion]:
        """Every version of every key, ordered by id and age, destroyed ones included."""


MAX_TRIES = 10
"""Attempts at a change that conflicts with others of the same key."""


class Conflict(Exception):
    """Another transaction got there first."""


def already_exists(key_id: str) -> KeyExistsError:
    """The error for an id that is taken."""
    return KeyExistsError(
        "a key of this id exists already; rotate it for a new version",
        key_id=key_id,
        reason="exists",
    )


def was_destroyed(key_id: str, when: dt.datetime | None = None) -> KeyDestroyedError:
    """The error for a destroyed key."""
    return KeyDestroyedError(
        f"the key was destroyed{f' on {when:%Y-%m-%d}' if when else ''}; what it sealed is gone",
        key_id=key_id,
        reason="destroyed",
    )


def was_retired(key_id: str, version: str, when: dt.datetime | None = None) -> KeyDestroyedError:
    """The error for a retired version of an active key."""
    return KeyDestroyedError(
        f"version {version} of this key was retired{f' on {when:%Y-%m-%d}' if when else ''}, when "
        "no value was under it. Restore the value, or the version's row in the key table, from a "
        "backup",
        key_id=key_id,
        reason="retired",
    )


def busy(key_id: str, advice: str = "retry") -> KeyUnavailableError:
    """The error for a key that others kept changing."""
    return KeyUnavailableError(
        f"other processes kept changing this key at the same time; {advice}",
        key_id=key_id,
        reason="error",
    )


def newest_version(key_id: str, version: str) -> ConfigurationError:
    """The error for a version that seals new values."""
    return ConfigurationError(
        f"version {version} is the newest of this key, under which new values are sealed; rotate "
        "the key and re-encrypt its values first, or destroy the whole key",
        key_id=key_id,
        reason="newest-version",
    )


def no_version(key_id: str, version: str) -> KeyNotFoundError:
    """The error for a version that is not there."""
    return KeyNotFoundError(
        f"this key has no version {version}; `encfields keys list` shows those it has",
        key_id=key_id,
        reason="no-version",
    )
