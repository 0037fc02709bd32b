"""The key table of one database; reads and changes its rows on its own connections."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection
from time import monotonic, sleep
from typing import TypeVar

from sqlalchemy import ColumnElement, Connection, Engine, Table, insert, inspect, select, update
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError

from encfields.errors import ConfigurationError, EncFieldsError, KeyStoreError, KeyUnavailableError
from encfields.keys.keyrings.wrapping import Purpose
from encfields.keys.sql.connection import OwnConnection, TableChange, change_as_one, connected
from encfields.keys.sql.failures import database_error
from encfields.keys.sql.gone import GoneVersions
from encfields.keys.sql.rows import KeyRow, KeyRows, NewRow, read_row, readable_columns
from encfields.keys.sql.store_name import (
    NAME_PURPOSE,
    has_keys,
    insert_name,
    lost_name,
    new_name,
    read_name,
    require_same_name,
)
from encfields.keys.store import MAX_TRIES, Conflict, busy

T = TypeVar("T")

MAX_IDS_IN_QUERY = 5_000
"""Most key ids in one query, since databases limit the parameters of a statement."""

_AT_ONCE = 0.5
"""Seconds within which SQLite refuses a write that would deadlock; for a lock it waits longer."""


class KeyTable:
    """The rows of a key table, and the name of its key store.

    :param table: its declaration.
    :param given_name: the key store's name, if one was given.
    :ivar uncommitted: rows that were written in the application's transaction on an in-memory
        database, and may have been rolled back with it. Such a database lives no longer than this
        process, so it is safe to keep them here, and what their keys have sealed since stays
        readable.
    :ivar gone: what this process has seen destroyed.
    """

    def __init__(self, table: Table, given_name: str | None) -> None:
        self.table = table
        self.given_name = given_name
        self.name_if_known = given_name
        self.uncommitted: list[NewRow] = []
        self.gone = GoneVersions()
        self._own: OwnConnection | None = None

    @property
    def fullname(self) -> str:
        """The table's name, with its schema if it has one."""
        return self.table.fullname

    # -- the database --------------------------------------------------------------------------

    @property
    def is_bound(self) -> bool:
        """Whether the table's database is known."""
        return self._own is not None

    def bind(self, engine: Engine) -> None:
        """See :meth:`SqlKeyStore.bind <encfields.keys.sql.store.SqlKeyStore.bind>`."""
        # Engines from Engine.execution_options() differ in nothing that concerns a key store.
        if self._own is not None and self._own.engine.dialect is not engine.dialect:
            raise ConfigurationError(
                "this SqlKeyStore is bound to another engine; make one store per engine",
                reason="bound-elsewhere",
            )
        self._own = OwnConnection(engine, keeps=True)

    @property
    def connection(self) -> OwnConnection:
        """Runs work on the database.

        :raises ConfigurationError: the table is not bound to one yet.
        """
        if self._own is None:
            raise ConfigurationError(
                "this SqlKeyStore has no database yet; attach(engine, key_store) gives it one, "
                "or SqlKeyStore(keyring, engine=engine)",
                reason="not-bound",
            )
        return self._own

    # -- reading -------------------------------------------------------------------------------

    def rows_of(self, key_id: str, purpose: Purpose, *, version: str | None = None) -> KeyRows:
        """A key's rows.

        :param version: by default all of them.
        """
        table = self.table
        condition = (table.c.key_id == key_id) & (table.c.purpose == purpose)
        if version is not None:
            condition &= table.c.version == version
        committed = [
            row
            for row in self.select(condition, key_id=key_id)
            if row.key_id == key_id and version in (None, row.version)
        ]
        stored = {row.version for row in committed}
        return committed + [
            read_row(row)
            for row in self.uncommitted
            if (row["key_id"], row["purpose"]) == (key_id, purpose)
            and version in (None, row["version"])
            and row["version"] not in stored
        ]

    def all_rows(self) -> KeyRows:
        """The rows of all keys."""
        rows = self.select(self.table.c.purpose != NAME_PURPOSE)
        return sorted(rows, key=lambda row: (row.key_id, row.created_at, row.version))

    def rows_of_many(self, purpose: Purpose | None, key_ids: Collection[str] | None) -> KeyRows:
        """The rows of many keys, in a query for each :data:`MAX_IDS_IN_QUERY`.

        :param purpose: ``None`` for branch keys and beacon keys.
        :param key_ids: ``None`` for all keys.
        """
        columns = self.table.c
        has_purpose = columns.purpose == purpose
        if purpose is None:
            has_purpose = columns.purpose != NAME_PURPOSE
        if key_ids is None:
            return self.select(has_purpose)
        ids = sorted(key_ids)
        parts = [
            has_purpose & columns.key_id.in_(ids[start : start + MAX_IDS_IN_QUERY])
            for start in range(0, len(ids), MAX_IDS_IN_QUERY)
        ]
        wanted = frozenset(ids)
        return [row for row in self.select(*parts) if row.key_id in wanted]

    def select(self, *conditions: ColumnElement[bool], key_id: str | None = None) -> KeyRows:
        """The rows that meet one of the conditions, with one query for each.

        :param key_id: for error messages.
        """

        def read(engine: Engine) -> KeyRows:
            statement = select(*readable_columns(self.table, engine.dialect))
            with engine.connect() as connection:
                if self.name_if_known is None:
                    # On the same connection, since the first keys that are read will need it.
                    self.name_if_known = read_name(connection, self.table)
                return [
                    read_row(row)
                    for condition in conditions
                    for row in connection.execute(statement.where(condition)).mappings()
                ]

        return self.run(read, key_id)

    # -- changing ------------------------------------------------------------------------------

    def add(self, change: TableChange, rows: list[NewRow]) -> None:
        """Add rows, in one transaction.

        :param change: inserts them.
        :raises Conflict: another process was first.
        """
        own = self.connection
        own.require_sqlite_if_borrowed()

        def write(engine: Engine) -> None:
            may_be_undone = own.joins_user_transaction()
            with connected(engine) as connection:
                change_as_one(connection, change)
            if may_be_undone:
                self.uncommitted.extend(rows)

        self.run(write, rows[0]["key_id"])

    def insert_after(self, newest: KeyRow, row: NewRow, connection: Connection) -> None:
        """Insert a version after the newest one, which must still be in force.

        :raises Conflict: it is not.
        """
        table = self.table
        # Changes nothing, but prevents others from destroying the key meanwhile.
        locked = connection.execute(
            update(table)
            .where(table.c.key_id == newest.key_id, table.c.version == newest.version)
            .where(table.c.wrapped.is_not(None), table.c.destroyed_at.is_(None))
            .values(active=newest.number)
        )
        is_uncommitted = any(newest.version == row["version"] for row in self.uncommitted)
        if locked.rowcount != 1 and not is_uncommitted:
            raise Conflict
        connection.execute(insert(table), [row])

    def forget_uncommitted(self, key_id: str) -> None:
        """Forget the uncommitted rows of a key that was destroyed."""
        self.uncommitted = [row for row in self.uncommitted if row["key_id"] != key_id]

    def change(self, change: TableChange, key_id: str) -> None:
        """Change existing rows, in one transaction.

        :raises Conflict: another process was first.
        """
        self.connection.require_sqlite_if_borrowed()

        def write(engine: Engine) -> None:
            with connected(engine) as connection:
                change_as_one(connection, change)

        self.run(write, key_id)

    def wipe(
        self,
        connection: Connection,
        row: KeyRow,
        when: dt.datetime,
        *conditions: ColumnElement[bool],
    ) -> bool:
        """Wipe a row's wrapped key, and keep its dates.

        :param conditions: further conditions on the row.
        :returns: whether there was such a row.
        """
        if connection.dialect.name == "sqlite":
            # Otherwise the old bytes stay in the file until their page is reused.
            connection.exec_driver_sql("PRAGMA secure_delete = ON")
        table = self.table
        wiped = connection.execute(
            update(table)
            .where(table.c.key_id == row.key_id, table.c.version == row.version, *conditions)
            .values(wrapped=None, active=None, destroyed_at=when)
        )
        return wiped.rowcount == 1

    def run(self, work: Callable[[Engine], T], key_id: str | None = None) -> T:
        """Do `work`; database errors are raised as this library's."""
        own = self.connection
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
                has_table = own.run(self._is_there)
            except (SQLAlchemyError, OSError, TimeoutError, KeyStoreError):
                return explained
            if not has_table:
                return self._no_table()
        return explained

    def _no_table(self) -> ConfigurationError:
        return ConfigurationError(
            f"the key table {self.fullname!r} is missing, or this database user does not see it; "
            "create it with `encryption.keys.create_table()`, with "
            "`op.create_encryption_keys_table()` in a migration, or with attach(..., create=True)",
            table=self.fullname,
            reason="no-key-table",
        )

    # -- the table itself ----------------------------------------------------------------------

    def exists(self) -> bool:
        """Whether the key table exists."""
        return self.run(self._is_there)

    def _is_there(self, engine: Engine) -> bool:
        with engine.connect() as connection:
            schema = connection.schema_for_object(self.table)
            return inspect(connection).has_table(self.table.name, schema=schema)

    def create(self) -> None:
        """See :meth:`SqlKeyStore.create_table
        <encfields.keys.sql.store.SqlKeyStore.create_table>`."""
        self.connection.require_sqlite_if_borrowed()

        def make(engine: Engine) -> None:
            try:
                self.table.create(engine, checkfirst=True)
            except DBAPIError:
                # Another process created it between check and statement.
                if not self._is_there(engine):
                    raise

        self.run(make)
        self.ensure_name()

    # -- the key store's name ------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The key store's logical name: the one given, else the one in the table."""
        if self.name_if_known is None:
            self.name_if_known = self.run(self._read_name)
        return self.known_name()

    def known_name(self) -> str:
        """The name, without querying the database.

        :raises ConfigurationError: the table was read and has none.
        """
        if self.name_if_known is None:
            raise lost_name(self.table)
        return self.name_if_known

    def require_named(self) -> None:
        """Refuse a table with another name than the given one, or without a name.

        :raises ConfigurationError: it does.
        """
        stored = self.run(self._read_name)
        if stored is None:
            raise lost_name(self.table)
        require_same_name(self.name, stored, self.table)

    def use_name(self, name: str) -> None:
        """Use the name found in the table.

        :raises ConfigurationError: another one was given.
        """
        require_same_name(self.given_name or name, name, self.table)
        self.name_if_known = name

    def _read_name(self, engine: Engine) -> str | None:
        with engine.connect() as connection:
            return read_name(connection, self.table)

    def ensure_name(self) -> None:
        """Give the table a name, unless it has one."""
        self.connection.require_sqlite_if_borrowed()
        for _ in range(MAX_TRIES):
            began = monotonic()
            try:
                self.change(self._keep_name, "")
                return
            except Conflict:
                pass
            except KeyUnavailableError as error:
                # If two readers want to write, SQLite does not wait, but refuses one at once.
                if error.reason != "throttled" or monotonic() - began > _AT_ONCE:
                    raise
                sleep(_AT_ONCE / 10)
        raise busy("")

    def _keep_name(self, connection: Connection) -> None:
        kept = read_name(connection, self.table)
        if kept is None:
            if self.name_if_known is None and has_keys(connection, self.table):
                raise lost_name(self.table)
            kept = self.name_if_known or new_name()
            insert_name(connection, self.table, kept)
        require_same_name(self.name_if_known or kept, kept, self.table)
        self.name_if_known = kept
