"""Branch keys in one table of the application's own database, each wrapped by a keyring."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, Select, Table, insert, inspect, select, update
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError

from encfields.errors import (
    ConfigurationError,
    EncFieldsError,
    KeyAccessError,
    KeyNotFoundError,
    KeyStoreError,
    KeyUnavailableError,
)
from encfields.keys import sql_beacons
from encfields.keys.aws_session import preload
from encfields.keys.beacon_key import BeaconKey, BeaconVersion
from encfields.keys.branch_key import BranchKey
from encfields.keys.bulk_store import WrappedBeacons, WrappedKey
from encfields.keys.key_id import check_key_id
from encfields.keys.key_table import TABLE_NAME, key_table
from encfields.keys.keyrings import Keyring
from encfields.keys.loop_runner import LoopRunner
from encfields.keys.own_connection import OwnConnection
from encfields.keys.rewrap import Progress, Rewrapper, RewrapReport
from encfields.keys.runner import Runner, ThreadRunner
from encfields.keys.sql_change import change_as_one
from encfields.keys.sql_destroy import destroy_rows
from encfields.keys.sql_errors import database_error
from encfields.keys.sql_rewrap import rewrap_rows
from encfields.keys.sql_rows import (
    BEACON,
    BRANCH,
    MAX_TRIES,
    AsRow,
    Conflict,
    already_exists,
    no_such_key,
    now,
    told,
    was_destroyed,
)
from encfields.keys.store import KeyVersion
from encfields.keys.wrapping import KeyWrapper, Purpose

T = TypeVar("T")
Rows = list[Any]
NewRow = dict[str, Any]
NewRows = list[NewRow]
Beacons = list[BeaconKey]

MAX_IDS_IN_QUERY = 5_000
"""Key ids that one query asks for: databases bound the parameters of a statement."""


class SqlKeyStore:
    """Branch keys in one table, one row per version, on connections of its own.

    :param keyring: one of :mod:`encfields.keyrings`; it wraps every key.
    :param former: keyrings that wrapped keys before and open those that are not rewrapped yet.
    :param table_name: name of the key table.
    :param schema: schema of the key table.
    :param engine: the database; ``attach()`` binds the store to the attached engine otherwise.
    """

    def __init__(
        self,
        keyring: Keyring,
        *,
        table_name: str = TABLE_NAME,
        schema: str | None = None,
        engine: Engine | None = None,
        former: Sequence[Keyring] = (),
    ) -> None:
        self.table: Table = key_table(table_name, schema)
        self.wrapper = KeyWrapper(keyring)
        self._former = tuple(KeyWrapper(one) for one in former)
        self._own: OwnConnection | None = None
        self._uncommitted: list[NewRow] = []
        if engine is not None:
            self.bind(engine)

    def __repr__(self) -> str:
        return f"<SqlKeyStore table={self.table.fullname!r} {self.wrapper.keyring!r}>"

    def recipe(self) -> Callable[[], SqlKeyStore]:
        """What makes another store like this one, not bound yet, for another process."""
        return partial(
            SqlKeyStore,
            self.wrapper.keyring,
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
        preload(*getattr(self.wrapper.keyring, "services", ()))

    @property
    def may_fetch_in_background(self) -> bool:
        """Whether a thread of ours may read keys at any time: not on a borrowed connection."""
        return self._bound().is_ours_alone

    def active(self, key_id: str) -> BranchKey:
        """See :meth:`KeyStore.active <encfields.keys.store.KeyStore.active>`."""
        row = self._active_row(key_id)
        return BranchKey(key_id, row.version, self._unwrap(row))

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
        return BranchKey(key_id, version, self._unwrap(rows[0]))

    def beacon(self, key_id: str) -> bytes:
        """The newest version's; see :meth:`KeyStore.beacon
        <encfields.keys.store.KeyStore.beacon>`."""
        return self._unwrap(sql_beacons.beacon_rows(self, key_id)[-1])

    def beacons(self, key_id: str) -> Beacons:
        """Every beacon key version in force, the newest last.

        :raises KeyNotFoundError: there is no such key.
        :raises KeyDestroyedError: it was destroyed.
        """
        return self._open_beacons(sql_beacons.beacon_rows(self, key_id))

    def list_beacons(self, key_id: str) -> list[BeaconVersion]:
        """What may be told of them; no key is opened."""
        return [sql_beacons.told(row) for row in sql_beacons.beacon_rows(self, key_id)]

    def rotate_beacon(self, key_id: str) -> BeaconVersion:
        """Make a second beacon key version beside the one in force, for a time: values are
        indexed under both until all are indexed under the new one.

        :raises ConfigurationError: there are two already.
        :raises KeyNotFoundError: there is no such key.
        :raises KeyDestroyedError: it was destroyed.
        """
        return sql_beacons.rotate(self, key_id)

    def retire_beacon(self, key_id: str, version: int) -> None:
        """Wipe a beacon key version that is not the newest. What is indexed only under it is not
        found any more.

        :raises ConfigurationError: it is the newest.
        :raises KeyNotFoundError: there is none of that number in force.
        """
        sql_beacons.retire(self, key_id, version)

    def wrapped_many(self, key_ids: Collection[str] | None) -> list[WrappedKey]:
        """See :meth:`BulkKeyStore.wrapped_many
        <encfields.keys.bulk_store.BulkKeyStore.wrapped_many>`.

        More than :data:`MAX_IDS_IN_QUERY` ids take a query for each so many.
        """
        rows = self._rows_of_many(BRANCH, key_ids)
        return [WrappedKey(told(row._mapping), partial(self._open, row)) for row in rows]

    def wrapped_beacons(self, key_ids: Collection[str] | None) -> list[WrappedBeacons]:
        """See :meth:`BulkBeaconStore.wrapped_beacons
        <encfields.keys.bulk_store.BulkBeaconStore.wrapped_beacons>`."""
        by_key: dict[str, Rows] = {}
        for row in self._rows_of_many(BEACON, key_ids):
            by_key.setdefault(row.key_id, []).append(row)
        return [
            WrappedBeacons(key_id, partial(self._open_beacons, in_force))
            for key_id, rows in by_key.items()
            if (in_force := sql_beacons.order(rows))
        ]

    def _rows_of_many(self, purpose: Purpose, key_ids: Collection[str] | None) -> Rows:
        table = self.table
        statement = select(table).where(table.c.purpose == purpose)
        if key_ids is None:
            return self._select(statement)
        ids = sorted(key_ids)
        parts = [
            statement.where(table.c.key_id.in_(ids[start : start + MAX_IDS_IN_QUERY]))
            for start in range(0, len(ids), MAX_IDS_IN_QUERY)
        ]
        wanted = frozenset(ids)
        return [row for row in self._select(*parts) if row.key_id in wanted]

    def _select(self, *statements: Select[Any], key_id: str | None = None) -> Rows:
        def read(engine: Engine) -> Rows:
            with engine.connect() as connection:
                return [row for one in statements for row in connection.execute(one)]

        return self._run(read, key_id)

    def _open(self, row: Any) -> BranchKey:
        return BranchKey(row.key_id, row.version, self._unwrap(row))

    def _open_beacons(self, rows: Rows) -> Beacons:
        return [sql_beacons.opened(row, self._unwrap(row)) for row in rows]

    def create(self, key_id: str) -> KeyVersion:
        """Make a new key, its first version and its beacon key, in one transaction.

        :raises ConfigurationError: the id is unusable, the table is missing, or the keyring
            wraps nothing.
        :raises KeyExistsError: there is one of that id, perhaps made by another process just
            now; that one is in force.
        """
        check_key_id(key_id)
        there = self.rows_of(key_id, BRANCH)
        if there and all(row.destroyed_at is not None for row in there):
            # The id is not free: values may still be there that name it.
            raise was_destroyed(key_id, max(row.destroyed_at for row in there))
        if there:
            raise already_exists(key_id)
        rows = [self.new_row(key_id, BRANCH), self.new_row(key_id, BEACON)]

        def add(connection: Connection) -> None:
            connection.execute(insert(self.table), rows)

        try:
            self._write(add, rows)
        except Conflict:
            # A deadlock or a lock time-out is a conflict too, and need not mean that we lost.
            lost = bool(self.rows_of(key_id, BRANCH))
        else:
            return told(rows[0])
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
        self._active_row(key_id)
        row = self.new_row(key_id, BRANCH)
        for _ in range(MAX_TRIES):
            before = self._active_row(key_id).version
            row["created_at"] = now()
            try:
                self._write(partial(self._replace, before, row), [row])
            except Conflict:
                continue
            return told(row)
        raise KeyUnavailableError(
            "others kept rotating this key at the same time; retry", key_id=key_id, reason="error"
        )

    def _replace(self, before: str, row: NewRow, connection: Connection) -> None:
        table = self.table
        retired = connection.execute(
            update(table)
            .where(table.c.key_id == row["key_id"], table.c.version == before)
            .where(table.c.active == 1)
            .values(active=None)
        )
        if retired.rowcount != 1:
            raise Conflict
        connection.execute(insert(table), [row])

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
        table = self.table
        return self._select(select(table).order_by(table.c.key_id, table.c.created_at))

    def change(self, change: Callable[[Connection], None], key_id: str) -> None:
        """Change rows that are there, in one transaction."""
        self._bound().require_sqlite_if_borrowed()

        def write(engine: Engine) -> None:
            with engine.connect() as connection:
                change_as_one(connection, change)

        self._run(write, key_id)

    def create_table(self) -> None:
        """Make the key table unless it is there; safe in several processes at once."""
        self._bound().require_sqlite_if_borrowed()

        def make(engine: Engine) -> None:
            try:
                self.table.create(engine, checkfirst=True)
            except DBAPIError:
                # Another process made it between the check and the statement.
                if not self._has_table(engine):
                    raise

        self._run(make)

    def has_table(self) -> bool:
        """Whether the key table is there."""
        return self._run(self._has_table)

    def _has_table(self, engine: Engine) -> bool:
        with engine.connect() as connection:
            return inspect(connection).has_table(self.table.name, schema=self.table.schema)

    def _active_row(self, key_id: str) -> Any:
        rows = self.rows_of(key_id, BRANCH, active=1)
        if rows:
            return rows[0]
        rows = self.rows_of(key_id, BRANCH)
        # It may have been made since the first look.
        if active := [row for row in rows if row.active]:
            return active[0]
        if rows:
            raise was_destroyed(key_id, rows[0].destroyed_at)
        raise no_such_key(self.table.fullname, key_id)

    def rows_of(self, key_id: str, purpose: Purpose, **conditions: Any) -> Rows:
        """A key's rows, for this library's own use.

        :param conditions: values of further columns.
        """
        table = self.table
        statement = select(table).where(table.c.key_id == key_id, table.c.purpose == purpose)
        for name, value in conditions.items():
            statement = statement.where(table.c[name] == value)
        found = [row for row in self._select(statement, key_id=key_id) if row.key_id == key_id]
        wanted = {"key_id": key_id, "purpose": purpose, **conditions}
        return found or self._uncommitted_rows(wanted)

    def _uncommitted_rows(self, wanted: NewRow) -> Rows:
        """Rows written into the user's transaction on an in-memory database, and rolled back.

        Such a database lives no longer than this process, so keeping them here loses nothing,
        and what the key has sealed since stays readable.
        """
        return [
            AsRow(row)
            for row in reversed(self._uncommitted)
            if all(row[name] == value for name, value in wanted.items())
        ]

    def _unwrap(self, row: Any) -> bytes:
        if row.destroyed_at is not None or row.wrapped is None:
            raise was_destroyed(row.key_id, row.destroyed_at)
        return self._unwrap_with_any(row.wrapped, row.key_id, row.version, row.purpose)

    def _unwrap_with_any(
        self, wrapped: bytes, key_id: str, version: str, purpose: Purpose
    ) -> bytes:
        """Opened by the keyring, or by a former one if it was not the keyring that wrapped."""
        for wrapper in (self.wrapper, *self._former)[:-1]:
            with suppress(_WrongKeyring):
                return _unwrap_or_pass(wrapper, wrapped, key_id, version, purpose)
        last = (self.wrapper, *self._former)[-1]
        return last.unwrap(wrapped, key_id, version, purpose)

    def new_row(self, key_id: str, purpose: Purpose) -> NewRow:
        """A new key's row, for this library's own use."""
        version = str(uuid.uuid4())
        return {
            "key_id": key_id,
            "version": version,
            "purpose": purpose,
            "wrapped": self.wrapper.wrap_new(key_id, version, purpose),
            "active": 1,
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
        table = self.table
        statement = (
            select(table).where(table.c.purpose == BRANCH).order_by(table.c.key_id)
        ).order_by(table.c.created_at, table.c.version)
        return [told(row._mapping) for row in self._select(statement)]


def _unwrap_or_pass(
    wrapper: KeyWrapper, wrapped: bytes, key_id: str, version: str, purpose: Purpose
) -> bytes:
    try:
        return wrapper.unwrap(wrapped, key_id, version, purpose)
    except KeyAccessError as error:
        if error.reason != "wrong-keyring":
            raise
    raise _WrongKeyring


class _WrongKeyring(Exception):
    """Another keyring wrapped it."""
