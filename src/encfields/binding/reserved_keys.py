"""Keys that the database generates, had before the INSERT instead of after it.

PostgreSQL gives out a whole batch of a sequence's numbers in one query, and the INSERT is then
an ordinary one with its keys known. Elsewhere the INSERT is only asked to report its keys
(:mod:`encfields.binding.late_insert`).
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, Sequence, Table, text
from sqlalchemy.sql.dml import Insert

from encfields.binding import sqlalchemy_internals as internals
from encfields.binding.columns import bindings_of

if TYPE_CHECKING:
    from sqlalchemy import Connection

_FIND_SEQUENCE = text("SELECT pg_get_serial_sequence(CAST(:t AS text), CAST(:c AS text))")
_RESERVE = text(
    "SELECT nextval(CAST(CAST(:sequence AS text) AS regclass)) "
    "FROM generate_series(1, CAST(:n AS integer))"
)


class KeyReservation:
    """The ``before_execute`` listener of one engine."""

    def __init__(self) -> None:
        self._sequences: weakref.WeakKeyDictionary[Table, dict[str, str | None]] = (
            weakref.WeakKeyDictionary()
        )

    def before_execute(
        self,
        connection: Connection,
        statement: Any,
        multiparams: Any,
        params: Any,
        execution_options: Any,
    ) -> tuple[Any, Any, Any]:
        """SQLAlchemy's event; returns what is executed instead."""
        if not isinstance(statement, Insert) or not isinstance(statement.table, Table):
            return statement, multiparams, params
        rows = multiparams or [params]
        column = _missing_key(statement, rows[0])
        if column is None:
            return statement, multiparams, params
        sequence = self._sequence(connection, column)
        if sequence is None:
            return _reporting(connection, statement, multiparams), multiparams, params
        values = internals.multi_value_rows(statement)
        if values is not None:
            ids = _reserve(connection, sequence, len(values))
            keyed = [{**row, column: new} for row, new in zip(values, ids, strict=True)]
            return internals.with_multi_value_rows(statement, keyed), multiparams, params
        ids = _reserve(connection, sequence, len(rows))
        keyed = [{**row, column.key: new} for row, new in zip(rows, ids, strict=True)]
        return (statement, keyed, {}) if multiparams else (statement, [], keyed[0])

    def _sequence(self, connection: Connection, column: Column[Any]) -> str | None:
        """Name of the sequence behind `column`, or ``None`` if its numbers cannot be had."""
        if connection.dialect.name != "postgresql" or getattr(column.identity, "always", False):
            return None
        schema = connection.schema_for_object(column.table)
        known = self._sequences.setdefault(column.table, {})
        if (schema or "") not in known:
            known[schema or ""] = _find_sequence(connection, column, schema)
        return known[schema or ""]


def _missing_key(statement: Insert, row: Any) -> Column[Any] | None:
    """The generated key column that the INSERT needs for sealing and does not state."""
    table = statement.table
    assert isinstance(table, Table)
    bindings = bindings_of(table)
    if not bindings or internals.has_select_source(statement):
        return None
    column = internals.autoincrement_column(table)
    if column is None or not any(column in b.identity for b in bindings.values()):
        return None
    stated = internals.stated_keys(statement)
    stated.update(str(getattr(key, "key", key)) for key in row or ())
    if column.key in stated:
        return None
    written = any(key in stated or b.column.default is not None for key, b in bindings.items())
    return column if written else None


def _find_sequence(
    connection: Connection, column: Column[Any], schema: str | None
) -> str | None:
    preparer = connection.dialect.identifier_preparer
    if isinstance(column.default, Sequence):
        name = preparer.quote(column.default.name)
        owner = column.default.schema or schema
        return f"{preparer.quote_schema(owner)}.{name}" if owner else name
    table = preparer.quote(column.table.name)
    if schema:
        table = f"{preparer.quote_schema(schema)}.{table}"
    found: str | None = connection.execute(_FIND_SEQUENCE, {"t": table, "c": column.name}).scalar()
    return found


def _reserve(connection: Connection, sequence: str, count: int) -> list[int]:
    """`count` new numbers of the sequence, in one round trip."""
    return list(connection.execute(_RESERVE, {"sequence": sequence, "n": count}).scalars())


def _reporting(connection: Connection, statement: Insert, multiparams: Any) -> Insert:
    """The INSERT of many rows, made to report their keys in the order of its parameters."""
    if (
        len(multiparams) < 2
        or internals.returns_anything(statement)
        or not connection.dialect.insert_executemany_returning_sort_by_parameter_order
    ):
        return statement
    return statement.return_defaults(
        *statement.table.primary_key, sort_by_parameter_order=True
    )
