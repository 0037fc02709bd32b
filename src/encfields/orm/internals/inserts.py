"""An INSERT before it is compiled: its rows, what it selects, the keys that it lacks.

Read::

    sqlalchemy.schema.Column                       _annotations
    sqlalchemy.sql.dml.Insert                      _multi_values _post_values_clause _prefixes
    sqlalchemy.sql.dml.Insert                      _propagate_attrs _return_defaults _values
    sqlalchemy.sql.dml.Insert                      _return_defaults_columns _select_names
    sqlalchemy.sql.dml.Insert                      _generate _returning

Written::

    sqlalchemy.sql.dml.Insert                      _multi_values _values _return_defaults
    sqlalchemy.sql.dml.Insert                      _return_defaults_columns _select_names
    sqlalchemy.sql.dml.Insert                      _sort_by_parameter_order
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from sqlalchemy import Column
from sqlalchemy.sql.dml import Insert, Update
from sqlalchemy.sql.elements import ClauseElement

from encfields.orm.internals.upserts import post_values_clause


def has_select_source(statement: Insert | Update) -> bool:
    """Whether it is an INSERT .. SELECT."""
    return isinstance(statement, Insert) and statement.select is not None


def select_source_names(statement: Any) -> list[str]:
    """Keys of the columns that an INSERT .. SELECT fills."""
    return [getattr(name, "key", name) for name in statement._select_names or ()]


def has_prefixes(statement: Any) -> bool:
    """Whether words such as OR IGNORE were put behind INSERT."""
    return bool(statement._prefixes)


def may_skip_rows(statement: Any) -> bool:
    """Whether an INSERT may leave a row out, or change another one in its stead."""
    return post_values_clause(statement) is not None or has_prefixes(statement)


def stated_keys(statement: Insert | Update) -> set[str]:
    """Keys of the columns that the statement itself gives values."""
    names: set[Any] = set(statement._values or ())
    for group in statement._multi_values or ():
        for row in group:
            names.update(row)
    return {str(getattr(name, "key", name)) for name in names}


def multi_value_rows(statement: Insert) -> list[dict[Any, Any]] | None:
    """The rows of ``values([...])``, or ``None`` where the statement has not that form."""
    if not statement._multi_values:
        return None
    rows: list[Any] = [row for group in statement._multi_values for row in group]
    return rows if all(isinstance(row, dict) for row in rows) else None


def with_multi_value_rows(statement: Insert, rows: list[dict[Any, Any]]) -> Insert:
    """The same INSERT with other rows; the given statement is left as it is."""
    copied: Insert = statement._generate()
    copied._multi_values = (rows,)
    return copied


def with_select_name(statement: Insert, name: str, other: str) -> Insert:
    """The same INSERT .. SELECT, which fills another column in the place of one."""
    copied: Any = statement._generate()
    names = select_source_names(statement)
    copied._select_names = [other if filled == name else filled for filled in names]
    return cast("Insert", copied)


def insert_values_by_key(statement: Insert) -> dict[str, Any]:
    """What an INSERT's own ``values()`` assigns, by key of the table's column."""
    return row_by_key(statement, statement._values or {})


def takes_all_from_parameters(statement: Insert) -> bool:
    """Whether an INSERT assigns nothing itself, and names its parameters by keys of columns."""
    own = statement._values, statement._multi_values, statement._select_names
    is_more = statement.select is not None or statement._post_values_clause is not None
    return not (any(own) or is_more or statement._propagate_attrs)


_PLAIN_NAMES = frozenset({str})


def row_by_key(statement: Insert, row: Mapping[Any, Any]) -> dict[str, Any]:
    """A row of an INSERT, by key of the table's column, whatever attribute of the ORM is named."""
    mapper = getattr(statement._propagate_attrs.get("plugin_subject"), "mapper", None)
    if mapper is None:
        if set(map(type, row)) <= _PLAIN_NAMES:
            return dict(row)  # as a flush gives each of its many rows
        return {str(getattr(name, "key", name)): value for name, value in row.items()}
    by_key: dict[str, Any] = {}
    for name, value in row.items():
        columns = mapper.columns if isinstance(name, str) else {}
        column = columns.get(name) if name in columns else name
        by_key[str(getattr(column, "key", column))] = value
    return by_key


def with_insert_values(
    statement: Insert, replaced: Sequence[Column[Any]], values: Mapping[Column[Any], Any]
) -> Insert:
    """A copy of the INSERT with other values, or none, for some columns.

    :param replaced: columns whose values it no longer assigns.
    :param values: what it assigns instead.
    """
    keys = {column.key for column in replaced}
    copied: Any = statement._generate()
    if statement._values:
        kept = {n: v for n, v in statement._values.items() if _key_of(n) not in keys}
        copied._values = type(statement._values)(kept)
    return cast("Insert", copied.values(dict(values)) if values else copied)


def _key_of(name: Any) -> str:
    return str(getattr(name, "key", name))


def is_part_of_insert(statement: Any) -> bool:
    """Whether the ORM executes it for some rows of an INSERT of a class, and joins the results."""
    return "_emit_insert_table" in getattr(statement, "_annotations", ())


def is_joined_part_of_insert(statement: Insert) -> bool:
    """Whether the ORM puts the rows that it returns below those of other parts, by position."""
    return is_part_of_insert(statement) and bool(statement._returning)


def without_reported_keys(statement: Insert, keys: Sequence[Column[Any]]) -> Insert:
    """The INSERT, not asked to report keys that are given to it.

    What the ORM wants reported beside keys is left.
    """
    columns = statement._return_defaults_columns
    if not statement._return_defaults or not columns:
        return statement
    if not set(columns) <= {*keys, *statement.table.primary_key}:
        return statement
    copied: Any = statement._generate()
    copied._return_defaults = False
    copied._return_defaults_columns = None
    copied._sort_by_parameter_order = False
    return cast("Insert", copied)


def are_plain_rows(rows: Sequence[Mapping[Any, Any]]) -> bool:
    """Whether rows hold Python values only, all for the same columns."""
    keys = set(rows[0])
    return all(
        set(row) == keys and not any(isinstance(value, ClauseElement) for value in row.values())
        for row in rows
    )
