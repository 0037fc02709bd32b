"""Changes a table's columns, triggers and indexes for an adoption.

Changes are online as far as the database allows, and in one transaction if its DDL is
transactional.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

from sqlalchemy import inspect as inspected
from sqlalchemy import table as sql_table
from sqlalchemy import text

from encfields.adopt.adoption import Adoption, AdoptionError
from encfields.adopt.catalog_column import CatalogColumn
from encfields.adopt.column_changes import ColumnChanges
from encfields.adopt.obstacles import before_the_withdrawal
from encfields.adopt.schema_transactions import SchemaTransactions, TableInUseError
from encfields.adopt.stages import AdoptionState, adopted_in, state_of
from encfields.bulk.rows.catalog import hides_rows
from encfields.bulk.rows.changed_keys import changes_of_keys
from encfields.databases import MYSQL_NAMES
from encfields.orm.adoption.trigger_notes import CLOSED
from encfields.orm.adoption.triggers import Triggers
from encfields.orm.declare.message_check import name_of_check

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine


class Schema:
    """Changes one table for one adoption.

    :param engine: of the database, for separate connections.
    :param adoption: the adoption.
    """

    def __init__(self, engine: Engine, adoption: Adoption) -> None:
        self._dialect = engine.dialect
        self._name = "mysql" if engine.dialect.name in MYSQL_NAMES else engine.dialect.name
        self._adoption = adoption
        self._columns = ColumnChanges(engine.dialect, adoption)
        self._transactions = SchemaTransactions(engine)

    def state(self) -> AdoptionState:
        """The state of the adoption.

        :raises AdoptionError: rows of the table are hidden from the database user.
        """
        spec = self._adoption.spec
        with self._transactions.connection() as connection:
            if hides_rows(sql_table(spec.table, schema=spec.schema), connection):
                raise self._refusal(
                    "a row level security policy hides rows of the table from this database user: "
                    "adopt it as a user with BYPASSRLS, or as the owner without FORCE",
                    "row-security",
                )
            return state_of(connection, self._adoption)

    def require_nothing(self, look: Callable[[CatalogColumn], list[str]], otherwise: str) -> None:
        """Check that nothing prevents a step.

        :raises AdoptionError: something does; it is named.
        """
        spec = self._adoption.spec
        with self._transactions.connection() as connection:
            found = look(CatalogColumn(connection, spec.table, spec.schema, self._adoption.plain))
        if found:
            raise self._refusal(f"{otherwise}: {'; '.join(found)}", "in-the-way")

    def require_nothing_of_sealed(self, added: Collection[str]) -> None:
        """Check that nothing needs the columns that the adoption has added.

        :param added: those of them that the table has.
        :raises AdoptionError: something does; it is named.
        """
        spec = self._adoption.spec
        guard = name_of_check(spec.table, self._adoption.sealed)
        with self._transactions.connection() as connection:
            columns = [CatalogColumn(connection, spec.table, spec.schema, one) for one in added]
            found = before_the_withdrawal(columns, guard)
        if found:
            message = f"the encrypted column is still needed: {'; '.join(found)}"
            raise self._refusal(message, "in-the-way")

    def require_lasting_keys(self) -> None:
        """Check that the database does not itself change what the values will be bound to.

        :raises AdoptionError: it does, by a foreign key for instance.
        """
        with self._transactions.connection() as connection:
            found = changes_of_keys(connection, self._adoption.spec)
        if found:
            raise self._refusal(f"the column cannot be adopted: {'; '.join(found)}", "in-the-way")

    def _refusal(self, message: str, reason: str) -> AdoptionError:
        adoption = self._adoption
        return AdoptionError(
            message, table=adoption.table_name, column=adoption.plain, reason=reason
        )

    # -- the steps -----------------------------------------------------------------------------

    def begin(self, stage: str) -> None:
        """Add what is missing: columns, triggers, a plaintext column that may be NULL, indexes."""
        self._transactions.change(lambda connection: self._begin(connection, stage))
        if self._adoption.guard and self._name == "postgresql":
            self._transactions.change(self._columns.validate_guard)
        self._create_indexes()

    def _begin(self, connection: Connection, stage: str) -> None:
        state = state_of(connection, self._adoption)
        self._columns.drop_demands(connection)
        self._columns.add(connection, state.table)
        self._create_triggers(connection, state, stage)
        if not state.table.c[self._adoption.plain].nullable:
            self._columns.let_plaintext_be_null(connection)

    def set_stage(self, stage: str) -> None:
        """Replace the triggers with those of another stage. From the closed stage on, also drop the
        plaintext column's default."""

        def change(connection: Connection) -> None:
            state = state_of(connection, self._adoption)
            self._columns.drop_demands(connection)
            self._create_triggers(connection, state, stage, also=state.emptied)
            plain = state.table.c[self._adoption.plain]
            if stage == CLOSED and plain.server_default is not None:
                self._columns.drop_default(connection)

        self._transactions.change(change)

    def end(self) -> None:
        """Drop the plaintext column and the triggers; the encrypted column becomes NOT NULL, if the
        plaintext was.

        It can be repeated after it was killed: without transactional DDL the triggers are dropped
        last.
        """

        def change(connection: Connection) -> None:
            state = state_of(connection, self._adoption)
            if state.required:
                self._columns.require(connection, self._adoption.sealed)
            plain = [self._adoption.plain] if state.has_plain else []
            if self._name != "mysql":
                self._drop_triggers(connection, state)
                self._columns.drop(connection, plain)
                return
            # Nobody may write while triggers refer to the dropped column.
            connection.exec_driver_sql(f"LOCK TABLES {self._columns.table} WRITE")
            try:
                self._columns.drop(connection, plain)
                self._drop_triggers(connection, state)
            finally:
                if not connection.invalidated:
                    connection.exec_driver_sql("UNLOCK TABLES")

        self._demand(self._adoption.sealed)
        self._transactions.change(change)

    def withdraw(self) -> None:
        """Drop the encrypted column, its indexes and the triggers."""

        def change(connection: Connection) -> None:
            state = state_of(connection, self._adoption)
            if state.required:
                self._columns.require(connection, self._adoption.plain)
            self._drop_triggers(connection, state)
            present = self.added(state)
            if self._name == "mysql":
                self._columns.drop_guard(connection)
            self._columns.drop(connection, present)

        self._demand(self._adoption.plain)
        self._transactions.change(change)

    def added(self, state: AdoptionState) -> list[str]:
        """The columns that the table has of the adoption: the encrypted one and its indexes'."""
        names = [self._adoption.sealed, *(index.name for index in self._adoption.indexes)]
        return [name for name in names if name in state.table.c]

    def _demand(self, name: str) -> None:
        """On PostgreSQL, demand a value of a column, and then read the table for those without it,
        while others write: what makes it NOT NULL afterwards has nothing to read under its lock."""

        def demand(connection: Connection) -> None:
            state = state_of(connection, self._adoption)
            if state.required and name in state.table.c:
                self._columns.demand(connection, name)

        if self._name == "postgresql":
            self._transactions.change(demand)
            self._transactions.change(lambda one: self._columns.validate_demand(one, name))

    # -- triggers ------------------------------------------------------------------------------

    def _create_triggers(
        self,
        connection: Connection,
        state: AdoptionState,
        stage: str,
        *,
        also: Collection[str] = (),
    ) -> None:
        """:param also: columns of blind indexes that only earlier steps knew."""
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
        """SQLAlchemy's default name of an index, shortened if too long for the database."""
        name = f"ix_{self._adoption.spec.table}_{column}"
        longest = self._dialect.max_index_name_length or (self._dialect.max_identifier_length)
        if len(name.encode()) <= longest:
            return name
        digest = hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()[-4:]
        return f"{name.encode()[: longest - 8].decode(errors='ignore')}_{digest}"

    def _create_index(self, name: str, unique: str, column: str) -> None:
        def change(connection: Connection) -> None:
            concurrently = ""
            if self._name == "postgresql" and not self._is_partitioned(connection):
                concurrently = "CONCURRENTLY "
                self._require_no_other_creates_one(connection)
                self._drop_unfinished_index(connection, column)
            spec = self._adoption.spec
            indexes: list[Any] = inspected(connection).get_indexes(spec.table, schema=spec.schema)
            if any(index["column_names"] == [column] for index in indexes):
                return
            quote = self._dialect.identifier_preparer.quote
            on = f"{self._columns.table} ({quote(column)})"
            connection.exec_driver_sql(f"CREATE {unique}INDEX {concurrently}{quote(name)} ON {on}")

        self._transactions.outside(change)

    def _require_no_other_creates_one(self, connection: Connection) -> None:
        """:raises TableInUseError: another host creates an index of the table: theirs is not
        finished, and not to be dropped."""
        creates = text(
            "SELECT 1 FROM pg_stat_progress_create_index p JOIN pg_class t ON t.oid = p.relid "
            "JOIN pg_namespace n ON n.oid = t.relnamespace WHERE p.datname = current_database() "
            "AND t.relname = :table AND n.nspname = COALESCE(:schema, current_schema())"
        )
        spec = self._adoption.spec
        if connection.execute(creates, {"table": spec.table, "schema": spec.schema}).first():
            raise TableInUseError(
                "another process creates an index of the table: when it has ended, run "
                "begin_adoption again",
                table=self._adoption.table_name,
                column=self._adoption.plain,
                reason="in-use",
            )

    def _drop_unfinished_index(self, connection: Connection, column: str) -> None:
        """Drop what a ``CREATE INDEX CONCURRENTLY`` left that did not end, as for want of a lock:
        it finds nothing, and may accept duplicates."""
        spec = self._adoption.spec
        unfinished = connection.execute(
            text(
                "SELECT n.nspname, c.relname FROM pg_index i JOIN pg_class c ON c.oid = "
                "i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_class t ON "
                "t.oid = i.indrelid JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = "
                "ANY (i.indkey) WHERE NOT i.indisvalid AND i.indnatts = 1 AND t.relname = :table "
                "AND n.nspname = COALESCE(:schema, current_schema()) AND a.attname = :column"
            ),
            {"table": spec.table, "schema": spec.schema, "column": column},
        )
        quote = self._dialect.identifier_preparer.quote
        for schema, name in unfinished.all():
            index = f"{quote(schema)}.{quote(name)}"
            connection.exec_driver_sql(f"DROP INDEX CONCURRENTLY IF EXISTS {index}")

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
