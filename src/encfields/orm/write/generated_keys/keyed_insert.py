"""An INSERT that lacked keys of its rows, with places for them, or with the keys themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, Column, Integer, SmallInteger
from sqlalchemy.sql.elements import BindParameter, ClauseElement
from sqlalchemy.sql.visitors import iterate

from encfields.orm import internals
from encfields.orm.write.generated_keys.pending_key import PendingKey, key_bind, key_bind_of_row

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect
    from sqlalchemy.sql.dml import Insert

    from encfields.orm.write.generated_keys.keyless import KeylessInsert


_NUMBERS = (Integer, BigInteger, SmallInteger)


def with_keys_to_come(
    statement: Insert, insert: KeylessInsert, parameters: list[Any], dialect: Dialect
) -> tuple[Insert, list[dict[str, Any]]]:
    """The INSERT with places for its keys, and its parameter sets.

    :param statement: as the application gave it.
    :param insert: the keys that it lacks.
    :param parameters: the parameter sets that it is executed with; may be empty.
    """
    insert.places = [tuple(PendingKey(insert) for _ in insert.missing) for _ in insert.rows]
    if insert.is_multi:
        keyed = [_binds_of_row(insert, i, places) for i, places in enumerate(insert.places)]
        return _with_rows(statement, insert, keyed), parameters
    names = [insert.bind_name(column, dialect) for column in insert.missing]
    ours = [column for column in insert.missing if insert.has_own_bind(column, dialect)]
    binds = {column: key_bind(column) for column in ours}
    statement = _with_reports(statement, insert, dialect, may_report=False)
    keys = [dict(zip(names, places, strict=True)) for places in insert.places]
    return _with_parameters(statement, insert, binds, parameters, keys)


def with_keys(
    statement: Insert,
    insert: KeylessInsert,
    parameters: list[Any],
    keys: list[tuple[Any, ...]],
    dialect: Dialect,
    *,
    may_report: bool,
) -> tuple[Insert, list[dict[str, Any]]]:
    """The INSERT with known keys, and its parameter sets.

    :param may_report: let it still return the keys, which costs nothing and makes SQLAlchemy insert
        many rows with each statement.
    :param statement: as the application gave it.
    :param insert: the keys that it lacks.
    :param parameters: the parameter sets that it is executed with; may be empty.
    :param keys: row by row, as Python values.
    """
    if insert.is_multi:
        names = [column.key for column in insert.missing]
        keyed = [dict(zip(names, key, strict=True)) for key in keys]
        return _with_rows(statement, insert, keyed), parameters
    names = [column.key for column in insert.missing]
    rows = [dict(zip(names, key, strict=True)) for key in keys]
    may_report = may_report and len(rows) > 1 and _are_reported_alone(insert)
    statement = _with_reports(statement, insert, dialect, may_report=may_report)
    return _with_parameters(statement, insert, {}, parameters, rows)


def _with_reports(
    statement: Insert, insert: KeylessInsert, dialect: Dialect, *, may_report: bool
) -> Insert:
    """The INSERT, which returns what is not known beforehand. It returns the keys it is given only
    if it may skip a row, or along with other defaults."""
    if insert.may_skip and insert.are_reported:
        statement = internals.with_returned_keys(statement, insert.missing)
    elif not may_report:
        statement = internals.without_reported_keys(statement, insert.missing)
    told = [column for column in insert.missing if is_expected(column, insert)]
    return internals.with_keys_among_defaults(statement, insert.table, told, dialect)


def is_expected(column: Column[Any], insert: KeylessInsert) -> bool:
    """Whether SQLAlchemy knows that the database gives a key its value, and tells of it. SQLite
    gives one under ``autoincrement=False`` too. ``null()`` is an SQL expression as any other."""
    stated = (row.get(column.key) for row in (insert.values, *insert.rows))
    if insert.is_partial or not column.primary_key or any(value is not None for value in stated):
        return True
    is_counted = column is internals.autoincrement_column(insert.table)
    return is_counted or column.server_default is not None or column.default is not None


def _are_reported_alone(insert: KeylessInsert) -> bool:
    """Whether each row is identified by its key, an integer, as SQLAlchemy identifies rows."""
    (*primary,) = insert.table.primary_key
    return primary == [*insert.missing] and all(type(c.type) in _NUMBERS for c in primary)


def _with_rows(statement: Insert, insert: KeylessInsert, keys: list[dict[str, Any]]) -> Insert:
    given = internals.multi_value_rows(statement) or []
    rows = [{**without(row, insert.missing), **key} for row, key in zip(given, keys, strict=True)]
    statement = internals.without_reported_keys(statement, insert.missing)
    return internals.with_multi_value_rows(statement, rows)


def _with_parameters(
    statement: Insert,
    insert: KeylessInsert,
    binds: dict[Column[Any], Any],
    parameters: list[Any],
    keys: list[dict[str, Any]],
) -> tuple[Insert, list[dict[str, Any]]]:
    dropped = _binds_in_replaced(insert) | {column.key for column in insert.missing}
    statement = internals.with_insert_values(statement, insert.missing, binds)
    rows = [
        {**{name: value for name, value in row.items() if name not in dropped}, **key}
        for row, key in zip(parameters or [{}], keys, strict=True)
    ]
    return statement, rows


def without(row: Mapping[Any, Any], columns: tuple[Column[Any], ...]) -> dict[Any, Any]:
    """A row without some columns."""
    keys = {column.key for column in columns}
    return {name: value for name, value in row.items() if getattr(name, "key", name) not in keys}


def _binds_of_row(
    insert: KeylessInsert, index: int, places: tuple[PendingKey, ...]
) -> dict[str, BindParameter[Any]]:
    return {
        column.key: key_bind_of_row(column, index, place)
        for column, place in zip(insert.missing, places, strict=True)
    }


def _binds_in_replaced(insert: KeylessInsert) -> set[str]:
    """Names of the binds in the SQL expressions that keys replace."""
    names: set[str] = set()
    for column in insert.missing:
        value = insert.values.get(column.key)
        if isinstance(value, ClauseElement):
            names.update(e.key for e in iterate(value) if isinstance(e, BindParameter))
    return names
