"""An adoption's changes of a table's columns, in each database's SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import LargeBinary
from sqlalchemy import column as sql_column
from sqlalchemy import inspect as inspected

from encfields.adopt import sqlite_schema as sqlite
from encfields.adopt.adoption import Adoption
from encfields.adopt.column_definitions import (
    nullable,
    required,
    with_not_null,
    without_default,
    without_not_null,
)
from encfields.databases import MYSQL_NAMES, short_name
from encfields.orm.declare.index_column_type import bytes_type
from encfields.orm.declare.message_check import is_message, name_of_check

if TYPE_CHECKING:
    from sqlalchemy import Connection, Dialect, Table


class ColumnChanges:
    """Changes the columns of one adoption's table.

    :param dialect: of the database. :param adoption: the adoption.
    :ivar table: the table's quoted name, with its schema if it has one.
    """

    def __init__(self, dialect: Dialect, adoption: Adoption) -> None:
        self._dialect = dialect
        self._adoption = adoption
        self._name = "mysql" if dialect.name in MYSQL_NAMES else dialect.name
        self._quote = dialect.identifier_preparer.quote
        spec = adoption.spec
        self.table = self._quote(spec.table)
        if spec.schema is not None:
            self.table = f"{dialect.identifier_preparer.quote_schema(spec.schema)}.{self.table}"

    def add(self, connection: Connection, present: Table) -> None:
        """Add the encrypted column and those of its blind indexes.

        :param present: the reflected table; existing columns are left out.
        """
        dialect = connection.dialect
        blob = "LONGBLOB" if self._name == "mysql" else LargeBinary().compile(dialect)
        wanted = {self._adoption.sealed: blob}
        for index in self._adoption.indexes:
            wanted[index.name] = bytes_type(dialect, index.stored_bytes).compile(dialect)
        missing = {name: type_ for name, type_ in wanted.items() if name not in present.c}
        clauses = [f"ADD COLUMN {self._quote(name)} {t} NULL" for name, t in missing.items()]
        if not clauses:
            return
        if self._adoption.guard and self._adoption.sealed in missing:
            clauses = self._guarded(clauses)
        for clause in clauses if self._name == "sqlite" else [", ".join(clauses)]:
            self._alter(connection, clause)

    def _guarded(self, clauses: list[str]) -> list[str]:
        """The clauses that add columns, the encrypted one first, with its CHECK."""
        holds = is_message(sql_column(self._adoption.sealed)).compile(dialect=self._dialect)
        check = f"CONSTRAINT {self._check_name()} CHECK ({holds})"
        if self._name == "sqlite":
            return [f"{clauses[0]} {check}", *clauses[1:]]
        return [*clauses, f"ADD {check}{' NOT VALID' if self._name == 'postgresql' else ''}"]

    def _check_name(self) -> str:
        return self._quote(name_of_check(self._adoption.spec.table, self._adoption.sealed))

    def _has_guard(self, connection: Connection) -> bool:
        spec = self._adoption.spec
        checks = inspected(connection).get_check_constraints(spec.table, schema=spec.schema)
        return any(self._quote(str(check["name"])) == self._check_name() for check in checks)

    def validate_guard(self, connection: Connection) -> None:
        """Make PostgreSQL validate existing rows, without blocking writers."""
        if self._has_guard(connection):
            self._alter(connection, f"VALIDATE CONSTRAINT {self._check_name()}")

    def drop_guard(self, connection: Connection) -> None:
        """Drop the CHECK, which on MySQL blocks dropping its column."""
        if self._has_guard(connection):
            self._alter(connection, f"DROP CONSTRAINT {self._check_name()}")

    def drop(self, connection: Connection, names: list[str]) -> None:
        """Drop some columns."""
        if self._name != "sqlite":
            if names:
                clauses = (f"DROP COLUMN {self._quote(name)}" for name in names)
                self._alter(connection, ", ".join(clauses))
            return
        for name in names:
            sqlite.drop_column(connection, self._adoption.spec.table, name)

    def let_plaintext_be_null(self, connection: Connection) -> None:
        """Allow NULL in the plaintext column."""
        plain = self._adoption.plain
        if self._name == "postgresql":
            self._alter(connection, f"ALTER COLUMN {self._quote(plain)} DROP NOT NULL")
        elif self._name == "mysql":
            line = self._mysql_column(connection, plain)
            self._alter(connection, f"MODIFY COLUMN {nullable(line)}")
        else:
            table = self._adoption.spec.table
            sqlite.change_column(connection, table, plain, without_not_null)

    def drop_default(self, connection: Connection) -> None:
        """Drop the plaintext column's default."""
        plain = self._adoption.plain
        if self._name == "sqlite":
            table = self._adoption.spec.table
            sqlite.change_column(connection, table, plain, without_default)
        else:
            self._alter(connection, f"ALTER COLUMN {self._quote(plain)} DROP DEFAULT")

    def demand(self, connection: Connection, name: str) -> None:
        """On PostgreSQL, demand a value of each row that is written from now on."""
        column, check = self._quote(name), self._check_that_demands(name)
        self._alter(connection, f"DROP CONSTRAINT IF EXISTS {check}")
        self._alter(connection, f"ADD CONSTRAINT {check} CHECK ({column} IS NOT NULL) NOT VALID")

    def validate_demand(self, connection: Connection, name: str) -> None:
        """Make PostgreSQL look for a value in the rows that are there, while others write."""
        checks = inspected(connection).get_check_constraints(
            self._adoption.spec.table, schema=self._adoption.spec.schema
        )
        if any(
            self._quote(str(check["name"])) == self._check_that_demands(name) for check in checks
        ):
            self._alter(connection, f"VALIDATE CONSTRAINT {self._check_that_demands(name)}")

    def drop_demands(self, connection: Connection) -> None:
        """Drop the CHECKs of a step that was killed before its end."""
        if self._name == "postgresql":
            checks = map(self._check_that_demands, (self._adoption.plain, self._adoption.sealed))
            clauses = (f"DROP CONSTRAINT IF EXISTS {check}" for check in checks)
            self._alter(connection, ", ".join(clauses))

    def _check_that_demands(self, name: str) -> str:
        """The quoted name of the CHECK by which a column's value is demanded."""
        return self._quote(short_name(f"{name}_encfields_required", 63, digits=8))

    def require(self, connection: Connection, name: str) -> None:
        """Make a column NOT NULL."""
        if self._name == "postgresql":
            self._alter(connection, f"ALTER COLUMN {self._quote(name)} SET NOT NULL")
            self._alter(connection, f"DROP CONSTRAINT IF EXISTS {self._check_that_demands(name)}")
        elif self._name == "mysql":
            line = self._mysql_column(connection, name)
            if (changed := required(line)) != line:
                self._alter(connection, f"MODIFY COLUMN {changed}")
        else:
            sqlite.change_column(connection, self._adoption.spec.table, name, with_not_null)

    def _alter(self, connection: Connection, clause: str) -> None:
        connection.exec_driver_sql(f"ALTER TABLE {self.table} {clause}")

    def _mysql_column(self, connection: Connection, name: str) -> str:
        """The whole definition of a column, as the server shows it."""
        sql = str(connection.exec_driver_sql(f"SHOW CREATE TABLE {self.table}").one()[1])
        # Quoted in backticks, or by the session's sql_mode, which the dialect knows.
        quoted = connection.dialect.identifier_preparer.quote_identifier(name).replace("%%", "%")
        for line in sql.splitlines():
            if line.strip().startswith(f"{quoted} "):
                return line.strip().rstrip(",").replace("%", "%%")
        raise LookupError(name)
