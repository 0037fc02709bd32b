"""The UPDATE that puts sealed values in the place of their placeholders.

It goes through a bare table without the application's column objects, so no ``onupdate``
default fires a second time and no encrypted type is met.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import LargeBinary, bindparam, update
from sqlalchemy import column as sql_column
from sqlalchemy import table as sql_table

from encfields.binding.row_keys import MYSQL_NAMES, kind_of, stored_type
from encfields.identity import IdentityKind

if TYPE_CHECKING:
    from sqlalchemy import Column, Connection

    from encfields.binding.columns import ColumnBinding

MYSQL_ROWS = 500
"""Rows of one joined UPDATE: some 200 KB of statement for values of ordinary size."""


@dataclass(frozen=True, slots=True, repr=False)
class LateRow:
    """One row to update.

    :ivar keys: its key columns and their values.
    :ivar messages: sealed values, in the order of the bindings.
    """

    keys: dict[Column[Any], object]
    messages: list[bytes]


def write_late_values(
    connection: Connection, bindings: tuple[ColumnBinding, ...], rows: list[LateRow]
) -> None:
    """Write the sealed values of `rows` on the connection that inserted them.

    MySQL's drivers send one statement for each row of an executemany UPDATE, so there many rows
    are joined into one statement.
    """
    keys = list(rows[0].keys)
    dialect = connection.dialect
    integers = all(kind_of(key.type, dialect) is IdentityKind.INTEGER for key in keys)
    if dialect.name in MYSQL_NAMES and integers and len(rows) > 1:
        for start in range(0, len(rows), MYSQL_ROWS):
            _write_joined(connection, bindings, keys, rows[start : start + MYSQL_ROWS])
        return
    statement = _update_by_key(connection, bindings, keys)
    parameters = [_parameters(row, bindings) for row in rows]
    connection.execute(statement, parameters)


def _key_bind(column: Column[Any]) -> str:
    return f"encfields_key_{column.key}"


def _value_bind(binding: ColumnBinding) -> str:
    return f"encfields_value_{binding.column.key}"


def _parameters(row: LateRow, bindings: tuple[ColumnBinding, ...]) -> dict[str, Any]:
    values: dict[str, Any] = {_key_bind(column): value for column, value in row.keys.items()}
    for binding, message in zip(bindings, row.messages, strict=True):
        values[_value_bind(binding)] = message
    return values


def _update_by_key(
    connection: Connection, bindings: tuple[ColumnBinding, ...], keys: list[Column[Any]]
) -> Any:
    table = bindings[0].column.table
    bare = sql_table(
        table.name,
        *(sql_column(key.name, stored_type(key.type, connection.dialect)) for key in keys),
        *(sql_column(binding.column_name, LargeBinary) for binding in bindings),
        schema=connection.schema_for_object(table),
    )
    statement = update(bare).values(
        {b.column_name: bindparam(_value_bind(b), type_=LargeBinary) for b in bindings}
    )
    for key in keys:
        ours = bare.c[key.name]
        statement = statement.where(ours == bindparam(_key_bind(key), type_=ours.type))
    return statement


def _write_joined(
    connection: Connection,
    bindings: tuple[ColumnBinding, ...],
    keys: list[Column[Any]],
    rows: list[LateRow],
) -> None:
    """UPDATE t JOIN (SELECT .. UNION ALL SELECT ..) v: integers and bytes, which every driver of
    MySQL takes as they are."""
    preparer = connection.dialect.identifier_preparer
    mark = "?" if connection.dialect.paramstyle == "qmark" else "%s"
    key_names = [f"k{i}" for i in range(len(keys))]
    value_names = [f"v{i}" for i in range(len(bindings))]
    first = ", ".join(f"{mark} AS {name}" for name in key_names + value_names)
    others = ", ".join([mark] * (len(keys) + len(bindings)))
    source = f" UNION ALL SELECT {others}" * (len(rows) - 1)
    join = " AND ".join(
        f"t.{preparer.quote(key.name)} = v.{name}"
        for key, name in zip(keys, key_names, strict=True)
    )
    assigned = ", ".join(
        f"t.{preparer.quote(b.column_name)} = v.{name}"
        for b, name in zip(bindings, value_names, strict=True)
    )
    table = bindings[0].column.table
    schema = connection.schema_for_object(table)
    name = preparer.quote(table.name)
    target = f"{preparer.quote_schema(schema)}.{name}" if schema else name
    # every name is quoted by the dialect, and every value is a parameter
    statement = f"UPDATE {target} AS t JOIN (SELECT {first}{source}) AS v ON {join} SET {assigned}"  # noqa: S608
    parameters = [value for row in rows for value in (*row.keys.values(), *row.messages)]
    connection.exec_driver_sql(statement, tuple(parameters))
