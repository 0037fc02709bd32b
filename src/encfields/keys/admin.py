"""The administration of keys, as ``encryption.keys``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

from encfields.errors import ConfigurationError
from encfields.expected_arguments import ANY_TEXT, CALLABLE, COUNT, FLAG, KEY_ID, SPECS, takes
from encfields.keys.cache.key_cache import KeyCache
from encfields.keys.coroutine_twins import twin_for_coroutines
from encfields.keys.keyrings.keyring import Keyring
from encfields.keys.removal import (
    CountableTables,
    Counted,
    CountValues,
    DestructionReceipt,
    ValuesUnder,
    loss,
    no_database,
    no_tables,
    receipt_of,
    refused,
    require_known_everywhere,
    require_replaced_before,
    values_left,
)
from encfields.keys.store import KeyStore
from encfields.keys.versions import (
    BeaconVersion,
    BeaconVersionList,
    KeyVersion,
    KeyVersionList,
    OnRewrap,
    RewrapReport,
    asked_ids,
)
from encfields.traces import leaves_no_trace

if TYPE_CHECKING:
    from encfields.keys.many.many_keys import ManyKeys


class KeyAdmin:
    """Creates, rotates and lists keys. Each verb has a twin with an ``a`` for coroutines.

    In a coroutine the plain verbs block the event loop; the twins do not.

    :param store: stores the keys.
    :param cache: the cache of this process, which uses a new version at once. Other processes use
        it when their copy of the old one expires.
    :param count: counts the values under a key before it is destroyed.
    """

    def __init__(self, store: KeyStore, cache: KeyCache, count: CountValues | None = None) -> None:
        self._store = store
        self._cache = cache
        self._count = count

    def __repr__(self) -> str:
        return f"<KeyAdmin of {self._store!r}>"

    def _break_off(self) -> None:
        """One key is done with soon, and is done with."""

    @property
    def store_name(self) -> str:
        """The key store's logical name, to which every key is bound."""
        return self._store.name

    @leaves_no_trace
    @takes(key_id=KEY_ID)
    def create(self, key_id: str) -> KeyVersion:
        """Create a new key.

        :param key_id: for instance ``"default"`` or ``"tenant/42"``, at most 255 characters.
        :returns: the new key's first version.
        :raises KeyExistsError: the id exists; that key stays active.
        :raises KeyUnavailableError: KMS or the database is unreachable.
        :raises ConfigurationError: the key table is missing, or the keyring only opens.
        """
        made = self._store.create(key_id)
        self._cache.forget(key_id)
        return made

    acreate = twin_for_coroutines(create)

    @leaves_no_trace
    @takes(key_id=KEY_ID)
    def rotate(self, key_id: str) -> KeyVersion:
        """Create a new version, which seals new values from now on; old values stay readable.

        :param key_id: branch key id.
        :returns: the new version.
        :raises KeyNotFoundError: there is no such key.
        :raises KeyDestroyedError: it was destroyed.
        :raises KeyUnavailableError: KMS or the database is unreachable.
        """
        made = self._store.rotate(key_id)
        self._cache.forget(key_id, active_only=True)
        return made

    arotate = twin_for_coroutines(rotate)

    @leaves_no_trace
    @takes(key_id=KEY_ID)
    def rotate_beacon(self, key_id: str) -> BeaconVersion:
        """Create a second beacon key version besides the active one. Values are then indexed and
        looked up under both, until :meth:`retire_beacon`.

        Other processes learn of it when their cached copy of the old one expires, so for
        ``cache_ttl`` seconds some index only under the old one. Wait for that, index older values
        again, and then call :meth:`retire_beacon`.

        :param key_id: branch key id.
        :raises ConfigurationError: there are already two, or the key store allows only one.
        :raises KeyNotFoundError: there is no such key.
        :raises KeyDestroyedError: it was destroyed.
        """
        made = self._store.rotate_beacon(key_id)
        self._cache.forget_beacons(key_id)
        return made

    arotate_beacon = twin_for_coroutines(rotate_beacon)

    @takes(key_id=KEY_ID, version=COUNT, at_once=FLAG)
    def retire_beacon(self, key_id: str, version: int, *, at_once: bool = False) -> None:
        """Wipe the older of two beacon key versions. A value indexed only under it can no longer be
        found: index all values under the newer one first.

        :param key_id: branch key id.
        :param version: its number.
        :param at_once: do it even if other processes may not know the newer one yet.
        :raises ConfigurationError: it is the newest; or (``reason`` is ``"too-early"``) the newest
            was created less than this process's ``cache_ttl`` and ``cache_grace`` ago; or the key
            store allows only one.
        :raises KeyNotFoundError: there is none with that number.
        """
        *older, newest = self._store.list_beacons(key_id)
        if not at_once and version in [version.version for version in older]:
            require_known_everywhere(newest, self._cache.ttl + self._cache.grace)
        self._store.retire_beacon(key_id, version)
        self._cache.forget_beacons(key_id)

    aretire_beacon = twin_for_coroutines(retire_beacon)

    @takes(key_id=KEY_ID)
    def list_beacons(self, key_id: str) -> BeaconVersionList:
        """The active beacon key versions, the newest last; never any key material.

        :param key_id: branch key id.
        """
        return self._store.list_beacons(key_id)

    alist_beacons = twin_for_coroutines(list_beacons)

    def without_beacon(self, key_ids: Iterable[str]) -> Sequence[str]:
        """Those of some keys that have no beacon key in force, in order; nothing is unwrapped.

        :param key_ids: branch key ids.
        """
        asked = asked_ids(key_ids)
        held = {one.id for one in self._store.wrapped_beacons(asked)} if asked else set()
        return sorted(asked - held)

    awithout_beacon = twin_for_coroutines(without_beacon)

    @takes(key_id=KEY_ID, specs=SPECS)
    def count_values(self, key_id: str, specs: CountableTables) -> list[ValuesUnder]:
        """Count what destroying a key would make unreadable. Reads every row; uses no key.

        :param key_id: branch key id.
        :param specs: every table that may hold values under the key
            (:class:`encfields.bulk.rows.spec.TableSpec`); others are not counted.
        :returns: the columns with values under any version of the key.
        """
        return self._counted(key_id, specs)[1]

    acount_values = twin_for_coroutines(count_values)

    def _counted(self, key_id: str, specs: CountableTables, version: str | None = None) -> Counted:
        if self._count is None:
            raise no_database()
        return self._count(specs, key_id, version)

    @takes(
        key_id=KEY_ID,
        specs=SPECS.or_none,
        signed_off_by=ANY_TEXT.or_none,
        at_once=FLAG,
    )
    def destroy(
        self,
        key_id: str,
        *,
        confirm: str | None = None,
        specs: CountableTables | None,
        signed_off_by: str | None = None,
        at_once: bool = False,
    ) -> DestructionReceipt:
        """Destroy a key for good: crypto-shredding of everything under it.

        First the key store refuses the key: no process can fetch it, and those that have cached it
        stop sealing under it within ``cache_check`` seconds, for which this waits. Then the values
        under it are counted, the wrapped material of all its versions is wiped, and dated
        tombstones stay. If it is interrupted, call it again to finish. Other processes read with
        their copy until it expires (see the receipt).

        Reads then raise :class:`~encfields.errors.KeyDestroyedError`. The id is never used again.
        Backups of the key table still hold the wrapped key: it is lost for good only with them.
        Values that a transaction has sealed but not committed are not counted.

        :param key_id: branch key id.
        :param confirm: the key id again. Otherwise nothing is done, and the error says how many
            values would become unreadable.
        :param specs: the tables to count first, every one that may hold values under the key;
            ``None`` destroys without counting.
        :param signed_off_by: who is responsible; recorded in the receipt.
        :param at_once: do not wait. Values that other processes seal under the key within their
            ``cache_check`` are then lost, and not counted.
        :returns: the receipt.
        :raises ConfigurationError: not confirmed (``reason`` is ``"not-confirmed"``), or the
            key store cannot destroy.
        :raises KeyNotFoundError: there is no such key.
        :raises KeyDestroyedError: it was destroyed before.
        """
        if confirm != key_id:
            counted = None if specs is None else self.count_values(key_id, specs)
            raise _not_confirmed(key_id, counted)
        try:
            with nullcontext() if at_once else refused(self._store, self._cache, key_id, None):
                tables, unreadable = (None, []) if specs is None else self._counted(key_id, specs)
                wiped = self._store.destroy(key_id)
        finally:
            self._cache.forget(key_id)
        return receipt_of(
            self._store,
            self._cache,
            key_id,
            wiped,
            tables=tables,
            unreadable=unreadable,
            signed_off_by=signed_off_by,
        )

    adestroy = twin_for_coroutines(destroy)

    @takes(key_id=KEY_ID, version=ANY_TEXT, specs=SPECS, at_once=FLAG)
    def retire(
        self, key_id: str, version: str, *, specs: CountableTables, at_once: bool = False
    ) -> None:
        """Wipe a version without values, so that nothing can ever be read or forged under it.

        The values under it are counted first, and again after the key store has refused the version
        for ``cache_check`` seconds: a value that another process sealed under it meanwhile keeps it
        active. Reads under it then raise :class:`~encfields.errors.KeyDestroyedError`, with the
        reason ``"retired"``, whatever ``attach(destroyed=...)`` says.

        :param key_id: branch key id.
        :param version: its UUID text; not the newest. See :meth:`list`.
        :param specs: every table that may hold values under the key; at least one. Values that
            :meth:`Encryption.seal <encfields.engine.Encryption.seal>` made are in none.
        :param at_once: do it even if its successor is younger than this process's ``cache_ttl``, so
            that a process that cannot reach the key store may still seal under it; and do not wait
            before the second count.
        :raises ConfigurationError: it is the newest; or values are under it (``reason`` is
            ``"values-left"``, the message says where); or (``"too-early"``) it was replaced only
            just now; or no table is named.
        :raises KeyNotFoundError: there is no such version.
        :raises KeyDestroyedError: it was retired before, or the key destroyed.
        """
        self._store.require_retirable(key_id, version)
        if not specs:
            raise no_tables(key_id)
        if not at_once:
            require_replaced_before(self._versions_of(key_id), version, self._cache.ttl)
        self._require_nothing_under(key_id, version, specs)
        try:
            with nullcontext() if at_once else refused(self._store, self._cache, key_id, version):
                if not at_once:
                    self._require_nothing_under(key_id, version, specs)
                self._store.retire(key_id, version)
        finally:
            self._cache.forget(key_id)

    aretire = twin_for_coroutines(retire)

    def _require_nothing_under(self, key_id: str, version: str, specs: CountableTables) -> None:
        _, values = self._counted(key_id, specs, version)
        if values:
            raise values_left(key_id, version, values)

    def _versions_of(self, key_id: str) -> KeyVersionList:
        return self._store.versions_of([key_id])

    @leaves_no_trace
    @takes(progress=CALLABLE.or_none)
    def rewrap(self, keyring: Keyring, *, progress: OnRewrap | None = None) -> RewrapReport:
        """Move all keys to another keyring, without touching a value. See
        :meth:`SqlKeyStore.rewrap <encfields.keys.sql.store.SqlKeyStore.rewrap>`. The first key
        that fails stops it; ``each().rewrap(keyring)`` continues with the others.

        :param keyring: wraps from now on.
        :param progress: called after each wrapped key.
        :raises ConfigurationError: the key store cannot rewrap, or the keyring only opens.
        """
        return self._store.rewrap(keyring, progress=progress)

    arewrap = twin_for_coroutines(rewrap)

    def each(self, key_ids: Iterable[str] | None = None, *, like: str | None = None) -> ManyKeys:
        """The same verbs on many keys at once: ``encryption.keys.each(like="tenant/*").rotate()``.

        :param key_ids: their ids; by default all keys.
        :param like: a pattern that their ids match: ``*`` is any text, ``?`` any one character,
            and anything else is literal.
        :returns: the verbs for these keys.
        :raises ConfigurationError: both are given.
        """
        from encfields.keys.many.many_keys import (
            ManyKeys,  # not at every program's start
            Selection,
        )

        return ManyKeys(self._store, self._cache, self._count, Selection(key_ids, like))

    def create_table(self) -> None:
        """Create the key table unless it exists.

        :raises ConfigurationError: the store does not use a table.
        """
        self._store.create_table()

    acreate_table = twin_for_coroutines(create_table)

    def list(self) -> KeyVersionList:
        """Every version of every key, ordered by id and age; never any key material."""
        return self._store.list()

    alist = twin_for_coroutines(list)


def _not_confirmed(key_id: str, unreadable: Sequence[ValuesUnder] | None) -> ConfigurationError:
    return ConfigurationError(
        f"nothing was destroyed: {loss(unreadable)}. Confirm with confirm={key_id!r} (on the "
        "command line: --confirm)",
        key_id=key_id,
        reason="not-confirmed",
    )
