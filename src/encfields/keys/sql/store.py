"""Branch keys in one table of the application's own database, each wrapped by a keyring."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import groupby
from time import monotonic, sleep
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, Engine, Table, insert, inspect, select, update
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError

from encfields.branch_key import BranchKey
from encfields.errors import (
    ConfigurationError,
    EncFieldsError,
    KeyAccessError,
    KeyNotFoundError,
    KeyStoreError,
    KeyUnavailableError,
)
from encfields.keys.aws.clients import preload
from encfields.keys.fetching.loop_runner import LoopRunner
from encfields.keys.fetching.runner import Runner, ThreadRunner
from encfields.keys.keyrings.keyring import Keyring
from encfields.keys.keyrings.rewrap import Rewrapper
from encfields.keys.keyrings.wrapping import KeyWrapper, Purpose, WrappingContext
from encfields.keys.sql import beacons, removal
from encfields.keys.sql.bring_over import bring_over
from encfields.keys.sql.connection import OwnConnection
from encfields.keys.sql.failures import database_error, no_such_key
from encfields.keys.sql.name import (
    NAME_PURPOSE,
    check_store_name,
    has_keys,
    insert_name,
    lost_name,
    new_name,
    read_name,
    require_of_store,
    require_same_name,
)
from encfields.keys.sql.removal import destroy_rows
from encfields.keys.sql.rewrap import rewrap_rows
from encfields.keys.sql.rows import (
    BEACON,
    BRANCH,
    KeyRow,
    in_order,
    key_version,
    now,
    read_row,
    readable_columns,
    require_one_order,
)
from encfields.keys.sql.schema import TABLE_NAME, key_table
from encfields.keys.sql.table import change_as_one
from encfields.keys.store import (
    BeaconKey,
    BeaconVersion,
    KeyStore,
    KeyVersion,
    Progress,
    RewrapReport,
    WrappedBeacons,
    WrappedKey,
    check_key_id,
)
from encfields.keys.store_errors import (
    MAX_TRIES,
    Conflict,
    already_exists,
    busy,
    was_destroyed,
    was_retired,
)

T = TypeVar("T")
Rows = list[KeyRow]
NewRow = dict[str, Any]
NewRows = list[NewRow]
Beacons = list[BeaconKey]

_AT_ONCE = 0.5
"""Seconds in which SQLite refuses what could not end well; it waits longer for a lock."""

MAX_IDS_IN_QUERY = 5_000
"""Key ids that one query asks for: databases bound the parameters of a statement."""


class SqlKeyStore(KeyStore):
    """Branch keys in one table, one row per version, on connections of its own.

    :param keyring: one of :mod:`encfields.keyrings`; it wraps every key.
    :param former: keyrings that wrapped keys before and open those that are not rewrapped yet.
    :param table_name: name of the key table.
    :param schema: schema of the key table.
    :param engine: the database; ``attach()`` binds the store to the attached engine otherwise.
    :param name: the key store's logical name, for instance ``"production"``. It is chosen when
        the table is made, and bound to every key for good: a key of another store does not open.
        Without it, the name is the one that the table holds, a random one if it is made without;
        then whoever can write to the table can change that too (:mod:`encfields.keys.sql.name`).
    :raises ConfigurationError: the name is unusable.
    """

    confirms_at_once = 1_000
    """See :class:`~encfields.keys.store.KeyStore`."""

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
        self.table: Table = key_table(table_name, schema)
        self.wrapper = KeyWrapper(keyring)
        self._former = tuple(KeyWrapper(one) for one in former)
        self._own: OwnConnection | None = None
        self._uncommitted: NewRows = []
        self.given_name = None if name is None else check_store_name(name)
        self._name = self.given_name
        self._newest_seen: dict[str, int] = {}
        if engine is not None:
            self.bind(engine)

    def __repr__(self) -> str:
        return f"<SqlKeyStore table={self.table.fullname!r} {self.wrapper.keyring!r}>"

    def recipe(self) -> Callable[[], SqlKeyStore]:
        """What makes another store like this one, not bound yet, for another process."""
        return partial(
            SqlKeyStore,
            self.wrapper.keyring,
            name=self.given_name,
            table_name=self.table.name,
            schema=self.table.schema,
            former=[one.keyring for one in self._former],
        )

    def bind(self, engine: Engine) -> None:
        """Use the database of `engine`; of an ``AsyncEngine``, give its ``sync_engine``.

        :raises ConfigurationError: the store serves another engine already.
        """
        # Engine.execution_options() makes engines that differ in nothing a store looks at.
        if self._own is not None and self._own.engine.dialect is not engine.dialect:
            raise ConfigurationError(
                "this SqlKeyStore is bound to another engine; make one store per engine",
                reason="bound-elsewhere",
            )
        self._own = OwnConnection(engine)

    @property
    def is_bound(self) -> bool:
        """Whether the store knows its database."""
        return self._own is not None

    @property
    def needs_greenlet(self) -> bool:
        """Whether keys are only to be had by awaiting: an in-memory database that is async."""
        return self._bound().on_caller

    @property
    def runner(self) -> Runner:
        """How the cache runs fetches from this store."""
        own = self._bound()
        return LoopRunner(on_caller=own.on_caller) if own.is_async else ThreadRunner()

    def preload(self) -> None:
        """Import what opens keys now, not when the first one is fetched."""
        preload(*self.wrapper.keyring.services)

    @property
    def may_fetch_in_background(self) -> bool:
        """Whether a thread of ours may read keys at any time: not on a borrowed connection."""
        return self._bound().is_ours_alone

    @property
    def name(self) -> str:
        """The key store's logical name: the one given, else the one that the table holds.

        :raises ConfigurationError: it holds none; see :meth:`create_table`.
        :raises KeyUnavailableError: the database is out of reach.
        """
        if self._name is None:
            self._run(self._learn_name)
        return self._known_name()

    def require_named(self) -> None:
        """Refuse a table that holds another name than the one given, or none.

        :raises ConfigurationError: it does.
        """

        def read(engine: Engine) -> str | None:
            with engine.connect() as connection:
                return read_name(connection, self.table)

        found = self._run(read)
        if found is None:
            raise lost_name(self.table)
        require_same_name(self.name, found, self.table)

    def use_name(self, name: str) -> None:
        """The name that the table was found to have, for this library's own use."""
        require_same_name(self.given_name or name, name, self.table)
        self._name = name

    def _learn_name(self, engine: Engine) -> None:
        with engine.connect() as connection:
            self._name = read_name(connection, self.table)

    def _known_name(self) -> str:
        if self._name is None:
            raise lost_name(self.table)
        return self._name

    def active(self, key_id: str) -> BranchKey:
        """See :meth:`KeyStore.active <encfields.keys.store.KeyStore.active>`.

        :raises KeyAccessError: a row of the key is malformed, two have one number, or the newest
            version is older than one that this process has seen.
        """
        return self._open_newest(key_id, self.rows_of(key_id, BRANCH))

    def version(self, key_id: str, version: str) -> BranchKey:
        """See :meth:`KeyStore.version <encfields.keys.store.KeyStore.version>`."""
        rows = self.rows_of(key_id, BRANCH, version=version)
        if not rows:
            raise KeyNotFoundError(
                f"the key table {self.table.fullname!r} has no version {version} of this key: "
                "it is another database's, or the row was deleted; restore it from a backup",
                key_id=key_id,
                reason="no-version",
            )
        return self._open(rows[0])

    def newest_versions(self, key_ids: Collection[str]) -> Mapping[str, str]:
        """See :meth:`KeyStore.newest_versions
        <encfields.keys.store.KeyStore.newest_versions>`."""
        table = self.table
        statement = select(table.c.key_id, table.c.version, table.c.active).where(
            table.c.purpose == BRANCH,
            table.c.wrapped.is_not(None),
            table.c.destroyed_at.is_(None),
            table.c.key_id.in_(sorted(key_ids)),
        )

        def read(engine: Engine) -> list[Any]:
            with engine.connect() as connection:
                return list(connection.execute(statement))

        found = [*self._run(read), *map(_as_confirmed, self._uncommitted)]
        ordered = sorted(found, key=lambda row: row[2] if isinstance(row[2], int) else 0)
        return {key_id: version for key_id, version, _ in ordered}

    def beacon(self, key_id: str) -> bytes:
        """The newest version's; see :meth:`KeyStore.beacon
        <encfields.keys.store.KeyStore.beacon>`."""
        return self.beacons(key_id)[-1].material

    def beacons(self, key_id: str) -> Beacons:
        """Every beacon key version in force, the newest last.

        :raises KeyNotFoundError: there is no such key.
        :raises KeyDestroyedError: it was destroyed.
        """
        return self.open_beacons(beacons.beacon_rows(self, key_id))

    def list_beacons(self, key_id: str) -> list[BeaconVersion]:
        """What may be told of them; no key is opened."""
        return [beacons.beacon_version(row) for row in beacons.beacon_rows(self, key_id)]

    def rotate_beacon(self, key_id: str) -> BeaconVersion:
        """Make a second beacon key version beside the one in force, for a time: values are
        indexed under both until all are indexed under the new one.

        :raises ConfigurationError: there are two already.
        :raises KeyNotFoundError: there is no such key.
        :raises KeyDestroyedError: it was destroyed.
        """
        return beacons.rotate(self, key_id)

    def retire_beacon(self, key_id: str, version: int) -> None:
        """Wipe a beacon key version that is not the newest. What is indexed only under it is not
        found any more.

        :raises ConfigurationError: it is the newest.
        :raises KeyNotFoundError: there is none of that number in force.
        """
        beacons.retire(self, key_id, version)

    def wrapped_many(self, key_ids: Collection[str] | None) -> list[WrappedKey]:
        """See :meth:`KeyStore.wrapped_many
        <encfields.keys.store.KeyStore.wrapped_many>`.

        More than :data:`MAX_IDS_IN_QUERY` ids take a query for each so many.
        """
        found = []
        for key_id, rows in _by_key(self._rows_of_many(BRANCH, key_ids)):
            newest = in_order(rows)[-1:]
            for row in rows:
                is_newest = row in newest
                unwrap = partial(self._open, row)
                if is_newest:
                    unwrap = partial(self._open_newest, key_id, rows)
                found.append(WrappedKey(key_version(row, active=is_newest), unwrap))
        return found

    def wrapped_beacons(self, key_ids: Collection[str]) -> list[WrappedBeacons]:
        """See :meth:`KeyStore.wrapped_beacons
        <encfields.keys.store.KeyStore.wrapped_beacons>`."""
        return [
            WrappedBeacons(key_id, partial(self.open_beacons, in_force))
            for key_id, rows in _by_key(self._rows_of_many(BEACON, key_ids))
            if (in_force := in_order(rows))
        ]

    def _rows_of_many(self, purpose: Purpose, key_ids: Collection[str] | None) -> Rows:
        table = self.table
        has_purpose = table.c.purpose == purpose
        if key_ids is None:
            return self._select(has_purpose)
        ids = sorted(key_ids)
        parts = [
            has_purpose & table.c.key_id.in_(ids[start : start + MAX_IDS_IN_QUERY])
            for start in range(0, len(ids), MAX_IDS_IN_QUERY)
        ]
        wanted = frozenset(ids)
        return [row for row in self._select(*parts) if row.key_id in wanted]

    def _select(self, *conditions: ColumnElement[bool], key_id: str | None = None) -> Rows:
        def read(engine: Engine) -> Rows:
            statement = select(*readable_columns(self.table, engine.dialect))
            with engine.connect() as connection:
                if self._name is None:
                    # On the same connection: the first keys that are read will need it.
                    self._name = read_name(connection, self.table)
                return [
                    read_row(row)
                    for one in conditions
                    for row in connection.execute(statement.where(one)).mappings()
                ]

        return self._run(read, key_id)

    def _open(self, row: KeyRow) -> BranchKey:
        return BranchKey(row.key_id, row.version, self._unwrap(row), row.number)

    def _open_newest(self, key_id: str, rows: Rows) -> BranchKey:
        newest = self._newest_of(key_id, rows)
        key = self._open(newest)
        if newest.number < self._newest_seen.get(key_id, 0):
            raise KeyAccessError(
                f"the newest version of this key in {self.table.fullname!r} has the number "
                f"{newest.number}, and this process has seen number {self._newest_seen[key_id]}: "
                "its row was deleted or put back; restore it from a backup",
                key_id=key_id,
                reason="rolled-back",
            )
        # Only what opened is remembered, so that no forged row makes this grow.
        self._newest_seen[key_id] = newest.number
        return key

    def _newest_of(self, key_id: str, rows: Rows) -> KeyRow:
        in_force = in_order(rows)
        if in_force:
            require_one_order(in_force, self.table.fullname, self._name)
            return in_force[-1]
        if rows:
            raise was_destroyed(key_id, rows[-1].destroyed_at)
        raise no_such_key(self.table.fullname, key_id)

    def newest_row(self, key_id: str) -> KeyRow:
        """The row of the newest version, for this library's own use.

        :raises KeyNotFoundError: there is no such key.
        :raises KeyDestroyedError: it was destroyed.
        :raises KeyAccessError: a row of the key is malformed, or two have one number.
        """
        return self._newest_of(key_id, self.rows_of(key_id, BRANCH))

    def open_beacons(self, rows: Rows) -> Beacons:
        """The beacon keys of rows in force, for this library's own use."""
        require_one_order(rows, self.table.fullname)
        return [beacons.opened(row, self._unwrap(row)) for row in rows]

    def create(self, key_id: str) -> KeyVersion:
        """Make a new key, its first version and its beacon key, in one transaction.

        :raises ConfigurationError: the id is unusable, the table is missing, or the keyring
            wraps nothing.
        :raises KeyExistsError: there is one of that id, perhaps made by another process just
            now; that one is in force.
        """
        check_key_id(key_id)
        there = self.rows_of(key_id, BRANCH)
        if there and not in_order(there):
            # The id is not free: values may still be there that name it.
            raise was_destroyed(key_id, there[-1].destroyed_at)
        if there:
            raise already_exists(key_id)
        self._ensure_name()
        rows = [self.new_row(key_id, BRANCH, 1), self.new_row(key_id, BEACON, 1)]

        def add(connection: Connection) -> None:
            connection.execute(insert(self.table), rows)

        try:
            self._write(add, rows)
        except Conflict:
            # A deadlock or a lock time-out is a conflict too, and need not mean that we lost.
            lost = bool(self.rows_of(key_id, BRANCH))
        else:
            return key_version(read_row(rows[0]), active=True)
        if lost:
            raise already_exists(key_id)
        raise KeyUnavailableError(
            "the database was busy with conflicting transactions; retry",
            key_id=key_id,
            reason="error",
        )

    def rotate(self, key_id: str) -> KeyVersion:
        """See :meth:`KeyStore.rotate <encfields.keys.store.KeyStore.rotate>`.

        Concurrent rotations each make a version; the last one stays active.
        """
        for _ in range(MAX_TRIES):
            newest = self.newest_row(key_id)
            # Opened, because the new version's number is to follow one that is authentic.
            self._open(newest)
            row = self.new_row(key_id, BRANCH, newest.number + 1)
            with suppress(Conflict):
                self._write(partial(self.add_after, newest, row), [row])
                return key_version(read_row(row), active=True)
        raise busy(key_id)

    def add_after(self, newest: KeyRow, row: NewRow, connection: Connection) -> None:
        """Add a version after the newest one, which must still be in force, for this library's
        own use.

        :raises Conflict: it is not.
        """
        table = self.table
        # Changes nothing, but lets no one destroy the key meanwhile.
        locked = connection.execute(
            update(table)
            .where(table.c.key_id == newest.key_id, table.c.version == newest.version)
            .where(table.c.wrapped.is_not(None), table.c.destroyed_at.is_(None))
            .values(active=newest.number)
        )
        if locked.rowcount != 1 and not self._is_uncommitted(newest):
            raise Conflict
        connection.execute(insert(table), [row])

    def retire(self, key_id: str, version: str) -> None:
        """Wipe a version that is not the newest. What is under it cannot be read any more.

        :raises ConfigurationError: it is the newest.
        :raises KeyNotFoundError: there is no such version.
        :raises KeyDestroyedError: it was retired before.
        """
        removal.retire(self, key_id, version)

    def require_retirable(self, key_id: str, version: str) -> None:
        """Raise as :meth:`retire` would, and change nothing."""
        removal.require_retirable(self, key_id, version)

    def refuse(self, key_id: str, version: str | None = None) -> bool:
        """Let nobody have a key, or one version of it, from now on; what is wrapped is kept.

        :param version: by default all of the key, its beacon key too.
        :returns: whether there is any.
        """
        return removal.set_refused(self, key_id, version, refused=True)

    def readmit(self, key_id: str, version: str | None = None) -> None:
        """Take :meth:`refuse` back."""
        removal.set_refused(self, key_id, version, refused=False)

    def bring_over(self) -> int:
        """Bind the keys of a table that a development version made to this key store.

        Every key is opened and wrapped anew; material, ids and values stay as they are. Broken
        off, it is run again. Believe the table before you do: see
        :mod:`encfields.keys.sql.bring_over`.

        :returns: how many wrapped keys were brought over.
        """
        return bring_over(self, self._unwrap_earlier)

    def _unwrap_earlier(self, context: dict[str, str], wrapped: bytes, key_id: str) -> bytes:
        return self.wrapper.unwrap_bound_to(context, wrapped, key_id)

    def destroy(self, key_id: str) -> list[KeyVersion]:
        """Wipe every version of a key, its beacon key too; a dated row without key is left of
        each. There is no way back but a backup of the table.

        :returns: the branch key versions that were wiped.
        :raises KeyNotFoundError: there is no such key.
        :raises KeyDestroyedError: it was destroyed before.
        """
        wiped = destroy_rows(self, key_id)
        self._uncommitted = [row for row in self._uncommitted if row["key_id"] != key_id]
        return wiped

    def rewrap(self, new: Keyring, *, progress: Progress | None = None) -> RewrapReport:
        """Move every wrapped key to another keyring, without touching a value.

        Killed at any moment, it goes on where it was when called again. Keys stay readable
        throughout for stores that have both keyrings, ``SqlKeyStore(new, former=[old])``; this
        one has from now on.

        :param new: wraps from now on; one wrapping key or several.
        :raises ConfigurationError: the new keyring only opens (discovery).
        :raises KeyAccessError: a key does not open, with the old keyring or, once wrapped by
            the new one, with each of its wrapping keys; its row was left as it was.
        :raises KeyUnavailableError: KMS or the database is out of reach; call it again.
        """
        rewrapper = Rewrapper(new, self._unwrap_with_any)
        self.wrapper, self._former = KeyWrapper(new), (self.wrapper, *self._former)
        return rewrap_rows(self, rewrapper, progress)

    def all_rows(self) -> Rows:
        """Every row of the table, for this library's own use."""
        rows = self._select(self.table.c.purpose != NAME_PURPOSE)
        return sorted(rows, key=lambda row: (row.key_id, row.created_at, row.version))

    def change(self, change: Callable[[Connection], None], key_id: str) -> None:
        """Change rows that are there, in one transaction."""
        self._bound().require_sqlite_if_borrowed()

        def write(engine: Engine) -> None:
            with engine.connect() as connection:
                change_as_one(connection, change)

        self._run(write, key_id)

    def create_table(self) -> None:
        """Make the key table unless it is there, with the key store's name in it; safe in several
        processes at once.

        :raises ConfigurationError: the table is another key store's, or of a version that knew
            no key stores.
        """
        self._bound().require_sqlite_if_borrowed()

        def make(engine: Engine) -> None:
            try:
                self.table.create(engine, checkfirst=True)
            except DBAPIError:
                # Another process made it between the check and the statement.
                if not self._has_table(engine):
                    raise

        self._run(make)
        self._ensure_name()

    def _ensure_name(self) -> None:
        """Have a name in the table."""
        self._bound().require_sqlite_if_borrowed()
        for _ in range(MAX_TRIES):
            began = monotonic()
            try:
                self.change(self._keep_name, "")
                return
            except Conflict:
                pass
            except KeyUnavailableError as error:
                # SQLite does not wait where two readers want to write: one is refused at once.
                if error.reason != "throttled" or monotonic() - began > _AT_ONCE:
                    raise
                sleep(_AT_ONCE / 10)
        raise busy("")

    def _keep_name(self, connection: Connection) -> None:
        found = read_name(connection, self.table)
        if found is None:
            if self._name is None and has_keys(connection, self.table):
                raise lost_name(self.table)
            found = self._name or new_name()
            insert_name(connection, self.table, found)
        require_same_name(self._name or found, found, self.table)
        self._name = found

    def has_table(self) -> bool:
        """Whether the key table is there."""
        return self._run(self._has_table)

    def _has_table(self, engine: Engine) -> bool:
        with engine.connect() as connection:
            return inspect(connection).has_table(self.table.name, schema=self.table.schema)

    def rows_of(self, key_id: str, purpose: Purpose, *, version: str | None = None) -> Rows:
        """A key's rows, for this library's own use.

        :param version: by default all of them.
        """
        table = self.table
        condition = (table.c.key_id == key_id) & (table.c.purpose == purpose)
        if version is not None:
            condition &= table.c.version == version
        found = [
            row
            for row in self._select(condition, key_id=key_id)
            if row.key_id == key_id and version in (None, row.version)
        ]
        stored = {row.version for row in found}
        # Written into the user's transaction on an in-memory database, and rolled back. Such a
        # database lives no longer than this process, so keeping them here loses nothing, and
        # what the key has sealed since stays readable.
        return found + [
            read_row(row)
            for row in self._uncommitted
            if (row["key_id"], row["purpose"]) == (key_id, purpose)
            and version in (None, row["version"])
            and row["version"] not in stored
        ]

    def _is_uncommitted(self, row: KeyRow) -> bool:
        return any(row.version == one["version"] for one in self._uncommitted)

    def _unwrap(self, row: KeyRow) -> bytes:
        if row.wrapped is None or row.destroyed_at is not None:
            raise self._gone(row)
        row.require_sound(self.table.fullname)
        name = self._known_name()
        require_of_store(row, name, self.table)
        return self._unwrap_with_any(row.wrapped, row.place(name))

    def _gone(self, row: KeyRow) -> EncFieldsError:
        others = in_order(self.rows_of(row.key_id, BRANCH))
        if others and row.purpose == BRANCH:
            return was_retired(row.key_id, row.version, row.destroyed_at)
        return was_destroyed(row.key_id, row.destroyed_at)

    def _unwrap_with_any(self, wrapped: bytes, place: WrappingContext) -> bytes:
        """Opened by the keyring, or by a former one if it was not the keyring that wrapped."""
        for wrapper in (self.wrapper, *self._former)[:-1]:
            with suppress(_WrongKeyring):
                return _unwrap_or_pass(wrapper, wrapped, place)
        last = (self.wrapper, *self._former)[-1]
        return last.unwrap(wrapped, place)

    def new_row(self, key_id: str, purpose: Purpose, number: int) -> NewRow:
        """A new key's row, for this library's own use.

        :param number: its place in its key's order.
        """
        version = str(uuid.uuid4())
        place = WrappingContext(self._known_name(), key_id, version, number, purpose)
        return {
            "key_id": key_id,
            "version": version,
            "purpose": purpose,
            "wrapped": self.wrapper.wrap_new(place),
            "active": number,
            "created_at": now(),
            "destroyed_at": None,
        }

    def _write(self, change: Callable[[Connection], None], rows: NewRows) -> None:
        own = self._bound()
        own.require_sqlite_if_borrowed()

        def write(engine: Engine) -> None:
            may_be_undone = own.joins_user_transaction()
            with engine.connect() as connection:
                change_as_one(connection, change)
            if may_be_undone:
                self._uncommitted.extend(rows)

        self._run(write, rows[0]["key_id"])

    def _run(self, work: Callable[[Engine], T], key_id: str | None = None) -> T:
        own = self._bound()
        try:
            return own.run(work)
        except (EncFieldsError, Conflict):
            raise
        except IntegrityError:
            failure: Exception = Conflict()
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            failure = self._explain(own, error, key_id)
        raise failure

    def _explain(self, own: OwnConnection, error: Exception, key_id: str | None) -> Exception:
        explained = database_error(error, key_id)
        if explained is None:
            return Conflict()
        if isinstance(error, DBAPIError) and explained.reason == "error":
            try:
                has_table = own.run(self._has_table)
            except (SQLAlchemyError, OSError, TimeoutError, KeyStoreError):
                return explained
            if not has_table:
                return self._no_table()
        return explained

    def _no_table(self) -> ConfigurationError:
        return ConfigurationError(
            f"the key table {self.table.fullname!r} is missing, or this database user does not "
            "see it; make it with `encryption.keys.create_table()`, with "
            "`op.create_encryption_keys_table()` in a migration, or with "
            "attach(..., create=True)",
            table=self.table.fullname,
            reason="no-key-table",
        )

    def _bound(self) -> OwnConnection:
        if self._own is None:
            raise ConfigurationError(
                "this SqlKeyStore has no database yet; attach(engine, key_store) gives it one, "
                "or SqlKeyStore(keyring, engine=engine)",
                reason="not-bound",
            )
        return self._own

    def list(self) -> list[KeyVersion]:
        """See :meth:`KeyStore.list <encfields.keys.store.KeyStore.list>`."""
        return [
            key_version(row, active=row in in_order(rows)[-1:])
            for _, rows in _by_key(self._select(self.table.c.purpose == BRANCH))
            for row in sorted(rows, key=lambda one: (one.created_at, one.version))
        ]


def _by_key(rows: Rows) -> Iterable[tuple[str, Rows]]:
    ordered = sorted(rows, key=lambda row: row.key_id)
    return ((key_id, list(group)) for key_id, group in groupby(ordered, lambda row: row.key_id))


def _as_confirmed(row: NewRow) -> tuple[str, str, int]:
    return row["key_id"], row["version"], row["active"] if row["purpose"] == BRANCH else 0


def _unwrap_or_pass(wrapper: KeyWrapper, wrapped: bytes, place: WrappingContext) -> bytes:
    try:
        return wrapper.unwrap(wrapped, place)
    except KeyAccessError as error:
        if error.reason != "wrong-keyring":
            raise
    raise _WrongKeyring


class _WrongKeyring(Exception):
    """Another keyring wrapped it."""
