"""Branch keys in one table of the application's own database, each wrapped by a keyring."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from sqlalchemy import Engine, Table

from encfields.arguments import is_unicode, kind
from encfields.branch_key import BranchKey
from encfields.errors import ConfigurationError
from encfields.keys.fetching.loop_runner import LoopRunner
from encfields.keys.fetching.runner import Runner, ThreadRunner
from encfields.keys.keyrings.keyring import Keyring
from encfields.keys.sql import removal
from encfields.keys.sql.beacons import Beacons
from encfields.keys.sql.branch_keys import BranchKeys
from encfields.keys.sql.bring_over import bring_over
from encfields.keys.sql.rewrap import rewrap_key, rewrap_rows
from encfields.keys.sql.row_wrapper import RowWrapper
from encfields.keys.sql.rows import BEACON, BRANCH
from encfields.keys.sql.schema import TABLE_NAME, key_table
from encfields.keys.sql.store_name import check_store_name
from encfields.keys.sql.table import KeyTable
from encfields.keys.store import KeyStore
from encfields.keys.versions import (
    BeaconKey,
    BeaconVersion,
    KeyVersion,
    KeyVersionList,
    OnRewrap,
    RewrapReport,
    WrappedBeacons,
    WrappedKey,
)
from encfields.traces import leaves_no_trace

if TYPE_CHECKING:
    from encfields.keys.keyrings.rewrap import Rewrapper


class SqlKeyStore(KeyStore):
    """Branch keys in one table, one row per version, accessed on separate connections.

    :param keyring: one of :mod:`encfields.keyrings`; it wraps every key.
    :param former: keyrings that wrapped keys before, and open those that are not rewrapped yet.
    :param table_name: name of the key table.
    :param schema: schema of the key table.
    :param engine: the database; ``attach()`` binds the store to the attached engine otherwise.
    :param name: the key store's logical name, for instance ``"production"``. It is chosen when the
        table is created, and permanently bound to every key: a key of another store does not open.
        Without it, the name is the one in the table, by default a random one; then anybody who can
        write to the table can change that too (:mod:`encfields.keys.sql.store_name`).
    :raises ConfigurationError: the name is unusable.
    """

    confirms_at_once = 1_000
    """See :class:`~encfields.keys.store.KeyStore`."""

    @leaves_no_trace  # who confuses a keyring with its key gives the key
    def __init__(
        self,
        keyring: Keyring,
        *,
        name: str | None = None,
        table_name: str = TABLE_NAME,
        schema: str | None = None,
        engine: Engine | None = None,
        former: Sequence[Keyring] = (),
    ) -> None:
        given_name = None if name is None else check_store_name(name)
        _check_name("table_name", table_name)
        if schema is not None:
            _check_name("schema", schema)
        if not isinstance(former, list | tuple):
            raise ConfigurationError("former= takes a list of keyrings", reason="keyring")
        self._former = tuple(former)
        self._table = KeyTable(key_table(table_name, schema), given_name)
        self._wrapper = RowWrapper(self._table, keyring, self._former)
        self._keys = BranchKeys(self._table, self._wrapper)
        self._beacons = Beacons(self._table, self._wrapper)
        if engine is not None:
            self.bind(engine)

    def __repr__(self) -> str:
        return f"<SqlKeyStore table={self._table.fullname!r} {self.keyring!r}>"

    @property
    def keyring(self) -> Keyring:
        """The keyring that wraps new keys."""
        return self._wrapper.current.keyring

    @property
    def table(self) -> Table:
        """The key table's declaration."""
        return self._table.table

    # -- the database --------------------------------------------------------------------------

    def bind(self, engine: Engine) -> None:
        """Use the database of `engine`; for an ``AsyncEngine``, give its ``sync_engine``.

        :raises ConfigurationError: the store already serves another engine.
        """
        if not isinstance(engine, Engine):
            raise ConfigurationError(
                f"a key store is bound to an Engine, not to {kind(engine)}",
                reason="engine",
            )
        self._table.bind(engine)

    @property
    def is_bound(self) -> bool:
        """Whether the store knows its database."""
        return self._table.is_bound

    @property
    def needs_greenlet(self) -> bool:
        """Whether keys can only be read by awaiting: an in-memory database that is async."""
        return self._table.connection.on_caller

    @property
    def runner(self) -> Runner:
        """How the cache runs fetches from this store."""
        own = self._table.connection
        return LoopRunner(on_caller=own.on_caller) if own.is_async else ThreadRunner()

    def preload(self) -> None:
        """Import the modules that unwrap keys now, not when the first one is fetched."""
        from encfields.keys.aws.clients import preload

        preload(*self.keyring.services)

    @property
    def may_fetch_in_background(self) -> bool:
        """Whether our threads may read keys at any time, which they may not on a borrowed
        connection."""
        return self._table.connection.is_ours_alone

    def create_table(self) -> None:
        """Create the key table unless it exists, with the key store's name in it; safe in several
        processes at once.

        :raises ConfigurationError: the table is another key store's, or from a development version
            without key store names.
        """
        self._table.create()

    def has_table(self) -> bool:
        """Whether the key table exists."""
        return self._table.exists()

    @property
    def name(self) -> str:
        """The key store's logical name: the one given, else the one in the table.

        :raises ConfigurationError: it has none; see :meth:`create_table`.
        :raises KeyUnavailableError: the database is out of reach.
        """
        return self._table.name

    # -- reading keys --------------------------------------------------------------------------

    def active(self, key_id: str) -> BranchKey:
        """See :meth:`KeyStore.active <encfields.keys.store.KeyStore.active>`.

        :raises KeyAccessError: a row of the key is malformed, two have one number, or the newest
            version is older than one that this process has seen.
        """
        return self._keys.active(key_id)

    def version(self, key_id: str, version: str) -> BranchKey:
        """See :meth:`KeyStore.version <encfields.keys.store.KeyStore.version>`."""
        return self._keys.version(key_id, version)

    def newest_versions(self, key_ids: Collection[str]) -> Mapping[str, str]:
        """See :meth:`KeyStore.newest_versions <encfields.keys.store.KeyStore.newest_versions>`."""
        return self._keys.newest_versions(key_ids)

    def versions_of(self, key_ids: Collection[str] | None) -> KeyVersionList:
        """See :meth:`KeyStore.versions_of <encfields.keys.store.KeyStore.versions_of>`."""
        return self._keys.versions_of(key_ids)

    def wrapped_many(self, key_ids: Collection[str] | None) -> list[WrappedKey]:
        """See :meth:`KeyStore.wrapped_many <encfields.keys.store.KeyStore.wrapped_many>`.

        Takes a query for each :data:`~encfields.keys.sql.table.MAX_IDS_IN_QUERY` ids.
        """
        return self._keys.wrapped(key_ids)

    def beacon(self, key_id: str) -> bytes:
        """The newest version's; see :meth:`KeyStore.beacon
        <encfields.keys.store.KeyStore.beacon>`."""
        return self.beacons(key_id)[-1].material

    def beacons(self, key_id: str) -> list[BeaconKey]:
        """Every beacon key version in force, the newest last.

        :raises KeyNotFoundError: there is no such key.
        :raises KeyDestroyedError: it was destroyed.
        """
        return self._beacons.unwrap(key_id)

    def wrapped_beacons(self, key_ids: Collection[str]) -> list[WrappedBeacons]:
        """See :meth:`KeyStore.wrapped_beacons <encfields.keys.store.KeyStore.wrapped_beacons>`."""
        return self._beacons.wrapped(key_ids)

    def wrapped_with_beacons(
        self, key_ids: Collection[str] | None
    ) -> tuple[list[WrappedKey], list[WrappedBeacons]]:
        """See :meth:`KeyStore.wrapped_with_beacons
        <encfields.keys.store.KeyStore.wrapped_with_beacons>`."""
        rows = self._table.rows_of_many(None, key_ids)
        of_branches = [row for row in rows if row.purpose == BRANCH]
        of_beacons = [row for row in rows if row.purpose == BEACON]
        return self._keys.wrapped_in(of_branches), self._beacons.wrapped_in(of_beacons)

    # -- administration ------------------------------------------------------------------------

    def create(self, key_id: str) -> KeyVersion:
        """Create a new key, its first version and its beacon key, in one transaction.

        :raises ConfigurationError: the id is unusable, the table is missing, or the keyring cannot
            wrap.
        :raises KeyExistsError: there is a key with that id, perhaps just created by another
            process; that one is in force.
        """
        return self._keys.create(key_id)

    def rotate(self, key_id: str) -> KeyVersion:
        """See :meth:`KeyStore.rotate <encfields.keys.store.KeyStore.rotate>`.

        Concurrent rotations each create a version; the last one stays active.
        """
        return self._keys.rotate(key_id)

    def rotate_from(self, key_id: str, version: str) -> KeyVersion | None:
        """See :meth:`KeyStore.rotate_from <encfields.keys.store.KeyStore.rotate_from>`. Of many
        concurrent calls, one rotates."""
        return self._keys.rotate_from(key_id, version)

    def list_beacons(self, key_id: str) -> list[BeaconVersion]:
        """Their public data; no key is unwrapped."""
        return self._beacons.list(key_id)

    def rotate_beacon(self, key_id: str) -> BeaconVersion:
        """Create a second beacon key version, for a limited time: values are indexed under both
        until all are indexed under the new one.

        :raises ConfigurationError: there are two already.
        :raises KeyNotFoundError: there is no such key.
        :raises KeyDestroyedError: it was destroyed.
        """
        return self._beacons.rotate(key_id)

    def retire_beacon(self, key_id: str, version: int) -> None:
        """Wipe a beacon key version other than the newest. Values that are indexed only under it
        are no longer found.

        :raises ConfigurationError: it is the newest.
        :raises KeyNotFoundError: no version with that number is in force.
        """
        self._beacons.retire(key_id, version)

    def retire(self, key_id: str, version: str) -> None:
        """Wipe a version other than the newest. Values under it can no longer be read.

        :raises ConfigurationError: it is the newest.
        :raises KeyNotFoundError: there is no such version.
        :raises KeyDestroyedError: it was retired before.
        """
        removal.retire(self._table, self._keys, key_id, version)

    def require_retirable(self, key_id: str, version: str) -> None:
        """Raise as :meth:`retire` would, and change nothing."""
        removal.retirable_row(self._table, self._keys, key_id, version)

    def refuse(self, key_id: str, version: str | None = None) -> bool:
        """Refuse a key, or one version of it, to everybody from now on; the wrapped key is kept.

        :param version: by default all versions, and the beacon key.
        :returns: whether there is any.
        """
        return removal.set_refused(self._table, key_id, version, refused=True)

    def readmit(self, key_id: str, version: str | None = None) -> None:
        """Undo :meth:`refuse`."""
        removal.set_refused(self._table, key_id, version, refused=False)

    def destroy(self, key_id: str) -> list[KeyVersion]:
        """Wipe every version of a key, and its beacon key; a dated row without a key remains of
        each. Only a backup of the table can bring it back.

        :returns: the branch key versions that were wiped.
        :raises KeyNotFoundError: there is no such key.
        :raises KeyDestroyedError: it was destroyed before.
        """
        wiped = removal.destroy(self._table, key_id)
        self._table.forget_uncommitted(key_id)
        return wiped

    def rewrap(self, new: Keyring, *, progress: OnRewrap | None = None) -> RewrapReport:
        """Move every wrapped key to another keyring, without touching a value.

        If it is killed at any time, the next call continues where it left off. Keys stay readable
        throughout for stores with both keyrings, ``SqlKeyStore(new, former=[old])``; this one has
        both from now on.

        :param new: the keyring that wraps from now on; with one or several wrapping keys.
        :raises ConfigurationError: the new keyring can only open (discovery).
        :raises KeyAccessError: a key does not open, with the old keyring or, once wrapped by the
            new one, with each of its wrapping keys; its row was not changed.
        :raises KeyUnavailableError: KMS or the database is out of reach; call it again.
        """
        return rewrap_rows(self._table, self._rewrapper_to(new), progress)

    def mover_to(self, new: Keyring) -> Callable[[str], RewrapReport]:
        """See :meth:`KeyStore.mover_to <encfields.keys.store.KeyStore.mover_to>`."""
        return partial(rewrap_key, self._table, self._rewrapper_to(new))

    def _rewrapper_to(self, new: Keyring) -> Rewrapper:
        from encfields.keys.keyrings.rewrap import Rewrapper

        rewrapper = Rewrapper(new, self._wrapper.unwrap)
        self._wrapper.use(new)
        return rewrapper

    def bring_over(self) -> int:
        """Bind the keys of a development version's table to this key store.

        Every key is unwrapped and wrapped again; material, ids and values stay the same. If it is
        interrupted, run it again. First make sure that the table can be trusted: see
        :mod:`encfields.keys.sql.bring_over`.

        :returns: number of wrapped keys brought over.
        """
        return bring_over(self._table, self._wrapper.current)

    # Last, because the name hides the type from what follows.
    def list(self) -> list[KeyVersion]:
        """See :meth:`KeyStore.list <encfields.keys.store.KeyStore.list>`."""
        return self._keys.versions_of(None)


def table_behind(store: SqlKeyStore) -> KeyTable:
    """The key table of a store, for the library's own modules."""
    return store._table


def another_like(store: SqlKeyStore) -> Callable[[], SqlKeyStore]:
    """A function that creates another store like this one, not bound yet, in another process."""
    return partial(
        SqlKeyStore,
        store.keyring,
        name=store._table.given_name,
        table_name=store.table.name,
        schema=store.table.schema,
        former=store._former,
    )


def _check_name(option: str, name: object) -> None:
    if not isinstance(name, str) or not name or not is_unicode(name):
        raise ConfigurationError(f"{option}= takes a name of the database's", reason=option)
