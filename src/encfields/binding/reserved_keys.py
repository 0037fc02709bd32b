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
from sqlalchemy.sql.elements import ClauseElement

from encfields.binding import sqlalchemy_internals as internals
from encfields.binding.columns import bindings_of
from encfields.traces import leaves_no_trace

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

    @leaves_no_trace
    def before_execute(
        self,
        connection: Connection,
        statement: Any,
        multiparams: Any,
        params: Any,
        execution_options: Any,
    ) -> tuple[Any, Any, Any]:
        """SQLAlchemy's event; returns what is executed instead."""
        table = getattr(statement, "table", None)
        if not isinstance(statement, Insert) or not isinstance(table, Table):
            return statement, multiparams, params
        missing = _missing_keys(statement, table, multiparams[0] if multiparams else params)
        if not missing:
            return statement, multiparams, params
        column = internals.autoincrement_column(table)
        sequence = None
        if column is not None and missing == [column]:
            sequence = self._sequence(connection, column)
        if column is None or sequence is None:
            return _reporting(connection, statement, multiparams, params)
        return _keyed(connection, statement, multiparams, params, column, sequence)

    def _sequence(self, connection: Connection, column: Column[Any]) -> str | None:
        """Name of the sequence behind `column`, or ``None`` if its numbers cannot be had."""
        if connection.dialect.name != "postgresql" or getattr(column.identity, "always", False):
            return None
        schema = connection.schema_for_object(column.table)
        known = self._sequences.setdefault(column.table, {})
        if (schema or "") not in known:
            known[schema or ""] = _find_sequence(connection, column, schema)
        return known[schema or ""]


def _missing_keys(statement: Insert, table: Table, row: Any) -> list[Column[Any]]:
    """The key columns that the INSERT needs for sealing and that the database generates."""
    bindings = bindings_of(table)
    if not bindings or internals.has_select_source(statement):
        return []
    stated = internals.stated_keys(statement)
    stated.update(str(getattr(key, "key", key)) for key in row or ())
    if not any(key in stated or b.column.default is not None for key, b in bindings.items()):
        return []
    needed = dict.fromkeys(column for b in bindings.values() for column in b.identity)
    return [c for c in needed if c.primary_key and c.key not in stated and _generated(c)]


def _generated(column: Column[Any]) -> bool:
    """Whether the database, and no Python-side default, gives the column its value."""
    default = column.default
    return default is None or default.is_sequence or default.is_clause_element


def _keyed(
    connection: Connection,
    statement: Insert,
    multiparams: Any,
    params: Any,
    column: Column[Any],
    sequence: str,
) -> tuple[Any, Any, Any]:
    """The INSERT with reserved numbers of the sequence as the keys of its rows."""
    values = internals.multi_value_rows(statement)
    rows = multiparams or [params] if values is None else values
    ids = _reserve(connection, sequence, len(rows))
    if values is not None:
        keyed = [{**row, column: new} for row, new in zip(rows, ids, strict=True)]
        return internals.with_multi_value_rows(statement, keyed), multiparams, params
    keyed = [{**row, column.key: new} for row, new in zip(rows, ids, strict=True)]
    return (statement, keyed, {}) if multiparams else (statement, [], keyed[0])


def _find_sequence(connection: Connection, column: Column[Any], schema: str | None) -> str | None:
    if isinstance(column.default, Sequence):
        return _qualified(column.default.schema or schema, column.default.name)
    table = _qualified(schema, column.table.name)
    found: str | None = connection.execute(_FIND_SEQUENCE, {"t": table, "c": column.name}).scalar()
    return found


def _qualified(schema: str | None, name: str) -> str:
    """The name as PostgreSQL reads it in a value.

    SQLAlchemy's own quoting is for the text of a statement: it doubles percent signs too.
    """
    parts = [part.replace('"', '""') for part in (schema, name) if part]
    return ".".join(f'"{part}"' for part in parts)


def _reserve(connection: Connection, sequence: str, count: int) -> list[int]:
    """`count` new numbers of the sequence, in one round trip."""
    return list(connection.execute(_RESERVE, {"sequence": sequence, "n": count}).scalars())


def _reporting(
    connection: Connection, statement: Insert, multiparams: Any, params: Any
) -> tuple[Any, Any, Any]:
    """The INSERT of many rows, made to report their keys in the order of its parameters."""
    values = internals.multi_value_rows(statement)
    if values is not None and not params and _all_plain(statement, values):
        multiparams = [{_key(name): value for name, value in row.items()} for row in values]
        statement = internals.without_multi_values(statement)
        if len(multiparams) == 1:
            return statement, [], multiparams[0]
    if (
        len(multiparams) > 1
        and connection.dialect.insert_executemany_returning_sort_by_parameter_order
    ):
        statement = internals.reports_keys_in_order(statement, statement.table.primary_key)
    return statement, multiparams, params


def _key(name: Any) -> str:
    return str(getattr(name, "key", name))


def _all_plain(statement: Insert, rows: list[dict[Any, Any]]) -> bool:
    """Whether the rows hold Python values only, all for the same columns of the table."""
    keys = {_key(name) for name in rows[0]}
    return all(
        {_key(name) for name in row} == keys
        and not any(isinstance(value, ClauseElement) for value in row.values())
        for row in rows
    ) and all(key in statement.table.c for key in keys)
