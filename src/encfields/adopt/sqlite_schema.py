"""Changes of a SQLite table that ``ALTER TABLE`` cannot make.

A column's rule is changed in the text of the schema, which SQLite documents for changes that do not
affect stored content. Only to drop a column that a constraint names is the table rebuilt, with its
indexes and triggers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy.exc import OperationalError

from encfields.adopt.column_definitions import (
    covered,
    defines_column,
    definition_without,
    definitions,
    names_any,
)
from encfields.errors import DeclarationError

if TYPE_CHECKING:
    from sqlalchemy import Connection


def change_column(connection: Connection, table: str, column: str, *changes: object) -> None:
    """Change the rules of a column in the text of the schema, within a transaction.

    :param changes: functions from the column's definition to a new one.
    :raises DeclarationError: the column is not found in the table's text.
    """
    sql = table_sql(connection, table)
    before, parts, after = definitions(sql)
    wanted = [_changed(part, changes) if defines_column(part, column) else part for part in parts]
    if not any(defines_column(part, column) for part in parts):
        raise DeclarationError(
            "the table's definition has no such column",
            table=table,
            column=column,
            reason="column",
        )
    new = before + ",".join(wanted) + after
    if new == sql:
        return
    version = connection.exec_driver_sql("PRAGMA schema_version").scalar_one()
    connection.exec_driver_sql("PRAGMA writable_schema=ON")
    connection.exec_driver_sql(
        "UPDATE sqlite_master SET sql = ? WHERE type = 'table' AND name = ?", (new, table)
    )
    connection.exec_driver_sql(f"PRAGMA schema_version={int(version) + 1}")
    connection.exec_driver_sql("PRAGMA writable_schema=OFF")


def _changed(part: str, changes: tuple[object, ...]) -> str:
    for change in changes:
        part = change(part)  # type: ignore[operator]
    return part


def table_sql(connection: Connection, table: str) -> str:
    """The SQL that created a table."""
    result = connection.exec_driver_sql(
        "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ?", (table,)
    )
    return str(result.scalar_one())


def made_of(connection: Connection, table: str, kind: str) -> list[str]:
    """The SQL that created a table's indexes or triggers, which are dropped with it.

    :param kind: ``"index"`` or ``"trigger"``.
    """
    result = connection.exec_driver_sql(
        "SELECT sql FROM sqlite_master WHERE tbl_name = ? AND type = ? AND sql IS NOT NULL",
        (table, kind),
    )
    return [str(sql) for sql in result.scalars()]


def drop_column(connection: Connection, table: str, column: str) -> None:
    """Drop a column, and the indexes and constraints only on it.

    The connection must not enforce foreign keys.

    :raises DeclarationError: a constraint covers this column and others.
    """
    quote = connection.dialect.identifier_preparer.quote
    for name in _indexes_of(connection, table, column):
        connection.exec_driver_sql(f"DROP INDEX {quote(name)}")
    try:
        connection.exec_driver_sql(f"ALTER TABLE {quote(table)} DROP COLUMN {quote(column)}")
    except OperationalError:  # a constraint names it
        _rebuild(connection, table, column)


def _rebuild(connection: Connection, table: str, column: str) -> None:
    """Copy the table into one without the column."""
    quote = connection.dialect.identifier_preparer.quote
    definition = definition_without(table_sql(connection, table), table, column)
    made = quote(f"{table}_encfields_new")
    indexes = (
        index
        for index in made_of(connection, table, "index")
        if not names_any(covered(index), column)
    )
    others = [*indexes, *made_of(connection, table, "trigger")]
    columns = ", ".join(
        quote(row[1])
        for row in connection.exec_driver_sql(f"PRAGMA table_xinfo({quote(table)})")
        if row[1].lower() != column.lower() and row[6] == 0
    )
    copy = f"INSERT INTO {made} ({columns}) SELECT {columns} FROM {quote(table)}"  # noqa: S608
    # Keep other tables' references unchanged.
    connection.exec_driver_sql("PRAGMA legacy_alter_table=ON")
    for statement in (
        f"CREATE TABLE {made} {definition}",
        copy,
        *_sequence_kept(connection, table, f"{table}_encfields_new"),
        f"DROP TABLE {quote(table)}",
        f"ALTER TABLE {made} RENAME TO {quote(table)}",
        *others,
    ):
        connection.exec_driver_sql(statement)
    connection.exec_driver_sql("PRAGMA legacy_alter_table=OFF")


def _sequence_kept(connection: Connection, table: str, made: str) -> list[str]:
    """Have the new table go on where the old one's AUTOINCREMENT is: no key is given twice."""
    counts = "SELECT 1 FROM sqlite_master WHERE name = 'sqlite_sequence'"
    if connection.exec_driver_sql(counts).scalar() is None:
        return []
    old, new = (name.replace("'", "''") for name in (table, made))
    return [
        f"DELETE FROM sqlite_sequence WHERE name = '{new}'",  # noqa: S608 - quoted
        f"INSERT INTO sqlite_sequence (name, seq) SELECT '{new}', seq FROM sqlite_sequence "  # noqa: S608
        f"WHERE name = '{old}'",
    ]


def _indexes_of(connection: Connection, table: str, column: str) -> list[str]:
    """The indexes of this column, except those of constraints."""
    quote = connection.dialect.identifier_preparer.quote
    names = connection.exec_driver_sql(
        "SELECT name FROM sqlite_master WHERE tbl_name = ? AND type = 'index' AND sql IS NOT NULL",
        (table,),
    )
    indexes = []
    for name in list(names.scalars()):
        parts = connection.exec_driver_sql(f"PRAGMA index_info({quote(name)})")
        if any(str(row[2]).lower() == column.lower() for row in parts):
            indexes.append(name)
    return indexes
