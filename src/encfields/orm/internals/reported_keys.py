"""What an INSERT returns, and its result reports, of the keys of its rows.

Read::

    sqlalchemy.engine.cursor                       _NO_CURSOR_DQL
    sqlalchemy.engine.default.DefaultExecutionContext _is_supplemental_returning
    sqlalchemy.sql.compiler.SQLCompiler            _inserted_primary_key_from_lastrowid_getter
    sqlalchemy.sql.compiler.SQLCompiler            _within_exec_param_key_getter
    sqlalchemy.sql.dml.Insert                      _generate _inline _multi_values _returning
    sqlalchemy.sql.dml.Insert                      _return_defaults _return_defaults_columns
    sqlalchemy.sql.dml.Insert                      _sort_by_parameter_order _supplemental_returning

Written::

    sqlalchemy.engine.cursor.CursorResult          _metadata
    sqlalchemy.sql.dml.Insert                      _return_defaults _return_defaults_columns
    sqlalchemy.sql.dml.Insert                      _sort_by_parameter_order _supplemental_returning
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from sqlalchemy import Column, Table
from sqlalchemy.engine.cursor import _NO_CURSOR_DQL
from sqlalchemy.engine.result import IteratorResult, SimpleResultMetaData
from sqlalchemy.sql.dml import Insert

from encfields.orm.internals.inserts import is_part_of_insert
from encfields.orm.internals.schema import autoincrement_column


def without_reported_keys(statement: Insert, keys: Sequence[Column[Any]]) -> Insert:
    """The INSERT without RETURNING for keys that it is given.

    Other columns that the ORM or the application wants returned are kept.
    """
    columns = statement._return_defaults_columns
    if not statement._return_defaults or not columns or statement._supplemental_returning:
        return statement
    if not set(columns) <= {*keys, *statement.table.primary_key}:
        return statement
    copied: Any = statement._generate()
    copied._return_defaults = False
    copied._return_defaults_columns = None
    copied._sort_by_parameter_order = statement._sort_by_parameter_order and bool(
        statement._returning
    )
    return cast("Insert", copied)


def with_keys_among_defaults(
    statement: Insert, table: Table, keys: Sequence[Column[Any]], dialect: Any
) -> Insert:
    """The INSERT, which also returns the given keys if the database returns what it generates."""
    if not statement._return_defaults or is_part_of_insert(statement):
        return statement
    if not _may_return_keys(statement, table, dialect):
        return statement
    copied: Any = statement._generate()
    asked = statement._supplemental_returning
    copied._supplemental_returning = (*asked, *keys) if asked else _AddedKeys(keys)
    return cast("Insert", copied)


def supplied_columns(statement: Any) -> set[Any]:
    """What an INSERT returns of its rows beside the defaults that it was asked for."""
    return {*(getattr(statement, "_supplemental_returning", None) or ())}


class _AddedKeys(tuple[Column[Any], ...]):
    """Keys that an INSERT returns although the application asked for none of its rows."""

    __slots__ = ()


def returns_added_keys_alone(statement: Any) -> bool:
    """Whether an INSERT has rows only because keys were added to what it returns."""
    return type(getattr(statement, "_supplemental_returning", None)) is _AddedKeys


def with_returned_keys(statement: Insert, keys: Sequence[Column[Any]]) -> Insert:
    """The INSERT, which also returns the given keys."""
    asked = statement._return_defaults_columns
    return (
        statement if statement._return_defaults and not asked else statement.return_defaults(*keys)
    )


def would_return_keys(statement: Insert, table: Table, dialect: Any, rows: int) -> bool:
    """Whether SQLAlchemy makes an INSERT of that many rows return keys it was not given.

    :param table: that it inserts into; the ORM's is of all tables of a joined subclass.
    """
    if not _may_return_keys(statement, table, dialect):
        return False
    if rows > 1:
        return bool(dialect.insert_executemany_returning and statement._return_defaults)
    is_counted = autoincrement_column(table) is not None
    is_reported_otherwise = dialect.postfetch_lastrowid and is_counted
    return bool(
        not is_reported_otherwise
        or dialect.favor_returning_over_lastrowid
        or statement._return_defaults
    )


def _may_return_keys(statement: Insert, table: Table, dialect: Any) -> bool:
    is_plain = not (statement._returning or statement._inline or statement._multi_values)
    return bool(is_plain and table.implicit_returning and dialect.insert_returning)


class _Reported(SimpleResultMetaData):
    """The columns of a result whose rows were read already."""

    __slots__ = ()
    returns_rows = True


def report_keys(context: Any, result: Any, keys: Mapping[Column[Any], Sequence[Any]]) -> None:
    """Make the result of an INSERT look as if the database had returned the keys.

    :param keys: by column, its value in each row.
    """
    named = _Reported([c.name for c in keys], [(c, c.key) for c in keys])
    rows = zip(*keys.values(), strict=True)
    context.returned_default_rows = IteratorResult(named, rows).all()
    result._metadata = named
    result.cursor_strategy = _NO_CURSOR_DQL


def report_no_keys(
    context: Any, keys: Mapping[Column[Any], Sequence[bool]], told: int | None = None
) -> None:
    """Leave keys out of ``inserted_primary_key_rows``.

    :param keys: by column, whether to leave it out, for each row.
    :param told: the number that the database reported for the row, in place of its key.
    """
    compiled = context.compiled
    tell = compiled._inserted_primary_key_from_lastrowid_getter
    names = {column: compiled._within_exec_param_key_getter(column) for column in keys}
    context.inserted_primary_key_rows = [
        tell(told, {**values, **{names[c]: None for c, hidden in keys.items() if hidden[number]}})
        for number, values in enumerate(context.compiled_parameters)
    ]


def end_defaults(context: Any, result: Any) -> None:
    """Close a result that has rows only because keys were added to what it returns."""
    if context._is_supplemental_returning and returns_added_keys_alone(context.invoked_statement):
        result.cursor_strategy = _NO_CURSOR_DQL
