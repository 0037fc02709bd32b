"""Finds CHECKs of a table that demand the plaintext of an adopted column.

Each is asked of the rows that are there, as they will be: without plaintext, and with a sealed
value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from sqlalchemy import inspect
from sqlalchemy.exc import DBAPIError

from encfields.adopt.catalog_column import CatalogColumn
from encfields.adopt.column_definitions import checks_in, definitions
from encfields.adopt.sqlite_schema import table_sql
from encfields.databases import MYSQL_NAMES


def demanding_checks(plain: CatalogColumn, sealed: str) -> list[str]:
    """The CHECKs that rows would break if their plaintext were NULL, in words.

    :param sealed: name of the encrypted column, which need not be there yet.
    """
    return [
        f"the CHECK {check} demands it, and rows will have only {sealed}: have it ask for {sealed} "
        "too"
        for check, condition in _checks(plain)
        if plain.is_used_in(condition) and _is_broken(plain, sealed, condition)
    ]


def _checks(plain: CatalogColumn) -> Iterator[tuple[str, ...]]:
    """Names and conditions of the table's CHECKs."""
    name = plain.connection.dialect.name
    if name == "postgresql":
        yield from plain.ask(
            "SELECT r.conname, pg_get_expr(r.conbin, r.conrelid) FROM pg_constraint r "
            "JOIN pg_class c ON c.oid = r.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE r.contype = 'c' AND c.relname = :table "
            "AND n.nspname = COALESCE(:schema, current_schema())"
        )
    elif name not in MYSQL_NAMES:
        _, parts, _ = definitions(table_sql(plain.connection, plain.table))
        yield from ((f"({check})", check) for part in parts for check in checks_in(part))
    elif getattr(plain.connection.dialect, "is_mariadb", False):
        yield from plain.ask(
            "SELECT CONSTRAINT_NAME, CHECK_CLAUSE FROM information_schema.CHECK_CONSTRAINTS "
            "WHERE CONSTRAINT_SCHEMA = COALESCE(:schema, DATABASE()) AND TABLE_NAME = :table"
        )
    else:
        checks = plain.ask(
            "SELECT CONSTRAINT_NAME, CHECK_CLAUSE FROM information_schema.CHECK_CONSTRAINTS "
            "JOIN information_schema.TABLE_CONSTRAINTS USING (CONSTRAINT_SCHEMA, CONSTRAINT_NAME) "
            "WHERE CONSTRAINT_SCHEMA = COALESCE(:schema, DATABASE()) AND TABLE_NAME = :table "
            "AND ENFORCED = 'YES'"
        )
        # MySQL's catalog escapes quotes, and what escapes them, once more.
        yield from ((check, re.sub(r"\\(.)", r"\1", condition)) for check, condition in checks)


def _is_broken(plain: CatalogColumn, sealed: str, condition: str) -> bool:
    connection = plain.connection
    preparer = connection.dialect.identifier_preparer
    is_postgresql = connection.dialect.name == "postgresql"
    there = [c["name"] for c in inspect(connection).get_columns(plain.table, schema=plain.schema)]
    quoted = {name: preparer.quote(name) for name in there}
    column = quoted[plain.name]
    message = "'x'::bytea" if is_postgresql else "x'78'"
    columns = {**quoted, plain.name: f"CASE WHEN 1 = 0 THEN {column} END AS {column}"}
    has_value = f"{column} IS NOT NULL"
    if sealed in quoted:
        columns[sealed] = f"{message} AS {quoted[sealed]}"
        has_value = f"{has_value} OR {quoted[sealed]} IS NOT NULL"
    table = preparer.quote(plain.table)
    place = f"{preparer.quote_schema(plain.schema)}.{table}" if plain.schema else table
    escaped = condition.replace("%", "%%") if "%%" in preparer.quote("%") else condition
    rows = f"SELECT {', '.join(columns.values())} FROM {place} WHERE {has_value}"  # noqa: S608
    sql = f"SELECT 1 FROM ({rows}) AS {table} WHERE NOT ({escaped}) LIMIT 1"  # noqa: S608
    try:
        with connection.begin_nested():
            return connection.exec_driver_sql(sql).first() is not None
    except DBAPIError:  # A condition that cannot be asked of other rows: the last step says so.
        return False
