"""The administration of keys, as ``encryption.keys``."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from encfields.errors import ConfigurationError
from encfields.keys.beacon_admin import BeaconAdmin
from encfields.keys.beacon_key import BeaconVersion
from encfields.keys.cache import KeyCache
from encfields.keys.destruction import DestructionReceipt, Unreadable
from encfields.keys.keyrings import Keyring
from encfields.keys.rewrap import Progress, RewrapReport
from encfields.keys.store import KeyStore, KeyVersion
from encfields.traces import leaves_no_trace

if TYPE_CHECKING:
    from encfields.reencrypt.spec import TableSpec

Versions = list[KeyVersion]
BeaconVersions = list[BeaconVersion]
Specs = Sequence["TableSpec"]

Counted = tuple[list[str], list[Any]]
Count = Callable[[Specs, str], Counted]
"""Counts the values under a key: the tables looked at, and columns with table, column, values."""


class KeyAdmin:
    """Creates, rotates and lists keys. Each verb has a twin with an ``a`` for coroutines.

    Called from a coroutine, the plain verbs block the event loop; the twins do not.

    :param store: where keys are kept.
    :param cache: the cache of this process, which uses a new version at once. Other processes
        use it when their copy of the old one expires.
    :param count: counts the values under a key before it is destroyed.
    """

    def __init__(self, store: KeyStore, cache: KeyCache, count: Count | None = None) -> None:
        self._store = store
        self._cache = cache
        self._count = count
        self._beacons = BeaconAdmin(store, cache)

    def __repr__(self) -> str:
        return f"<KeyAdmin of {self._store!r}>"

    @leaves_no_trace
    def create(self, key_id: str) -> KeyVersion:
        """Make a new key.

        :param key_id: for instance ``"default"`` or ``"tenant/42"``, at most 255 characters.
        :raises KeyExistsError: there is one of that id; that one is in force.
        :raises KeyUnavailableError: KMS or the database is out of reach.
        :raises ConfigurationError: the key table is missing, or the keyring only opens.
        """
        made = self._store.create(key_id)
        self._cache.forget(key_id)
        return made

    async def acreate(self, key_id: str) -> KeyVersion:
        """:meth:`create` from a coroutine."""
        return await self._cache.runner.arun(lambda: self.create(key_id))

    @leaves_no_trace
    def rotate(self, key_id: str) -> KeyVersion:
        """Make a new version, which seals new values from now on; old values stay readable.

        :raises KeyNotFoundError: there is no such key.
        :raises KeyDestroyedError: it was destroyed.
        :raises KeyUnavailableError: KMS or the database is out of reach.
        """
        made = self._store.rotate(key_id)
        self._cache.forget(key_id, active_only=True)
        return made

    async def arotate(self, key_id: str) -> KeyVersion:
        """:meth:`rotate` from a coroutine."""
        return await self._cache.runner.arun(lambda: self.rotate(key_id))

    @leaves_no_trace
    def rotate_beacon(self, key_id: str) -> BeaconVersion:
        """Make a second beacon key version beside the one in force. Values are then indexed and
        looked for under both, until :meth:`retire_beacon`; see :mod:`encfields.keys.beacon_admin`.

        :raises ConfigurationError: there are two already, or the key store allows one only.
        :raises KeyNotFoundError: there is no such key.
        :raises KeyDestroyedError: it was destroyed.
        """
        return self._beacons.rotate(key_id)

    async def arotate_beacon(self, key_id: str) -> BeaconVersion:
        """:meth:`rotate_beacon` from a coroutine."""
        return await self._cache.runner.arun(lambda: self.rotate_beacon(key_id))

    def retire_beacon(self, key_id: str, version: int, *, at_once: bool = False) -> None:
        """Wipe the older of two beacon key versions. A value that is indexed only under it is
        not found any more: first index all values under the newer one.

        :param version: its number.
        :param at_once: also while other processes may not know the newer one yet.
        :raises ConfigurationError: it is the newest; or (``reason`` is ``"too-early"``) the
            newest was made less than this process's ``cache_ttl`` and ``cache_grace`` ago; or the
            key store allows one only.
        :raises KeyNotFoundError: there is none of that number.
        """
        self._beacons.retire(key_id, version, at_once=at_once)

    async def aretire_beacon(self, key_id: str, version: int, *, at_once: bool = False) -> None:
        """:meth:`retire_beacon` from a coroutine."""
        await self._cache.runner.arun(lambda: self.retire_beacon(key_id, version, at_once=at_once))

    def list_beacons(self, key_id: str) -> BeaconVersions:
        """The beacon key versions in force, the newest last; never any key material."""
        return self._beacons.list(key_id)

    async def alist_beacons(self, key_id: str) -> BeaconVersions:
        """:meth:`list_beacons` from a coroutine."""
        return await self._cache.runner.arun(lambda: self.list_beacons(key_id))

    def count_values(self, key_id: str, specs: Specs) -> list[Unreadable]:
        """What destroying a key would make unreadable. Every row is looked at; no key is used.

        :param specs: every table that may hold values under the key
            (:class:`encfields.reencrypt.spec.TableSpec`); others are not looked at.
        :returns: the columns with values under any version of the key.
        """
        return [Unreadable(o.table, o.column, o.values) for o in self._counted(key_id, specs)[1]]

    def _counted(self, key_id: str, specs: Specs) -> Counted:
        if self._count is None:
            raise ConfigurationError(
                "no database is known to count values in; use the keys of an attached engine",
                reason="no-database",
            )
        return self._count(specs, key_id)

    def destroy(
        self,
        key_id: str,
        *,
        confirm: str | None = None,
        specs: Specs | None,
        signed_off_by: str | None = None,
    ) -> DestructionReceipt:
        """Destroy a key for good: crypto-shredding of everything under it.

        The wrapped material of all its versions is wiped, dated tombstones stay, and this
        process forgets it at once; others use it until their copy expires (see the receipt).
        Reads then raise :class:`~encfields.errors.KeyDestroyedError`. The id is never free again.
        Backups of the key table still hold the wrapped key: it is gone for good when they are.

        :param confirm: the very key id, once more. Otherwise nothing is done, and the error says
            how many values would become unreadable.
        :param specs: the tables to count first, every one that may hold values under the key;
            ``None`` destroys without counting.
        :param signed_off_by: who answers for it; stands in the receipt.
        :raises ConfigurationError: not confirmed (``reason`` is ``"not-confirmed"``), or the
            key store cannot destroy.
        :raises KeyNotFoundError: there is no such key.
        :raises KeyDestroyedError: it was destroyed before.
        """
        wipe = self._verb("destroy")
        tables, found = (None, []) if specs is None else self._counted(key_id, specs)
        unreadable = tuple(Unreadable(one.table, one.column, one.values) for one in found)
        if confirm != key_id:
            raise _not_confirmed(key_id, unreadable, counted=tables is not None)
        try:
            wiped: Versions = wipe(key_id)
        finally:
            self._cache.forget(key_id)
        now = dt.datetime.now(dt.UTC)
        kept = dt.timedelta(seconds=self._cache.ttl + self._cache.grace)
        return DestructionReceipt(
            key_id=key_id,
            destroyed_at=min((one.destroyed_at or now for one in wiped), default=now),
            versions=tuple(one.version for one in wiped),
            store=repr(self._store),
            tables=None if tables is None else tuple(tables),
            unreadable=unreadable,
            cached_until=now + kept,
            signed_off_by=signed_off_by,
        )

    async def adestroy(
        self,
        key_id: str,
        *,
        confirm: str | None = None,
        specs: Specs | None,
        signed_off_by: str | None = None,
    ) -> DestructionReceipt:
        """:meth:`destroy` from a coroutine."""
        return await self._cache.runner.arun(
            lambda: self.destroy(key_id, confirm=confirm, specs=specs, signed_off_by=signed_off_by)
        )

    @leaves_no_trace
    def rewrap(self, keyring: Keyring, *, progress: Progress | None = None) -> RewrapReport:
        """Move all keys to another keyring, without touching a value. See
        :meth:`SqlKeyStore.rewrap <encfields.keys.sql_store.SqlKeyStore.rewrap>`.

        :param keyring: wraps from now on.
        :param progress: told after each wrapped key.
        :raises ConfigurationError: the key store cannot rewrap, or the keyring only opens.
        """
        report: RewrapReport = self._verb("rewrap")(keyring, progress=progress)
        return report

    async def arewrap(self, keyring: Keyring, *, progress: Progress | None = None) -> RewrapReport:
        """:meth:`rewrap` from a coroutine."""
        return await self._cache.runner.arun(lambda: self.rewrap(keyring, progress=progress))

    def _verb(self, name: str) -> Any:
        found = getattr(self._store, name, None)
        if found is None:
            raise ConfigurationError(
                f"{type(self._store).__name__} cannot {name} keys", reason=f"no-{name}"
            )
        return found

    def create_table(self) -> None:
        """Make the key table unless it is there.

        :raises ConfigurationError: the store keeps its keys elsewhere than in a table.
        """
        make = getattr(self._store, "create_table", None)
        if make is None:
            raise ConfigurationError(
                f"{type(self._store).__name__} has no table to make", reason="no-table-store"
            )
        make()

    async def acreate_table(self) -> None:
        """:meth:`create_table` from a coroutine."""
        await self._cache.runner.arun(self.create_table)

    async def alist(self) -> Versions:
        """:meth:`list` from a coroutine."""
        return await self._cache.runner.arun(self._store.list)

    def list(self) -> Versions:
        """Every version of every key, ordered by id and age; never any key material."""
        return self._store.list()


def _not_confirmed(
    key_id: str, unreadable: Sequence[Unreadable], *, counted: bool
) -> ConfigurationError:
    places = ", ".join(f"{o.table}.{o.column} ({o.values:,} values)" for o in unreadable)
    if not counted:
        told = "what is under it was not counted"
    else:
        told = f"these would become unreadable: {places}" if places else "nothing is under it"
    return ConfigurationError(
        f"nothing was destroyed: {told}. Confirm with confirm={key_id!r} (on the command line: "
        "--confirm)",
        key_id=key_id,
        reason="not-confirmed",
    )
