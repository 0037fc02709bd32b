"""The encryption of an engine, and what statements need from it.

A dialect object belongs to one engine (and its ``execution_options()`` views), and types get the
dialect but never the engine, so the dialect holds the encryption. There is no global state: the
encryption is collected with its engine.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Set
from typing import TYPE_CHECKING

from encfields.errors import ConfigurationError, KeyExistsError, KeyNotFoundError, NotAttachedError
from encfields.index.hashing import index_key
from encfields.kept_state import ATTACHMENT
from encfields.stats import Stats

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect

    from encfields.branch_key import BranchKey
    from encfields.keys.admin import KeyAdmin
    from encfields.keys.cache.key_cache import KeyCache
    from encfields.keys.versions import BeaconKey
    from encfields.legacy import LegacyReader
    from encfields.orm.sealed import OnReveal


LOOK_AGAIN_SECONDS = 1.0
"""Seconds before a process looks again for a beacon key version that it did not find."""

MAX_LOOKED_AGAIN = 1_000
"""Most keys for which that time is remembered."""


class EngineEncryption:
    """Seals, opens and looks up values for the statements of one engine.

    :class:`~encfields.engine.Encryption` is its public face.

    :ivar key_store: stores the engine's branch keys.
    :ivar cache: the cached ones.
    :ivar keys: administers them.
    :ivar find_key: returns the branch key version that a message names, by id and version.
    :ivar destroyed: what a value under a destroyed key reads as; ``"raise"`` for an error.
    :ivar holds_key: whether `find_key` would answer at once.
    :ivar on_reveal: called for each value of a lazy column that is revealed.
    :ivar legacy: readers of other programs' messages, by the column's logical name.
    """

    def __init__(
        self,
        cache: KeyCache,
        keys: KeyAdmin,
        *,
        create: bool,
        destroyed: object,
        legacy: Mapping[str, LegacyReader],
        on_reveal: OnReveal | None = None,
    ) -> None:
        self.key_store = cache.store
        self.cache = cache
        self.keys = keys
        self.find_key = cache.find
        self.holds_key = cache.holds
        self.destroyed = destroyed
        self.legacy = legacy
        self.on_reveal = on_reveal
        self.stats = Stats(cache)
        self._create = create
        self._looked_again: dict[str, float] = {}

    def active_key(self, key_id: str) -> BranchKey:
        """The branch key version that seals new values of `key_id`.

        :raises KeyStoreError: it cannot be fetched.
        """
        if not self._create:
            return self.cache.active(key_id)
        try:
            return self.cache.active(key_id)
        except KeyNotFoundError:
            pass
        except ConfigurationError as error:
            if error.reason != "no-key-table":
                raise
            self.keys.create_table()
        self._create_key(key_id)
        return self.cache.active(key_id)

    def index_key(
        self, key_id: str, version: int, domain: str, derivation: str, *, for_writing: bool
    ) -> bytes:
        """The key of a blind index, 32 bytes.

        :param version: of the beacon key of `key_id`.
        :param for_writing: to store an index, not only to look one up.
        :raises KeyStoreError: the beacon key cannot be fetched, or has no such version.
        """
        key = self.index_key_at_hand(key_id, version, domain, derivation)
        if key is None:
            beacon = self._beacon(key_id, version, for_writing=for_writing)
            key = beacon.derived.get((domain, derivation))
            if key is None:
                key = index_key(beacon.material, domain, derivation)
                beacon.derived[domain, derivation] = key
        return key

    def index_key_at_hand(
        self, key_id: str, version: int, domain: str, derivation: str
    ) -> bytes | None:
        """The key of a blind index, if it is cached and may be used without a request."""
        for beacon in self.cache.beacons_at_hand(key_id):
            if beacon.version == version:
                key: bytes | None = beacon.derived.get((domain, derivation))
                return key
        return None

    def _beacons(self, key_id: str, *, for_writing: bool) -> tuple[BeaconKey, ...]:
        try:
            return self.cache.beacons(key_id, for_writing=for_writing)
        except KeyNotFoundError:
            if not self._create:
                raise
        except ConfigurationError as error:
            if not self._create or error.reason != "no-key-table":
                raise
        self.active_key(key_id)  # creates it together with its beacon key
        return self.cache.beacons(key_id, for_writing=for_writing)

    def _beacon(self, key_id: str, version: int, *, for_writing: bool) -> BeaconKey:
        beacons = self._beacons(key_id, for_writing=for_writing)
        if version > beacons[-1].version and self._may_look_again(key_id):
            # It may have been created since the last look.
            beacons = self.cache.refetched_beacons(key_id)
        for beacon in beacons:
            if beacon.version == version:
                return beacon
        in_force = ", ".join(str(beacon.version) for beacon in beacons)
        raise KeyNotFoundError(
            f"its beacon key has no version {version}, only {in_force}: make the next one with "
            "keys.rotate_beacon(), or name in BlindIndex(versions=...) those that are in force",
            key_id=key_id,
            reason="beacon-version",
        )

    def _may_look_again(self, key_id: str) -> bool:
        """Whether the last look is long enough ago: each costs a KMS call."""
        now = time.monotonic()
        if now < self._looked_again.get(key_id, 0.0) + LOOK_AGAIN_SECONDS:
            return False
        if len(self._looked_again) >= MAX_LOOKED_AGAIN:
            self._looked_again.clear()
        self._looked_again[key_id] = now
        return True

    def require_keys(self, key_ids: Set[str]) -> None:
        """Fetch the active versions of several keys at once, except cached ones. A missing key
        raises only when it is used.

        :raises KeyStoreError: one cannot be fetched.
        """
        self._prefetch_missing(self.cache.without(key_ids), beacons=False)

    def require_beacons(self, key_ids: Set[str]) -> None:
        """Fetch the beacon keys of several keys at once, except cached ones.

        :raises KeyStoreError: one cannot be fetched.
        """
        self._prefetch_missing(self.cache.without(key_ids, beacons=True), beacons=True)

    def _prefetch_missing(self, missing: list[str], *, beacons: bool) -> None:
        if len(missing) > 1:
            try:
                self.cache.prefetch(missing, active_only=True, beacons=beacons)
            except ConfigurationError as error:
                if not self._create or error.reason != "no-key-table":
                    raise

    def _create_key(self, key_id: str) -> None:
        try:
            self.keys.create(key_id)
        except KeyExistsError:  # another process just created it
            self.cache.forget(key_id)


class Attachment:
    """Holds a dialect's encryption; empty until ``attach()`` fills it.

    :ivar handle: what ``attach()`` returned.
    """

    __slots__ = ("encryption", "handle")

    def __init__(self) -> None:
        self.encryption: EngineEncryption | None = None
        self.handle: object = None

    def require(self, table: str | None = None, column: str | None = None) -> EngineEncryption:
        """The encryption.

        :raises NotAttachedError: there is none.
        """
        if self.encryption is None:
            raise NotAttachedError(
                "this engine has no encryption: call encfields.attach(engine, key_store) once, "
                "where the engine is created",
                table=table,
                column=column,
                reason="not-attached",
            )
        return self.encryption


def attachment_of(dialect: Dialect) -> Attachment:
    """The attachment of `dialect`, created on first use."""
    attachment: Attachment | None = vars(dialect).get(ATTACHMENT)
    if attachment is None:
        attachment = vars(dialect).setdefault(ATTACHMENT, Attachment())
    return attachment
