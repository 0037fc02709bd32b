"""Columns that MySQL and MariaDB change with every UPDATE of a row: ``ON UPDATE
CURRENT_TIMESTAMP``. A run leaves a row as it is but for its encryption, and says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import DateTime, text

from encfields.orm.declare.row_keys import MYSQL_NAMES

if TYPE_CHECKING:
    from sqlalchemy import Column, Connection, Table

_THOSE = text(
    "SELECT column_name FROM information_schema.columns WHERE table_schema = "
    "COALESCE(:schema, DATABASE()) AND table_name = :table AND extra LIKE '%on update%'"
)


def updated_by_server(connection: Connection, table: Table) -> tuple[Column[Any], ...]:
    """The columns of a reflected table that the server changes by itself.

    Only those of dates with times can be. For other tables the server is not asked: its answer is
    a temporary table, for which a full disk has no space.
    """
    can_be = any(isinstance(column.type, DateTime) for column in table.columns)
    if connection.dialect.name not in MYSQL_NAMES or not can_be:
        return ()
    found = connection.execute(_THOSE, {"schema": table.schema, "table": table.name}).scalars()
    return tuple(table.c[name] for name in found)
