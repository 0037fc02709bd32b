"""What a database's catalog tells of a table beside what reflection reads of it.

In which schema a connection finds it, whether rows of it are hidden, which columns the server
generates or changes by itself, and about how many rows it has.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from sqlalchemy import DateTime, MetaData, Table, inspect, text

from encfields.databases import MYSQL_NAMES
from encfields.errors import ConfigurationError, DeclarationError

if TYPE_CHECKING:
    from sqlalchemy import Column, Connection, TableClause
    from sqlalchemy.engine.interfaces import ReflectedColumn


def schema_of(table: str, schema: str | None, connection: Connection) -> str | None:
    """A table's schema after the connection's ``schema_translate_map``, for catalog queries that
    SQLAlchemy does not translate.

    :param schema: as declared; ``None`` for the connection's default.
    """
    # Only Table is translated; table() never is.
    return connection.schema_for_object(Table(table, MetaData(), schema=schema))


_ROW_SECURITY = text("SELECT row_security_active(CAST(to_regclass(CAST(:name AS text)) AS oid))")


def hides_rows(table: TableClause, connection: Connection) -> bool:
    """Whether PostgreSQL's row level security may hide rows from the database user."""
    if connection.dialect.name != "postgresql":
        return False
    name = connection.dialect.identifier_preparer.format_table(table)
    return bool(connection.scalar(_ROW_SECURITY, {"name": name}))


def refuse_hidden_rows(table: Table, connection: Connection) -> None:
    """
    :raises ConfigurationError: row level security may hide rows. A run would miss them, and a
        census would call their key unused.
    """
    if hides_rows(table, connection):
        raise ConfigurationError(
            f"row level security hides rows of {table.fullname} from this database user: work on "
            "the whole table as a user with BYPASSRLS, or as its owner without FORCE",
            reason="row-security",
        )


def refuse_view(table: Table, connection: Connection) -> None:
    """
    :raises ConfigurationError: it is a view. A count that decides whether to destroy a key must
        include the rows that a view leaves out.
    """
    if is_view(table, connection):
        raise ConfigurationError(
            f"{table.fullname} is a view, which may leave rows out: count the table that its rows "
            "come from",
            reason="view",
        )


def without_primary_key(table: Table, connection: Connection) -> DeclarationError:
    """The error for a table, or a view, that a run cannot read in batches."""
    is_one = is_view(table, connection)
    return DeclarationError(
        "it is a view: name the table that its rows come from"
        if is_one
        else "the table has no primary key, by which it is read in batches: add one",
        table=table.fullname,
        reason="view" if is_one else "primary-key",
    )


def is_view(table: Table, connection: Connection) -> bool:
    """Whether the database has a view by a table's name."""
    name, names = table.name, _views(table.schema, connection)
    if connection.dialect.name != "postgresql":  # elsewhere names may differ in case
        name, names = name.lower(), {one.lower() for one in names}
    return name in names


def _views(schema: str | None, connection: Connection) -> set[str]:
    inspector = inspect(connection)
    names = {*inspector.get_view_names(schema=schema)}
    if connection.dialect.name == "postgresql":
        names.update(inspector.get_materialized_view_names(schema=schema))
    if connection.dialect.name == "sqlite":
        names.update(inspector.get_temp_view_names())
    return names


def computed_names(columns: Iterable[ReflectedColumn]) -> frozenset[str]:
    """Names of the columns that the server itself computes from others: it accepts no value for
    them.

    :param columns: what an inspector's ``get_columns()`` returned.
    """
    return frozenset(column["name"] for column in columns if column.get("computed") is not None)


_ON_UPDATE = text(
    "SELECT column_name FROM information_schema.columns WHERE table_schema = "
    "COALESCE(:schema, DATABASE()) AND table_name = :table AND extra LIKE '%on update%'"
)


def updated_by_server(connection: Connection, table: Table) -> tuple[Column[Any], ...]:
    """Columns of a reflected table that MySQL or MariaDB changes on every UPDATE, by ``ON UPDATE
    CURRENT_TIMESTAMP``. A run must leave them as they are.

    Only date-time columns can have it. Other tables are not queried: the server would need a
    temporary table, for which a full disk has no space.
    """
    can_be = any(isinstance(column.type, DateTime) for column in table.columns)
    if connection.dialect.name not in MYSQL_NAMES or not can_be:
        return ()
    names = connection.execute(_ON_UPDATE, {"schema": table.schema, "table": table.name})
    return tuple(table.c[name] for name in names.scalars())


_POSTGRESQL_ROWS = text(
    "SELECT reltuples FROM pg_class WHERE oid = to_regclass(CAST(:name AS text))"
)
_MYSQL_ROWS = text(
    "SELECT table_rows FROM information_schema.tables WHERE table_name = :name "
    "AND table_schema = COALESCE(:schema, DATABASE())"
)


def row_estimate(table: Table, connection: Connection) -> int:
    """The database's own estimate of a table's rows; 0 or less where it has none."""
    name = connection.dialect.name
    if name == "postgresql":
        quoted = connection.dialect.identifier_preparer.format_table(table)
        return int(connection.scalar(_POSTGRESQL_ROWS, {"name": quoted}) or 0)
    if name in MYSQL_NAMES:
        parameters = {"name": table.name, "schema": table.schema}
        return int(connection.scalar(_MYSQL_ROWS, parameters) or 0)
    return 0
