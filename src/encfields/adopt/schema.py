"""What an adoption changes in a table, on each database in its own way, online where it can.

A lock is not waited for long: whoever comes after would wait as well.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import LargeBinary, text
from sqlalchemy import column as sql_column
from sqlalchemy import inspect as inspected
from sqlalchemy import table as sql_table
from sqlalchemy.exc import DBAPIError

from encfields.adopt import sqlite_schema as sqlite
from encfields.adopt.adoption import Adoption, AdoptionError
from encfields.adopt.column_definitions import (
    nullable,
    required,
    with_not_null,
    without_default,
    without_not_null,
)
from encfields.adopt.obstacles import CatalogColumn
from encfields.adopt.stages import AdoptionState, adopted_in, state_of
from encfields.bulk.connections import Connections
from encfields.bulk.rows.catalog import hides_rows
from encfields.databases import MYSQL_NAMES
from encfields.orm.adoption.triggers import Triggers
from encfields.orm.declare.index_column_type import bytes_type
from encfields.orm.declare.message_check import check_name, is_message

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

LOCK_SECONDS = 2
"""For which a table's lock is waited for."""

TRIES = 15
"""How often it is asked for, with a pause in between."""


class Schema:
    """Changes one table for one adoption.

    :param engine: of the database; connections of its own are made from it.
    :param adoption: the adoption.
    """

    def __init__(self, engine: Engine, adoption: Adoption) -> None:
        self._engine = engine
        self._adoption = adoption
        self._name = "mysql" if engine.dialect.name in MYSQL_NAMES else engine.dialect.name
        self._quote = engine.dialect.identifier_preparer.quote

    def state(self) -> AdoptionState:
        """Where the adoption stands.

        :raises AdoptionError: rows of the table are hidden from the database user, who would take
            them for rows that are not there.
        """
        spec = self._adoption.spec
        with self._connection() as connection:
            if hides_rows(sql_table(spec.table, schema=spec.schema), connection):
                raise self._refusal(
                    "a row level security policy hides rows of the table from this database user: "
                    "adopt it as a user with BYPASSRLS, or as the owner without FORCE",
                    "row-security",
                )
            return state_of(connection, self._adoption)

    def require_nothing(self, look: Callable[[CatalogColumn], list[str]], otherwise: str) -> None:
        """See that nothing stands in the way of a step.

        :raises AdoptionError: something does, and is named.
        """
        spec = self._adoption.spec
        with self._connection() as connection:
            found = look(CatalogColumn(connection, spec.table, spec.schema, self._adoption.plain))
        if found:
            raise self._refusal(f"{otherwise}: {'; '.join(found)}", "in-the-way")

    def _refusal(self, message: str, reason: str) -> AdoptionError:
        adoption = self._adoption
        return AdoptionError(
            message, table=adoption.table_name, column=adoption.plain, reason=reason
        )

    # -- the steps -----------------------------------------------------------------------------

    def begin(self, stage: str) -> None:
        """Add what is missing: columns, triggers, a plaintext column that may be NULL, indexes."""
        self._change(lambda connection: self._begin(connection, stage))
        if self._adoption.guard and self._name == "postgresql":
            self._change(self._validate)
        self._create_indexes()

    def _begin(self, connection: Connection, stage: str) -> None:
        state = state_of(connection, self._adoption)
        self._add_columns(connection, state)
        self._create_triggers(connection, state, stage)
        if not state.table.c[self._adoption.plain].nullable:
            self._let_be_null(connection)

    def set_stage(self, stage: str) -> None:
        """Put the triggers of a stage in the place of those of another."""

        def change(connection: Connection) -> None:
            state = state_of(connection, self._adoption)
            self._create_triggers(connection, state, stage, also=state.emptied)

        self._change(change)

    def close(self, stage: str) -> None:
        """The same, and no default of the database's gives a row plaintext any more."""

        def change(connection: Connection) -> None:
            state = state_of(connection, self._adoption)
            self._create_triggers(connection, state, stage, also=state.emptied)
            if state.table.c[self._adoption.plain].server_default is not None:
                self._drop_default(connection)

        self._change(change)

    def end(self) -> None:
        """Drop the plaintext column and the triggers; the encrypted one has to have a value, if
        the plaintext had to.

        May be done again after it was killed: the triggers go last where nothing is taken back.
        """

        def change(connection: Connection) -> None:
            state = state_of(connection, self._adoption)
            if state.required:
                self._require(connection, self._adoption.sealed)
            plain = [self._adoption.plain] if state.has_plain else []
            if self._name != "mysql":
                self._drop_triggers(connection, state)
                self._drop_columns(connection, plain)
                return
            # Nobody writes while there are triggers of a column that is gone.
            connection.exec_driver_sql(f"LOCK TABLES {self._table()} WRITE")
            try:
                self._drop_columns(connection, plain)
                self._drop_triggers(connection, state)
            finally:
                if not connection.invalidated:
                    connection.exec_driver_sql("UNLOCK TABLES")

        self._change(change)

    def withdraw(self) -> None:
        """Drop the encrypted column, its indexes and the triggers."""

        def change(connection: Connection) -> None:
            state = state_of(connection, self._adoption)
            if state.required:
                self._require(connection, self._adoption.plain)
            self._drop_triggers(connection, state)
            names = [self._adoption.sealed, *(index.name for index in self._adoption.indexes)]
            present = [name for name in names if name in state.table.c]
            if self._name == "mysql":
                self._drop_guard(connection)
            self._drop_columns(connection, present)

        self._change(change)

    # -- columns -------------------------------------------------------------------------------

    def _add_columns(self, connection: Connection, state: AdoptionState) -> None:
        dialect = connection.dialect
        blob = "LONGBLOB" if self._name == "mysql" else LargeBinary().compile(dialect)
        wanted = {self._adoption.sealed: blob}
        for index in self._adoption.indexes:
            wanted[index.name] = bytes_type(dialect, index.stored_bytes).compile(dialect)
        missing = {name: type_ for name, type_ in wanted.items() if name not in state.table.c}
        clauses = [f"ADD COLUMN {self._quote(name)} {t} NULL" for name, t in missing.items()]
        if not clauses:
            return
        if self._adoption.guard and self._adoption.sealed in missing:
            clauses = self._guarded(clauses)
        if self._name == "sqlite":
            for clause in clauses:
                connection.exec_driver_sql(f"ALTER TABLE {self._table()} {clause}")
        else:
            connection.exec_driver_sql(f"ALTER TABLE {self._table()} {', '.join(clauses)}")

    def _guarded(self, clauses: list[str]) -> list[str]:
        """The clauses that add columns, the encrypted one first, with its CHECK."""
        holds = is_message(sql_column(self._adoption.sealed)).compile(dialect=self._engine.dialect)
        check = f"CONSTRAINT {self._check_name()} CHECK ({holds})"
        if self._name == "sqlite":
            return [f"{clauses[0]} {check}", *clauses[1:]]
        return [*clauses, f"ADD {check}{' NOT VALID' if self._name == 'postgresql' else ''}"]

    def _check_name(self) -> str:
        return self._quote(check_name(self._adoption.spec.table, self._adoption.sealed))

    def _has_guard(self, connection: Connection) -> bool:
        spec = self._adoption.spec
        checks = inspected(connection).get_check_constraints(spec.table, schema=spec.schema)
        return any(self._quote(str(check["name"])) == self._check_name() for check in checks)

    def _validate(self, connection: Connection) -> None:
        """Have PostgreSQL check the rows that were there before the CHECK: no writer waits."""
        if self._has_guard(connection):
            self._alter(connection, f"VALIDATE CONSTRAINT {self._check_name()}")

    def _drop_guard(self, connection: Connection) -> None:
        """MySQL holds on to a column that a CHECK names."""
        if self._has_guard(connection):
            self._alter(connection, f"DROP CONSTRAINT {self._check_name()}")

    def _drop_columns(self, connection: Connection, names: list[str]) -> None:
        if self._name != "sqlite":
            clauses = ", ".join(f"DROP COLUMN {self._quote(name)}" for name in names)
            if names:
                connection.exec_driver_sql(f"ALTER TABLE {self._table()} {clauses}")
            return
        for name in names:
            sqlite.drop_column(connection, self._adoption.spec.table, name)

    def _let_be_null(self, connection: Connection) -> None:
        plain = self._adoption.plain
        if self._name == "postgresql":
            self._alter(connection, f"ALTER COLUMN {self._quote(plain)} DROP NOT NULL")
        elif self._name == "mysql":
            line = self._mysql_column(connection, plain)
            self._alter(connection, f"MODIFY COLUMN {nullable(line)}")
        else:
            table = self._adoption.spec.table
            sqlite.change_column(connection, table, plain, without_not_null)

    def _drop_default(self, connection: Connection) -> None:
        plain = self._adoption.plain
        if self._name == "sqlite":
            table = self._adoption.spec.table
            sqlite.change_column(connection, table, plain, without_default)
        else:
            self._alter(connection, f"ALTER COLUMN {self._quote(plain)} DROP DEFAULT")

    def _require(self, connection: Connection, name: str) -> None:
        """Have a column refuse NULL. On PostgreSQL a CHECK that is validated beforehand keeps the
        table from being read under a lock."""
        if self._name == "postgresql":
            column, check = self._quote(name), self._quote(f"{name}_encfields_required")
            not_valid = f"ADD CONSTRAINT {check} CHECK ({column} IS NOT NULL) NOT VALID"
            self._alter(connection, f"DROP CONSTRAINT IF EXISTS {check}")
            self._alter(connection, not_valid)
            self._alter(connection, f"VALIDATE CONSTRAINT {check}")
            self._alter(connection, f"ALTER COLUMN {column} SET NOT NULL")
            self._alter(connection, f"DROP CONSTRAINT {check}")
        elif self._name == "mysql":
            line = self._mysql_column(connection, name)
            if (changed := required(line)) != line:
                self._alter(connection, f"MODIFY COLUMN {changed}")
        else:
            sqlite.change_column(connection, self._adoption.spec.table, name, with_not_null)

    def _alter(self, connection: Connection, clause: str) -> None:
        connection.exec_driver_sql(f"ALTER TABLE {self._table()} {clause}")

    def _mysql_column(self, connection: Connection, name: str) -> str:
        """The whole definition of a column, as the server writes it."""
        sql = str(connection.exec_driver_sql(f"SHOW CREATE TABLE {self._table()}").one()[1])
        # In backticks, or as the session's sql_mode has it, which the dialect knows.
        quoted = connection.dialect.identifier_preparer.quote_identifier(name).replace("%%", "%")
        for line in sql.splitlines():
            if line.strip().startswith(f"{quoted} "):
                return line.strip().rstrip(",").replace("%", "%%")
        raise LookupError(name)

    # -- triggers ------------------------------------------------------------------------------

    def _create_triggers(
        self,
        connection: Connection,
        state: AdoptionState,
        stage: str,
        *,
        also: Collection[str] = (),
    ) -> None:
        """:param also: columns of blind indexes that this step was not told of, and others were."""
        for statement in self._triggers(connection, state, also).create(stage):
            connection.exec_driver_sql(statement)

    def _drop_triggers(self, connection: Connection, state: AdoptionState) -> None:
        for statement in self._triggers(connection, state).drop():
            connection.exec_driver_sql(statement)

    def _triggers(
        self, connection: Connection, state: AdoptionState, also: Collection[str] = ()
    ) -> Triggers:
        required = state.required
        adopted = adopted_in(connection, self._adoption, state.table, required=required)
        kept = {*also}.intersection(state.table.columns.keys())
        adopted = adopted._replace(indexes=tuple(sorted({*adopted.indexes, *kept})))
        return Triggers(adopted, connection.dialect)

    # -- indexes -------------------------------------------------------------------------------

    def _create_indexes(self) -> None:
        for index in self._adoption.indexes:
            unique = "UNIQUE " if index.name in self._adoption.unique else ""
            self._create_index(self._index_name(index.name), unique, index.name)

    def _index_name(self, column: str) -> str:
        """As SQLAlchemy names an index, and shortens what is too long for the database."""
        name = f"ix_{self._adoption.spec.table}_{column}"
        longest = self._engine.dialect.max_index_name_length or (
            self._engine.dialect.max_identifier_length
        )
        if len(name.encode()) <= longest:
            return name
        digest = hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()[-4:]
        return f"{name.encode()[: longest - 8].decode(errors='ignore')}_{digest}"

    def _create_index(self, name: str, unique: str, column: str) -> None:
        concurrently = ""
        with self._connection() as connection:
            spec = self._adoption.spec
            indexes: list[Any] = inspected(connection).get_indexes(spec.table, schema=spec.schema)
            if any(index["column_names"] == [column] for index in indexes):
                return
            if self._name == "postgresql" and not self._is_partitioned(connection):
                concurrently = "CONCURRENTLY "
        on = f"{self._table()} ({self._quote(column)})"
        sql = f"CREATE {unique}INDEX {concurrently}{self._quote(name)} ON {on}"
        with self._autocommitting() as connection:
            self._patiently(lambda: connection.exec_driver_sql(sql))

    def _is_partitioned(self, connection: Connection) -> bool:
        spec = self._adoption.spec
        kind = connection.execute(
            text(
                "SELECT c.relkind FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
                " WHERE c.relname = :table AND n.nspname = COALESCE(:schema, current_schema())"
            ),
            {"table": spec.table, "schema": spec.schema},
        ).scalar_one()
        return kind in ("p", b"p")

    # -- connections ---------------------------------------------------------------------------

    def _table(self) -> str:
        spec = self._adoption.spec
        table = self._quote(spec.table)
        if spec.schema is None:
            return table
        return f"{self._engine.dialect.identifier_preparer.quote_schema(spec.schema)}.{table}"

    def _change(self, change: Callable[[Connection], None]) -> None:
        """Change the schema in one transaction, where the database has such of DDL."""

        def attempt() -> None:
            with self._autocommitting() as connection:
                if self._name == "sqlite":
                    connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
                if self._name == "mysql":
                    change(connection)
                    return
                connection.exec_driver_sql("BEGIN" if self._name != "sqlite" else "BEGIN IMMEDIATE")
                try:
                    change(connection)
                except BaseException:
                    if not connection.invalidated:  # as it is where Ctrl-C has ended it
                        connection.exec_driver_sql("ROLLBACK")
                    raise
                connection.exec_driver_sql("COMMIT")

        self._patiently(attempt)

    def _patiently(self, attempt: Callable[[], Any]) -> None:
        """Try again where a lock was not granted."""
        for number in range(TRIES):
            try:
                attempt()
                return
            except DBAPIError as error:
                if number == TRIES - 1 or not _is_lock(error):
                    raise
            time.sleep(0.2 * (number + 1))

    @contextmanager
    def _autocommitting(self) -> Iterator[Connection]:
        with self._connection() as connection:
            connection = connection.execution_options(isolation_level="AUTOCOMMIT")
            if self._name == "postgresql":
                connection.exec_driver_sql(f"SET lock_timeout = '{LOCK_SECONDS}s'")
            if self._name == "mysql":
                connection.exec_driver_sql(f"SET SESSION lock_wait_timeout = {LOCK_SECONDS}")
            yield connection

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        own = Connections(self._engine)
        try:
            with own.engine.connect() as connection:
                yield connection
        finally:
            own.close()


_LOCKED = ("lock timeout", "lock wait timeout", "database is locked", "database table is locked")


def _is_lock(error: DBAPIError) -> bool:
    text = str(error.orig).lower()
    return any(word in text for word in _LOCKED) or "canceling statement due to lock" in text
