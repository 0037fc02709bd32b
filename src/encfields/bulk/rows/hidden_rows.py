"""Rows that PostgreSQL hides: to whoever counts or rewrites a table, they would not be there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

from encfields.errors import ConfigurationError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Table, TableClause

_ACTIVE = text("SELECT row_security_active(CAST(to_regclass(CAST(:name AS text)) AS oid))")


def hides_rows(table: TableClause, connection: Connection) -> bool:
    """Whether row level security may hide rows of a table from the database user."""
    if connection.dialect.name != "postgresql":
        return False
    name = connection.dialect.identifier_preparer.format_table(table)
    return bool(connection.scalar(_ACTIVE, {"name": name}))


def refuse_hidden_rows(table: Table, connection: Connection) -> None:
    """
    :raises ConfigurationError: row level security may hide rows. A run would end without them, and
        a census would call a key unused under which they are.
    """
    if hides_rows(table, connection):
        raise ConfigurationError(
            f"row level security hides rows of {table.fullname} from this database user: work on "
            "the whole table as a user with BYPASSRLS, or as its owner without FORCE",
            reason="row-security",
        )
