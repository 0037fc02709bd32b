"""INSERTs before compilation: their rows, their SELECT, and the SET of an upsert.

Read::

    sqlalchemy.schema.Column                       _annotations
    sqlalchemy.sql.dml.Insert                      _multi_values _post_values_clause _prefixes
    sqlalchemy.sql.dml.Insert                      _propagate_attrs _select_names _values
    sqlalchemy.sql.dml.Insert                      _generate _hints _independent_ctes _returning
    sqlalchemy.sql.elements.ClauseElement          _clone

Written::

    sqlalchemy.sql.dml.Insert                      _hints _multi_values _post_values_clause
    sqlalchemy.sql.dml.Insert                      _prefixes _select_names _values
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from sqlalchemy import Column, Table, and_, insert
from sqlalchemy.sql.dml import Insert, Update
from sqlalchemy.sql.elements import BindParameter, ClauseElement, ColumnElement
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.selectable import Alias, Select
from sqlalchemy.sql.visitors import iterate


def has_select_source(statement: Insert | Update) -> bool:
    """Whether it is an INSERT .. SELECT."""
    return isinstance(statement, Insert) and statement.select is not None


def select_source_names(statement: Any) -> list[str]:
    """Keys of the columns that an INSERT .. SELECT fills."""
    return [getattr(name, "key", name) for name in statement._select_names or ()]


def has_prefixes(statement: Any) -> bool:
    """Whether the INSERT has prefixes such as OR IGNORE, other than those about when it runs."""
    words = (str(getattr(prefix, "text", "")) for prefix, _ in statement._prefixes)
    return any(word.strip().upper() not in _PRIORITIES for word in words)


_PRIORITIES = frozenset({"LOW_PRIORITY", "HIGH_PRIORITY"})
"""Of MySQL and MariaDB: they wait for readers, or do not."""


def may_skip_rows(statement: Any) -> bool:
    """Whether an INSERT may skip a row, or change another one instead."""
    return post_values_clause(statement) is not None or has_prefixes(statement)


def upsert_alone(statement: Insert, table: Table) -> Insert:
    """An INSERT with the prefixes and the ON DUPLICATE KEY of another, and with no values."""
    alone: Any = insert(table)._generate()
    alone._prefixes = statement._prefixes
    alone._hints = statement._hints
    alone._post_values_clause = post_values_clause(statement)
    return cast("Insert", alone)


def keeps_value(value: Any, column: Column[Any]) -> bool:
    """Whether what SET assigns to a column is its own value, as ``LAST_INSERT_ID(id)`` is."""
    if isinstance(value, FunctionElement) and getattr(value, "name", "").lower() == _SAME:
        parts = list(value.clauses)
        value = parts[0] if len(parts) == 1 else None
    return isinstance(value, ColumnElement) and hash(value) == hash(column)


_SAME = "last_insert_id"


def stated_keys(statement: Insert | Update) -> set[str]:
    """Keys of the columns to which the statement itself assigns values."""
    names: set[Any] = set(statement._values or ())
    for row in multi_value_rows(statement) or ():
        names.update(row)
    return {str(getattr(name, "key", name)) for name in names}


def multi_value_rows(statement: Insert | Update) -> list[dict[Any, Any]] | None:
    """The rows of ``values([...])``; ``None`` if the statement has no such rows.

    A row may also be given as a tuple, in the order of the table's columns.
    """
    if not statement._multi_values:
        return None
    keys = [column.key for column in statement.table.c]
    rows: list[Any] = [row for group in statement._multi_values for row in group]
    return [row if isinstance(row, dict) else dict(zip(keys, row, strict=False)) for row in rows]


def with_multi_value_rows(statement: Insert, rows: list[dict[Any, Any]]) -> Insert:
    """The same INSERT with other rows, or none; the given statement is not changed."""
    copied: Insert = statement._generate()
    copied._multi_values = (rows,) if rows else ()
    return copied


def with_select_name(statement: Insert, name: str, other: str) -> Insert:
    """The same INSERT .. SELECT, which fills another column instead of one."""
    copied: Any = statement._generate()
    names = select_source_names(statement)
    copied._select_names = [other if filled == name else filled for filled in names]
    return cast("Insert", copied)


def with_select_source(statement: Insert, select: Any) -> Insert:
    """The same INSERT .. SELECT, which fills its columns from another SELECT."""
    copied: Any = statement._generate()
    copied.select = select
    return cast("Insert", copied)


def insert_values_by_key(statement: Insert) -> dict[str, Any]:
    """What an INSERT's own ``values()`` assigns, by key of the table's column."""
    return row_by_key(statement, statement._values or {})


_PLAIN_NAMES = frozenset({str})


def row_by_key(statement: Insert, row: Mapping[Any, Any]) -> dict[str, Any]:
    """A row of an INSERT, by key of the table's column, even if ORM attributes are named."""
    mapper = getattr(statement._propagate_attrs.get("plugin_subject"), "mapper", None)
    if mapper is None:
        if set(map(type, row)) <= _PLAIN_NAMES:
            return dict(row)  # the form of each of a flush's many rows
        return {str(getattr(name, "key", name)): value for name, value in row.items()}
    # The parts of a mapped class's INSERT name the columns of their table, in which the key of a
    # joined subclass may have another name than in the base class's.
    of_part = getattr(statement, "_annotations", {}).get("_emit_insert_table")
    named = of_part.c if of_part is not None else {}
    by_key: dict[str, Any] = {}
    for name, value in row.items():
        columns = mapper.columns if isinstance(name, str) and name not in named else {}
        column = columns.get(name) if name in columns else name
        by_key[str(getattr(column, "key", column))] = value
    return by_key


def with_insert_values(
    statement: Insert, replaced: Sequence[Column[Any]], values: Mapping[Column[Any], Any]
) -> Insert:
    """A copy of the INSERT with other values, or none, for some columns.

    :param replaced: columns that it no longer assigns.
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
    """Whether the ORM executes it for some rows of a mapped class's INSERT, and combines the
    results."""
    return "_emit_insert_table" in getattr(statement, "_annotations", ())


def holds_other_write(statement: Insert) -> bool:
    """Whether another INSERT or UPDATE is within an INSERT, in a CTE."""
    values = (statement._values or {}).values()
    is_sql = any(isinstance(v, ClauseElement) and not isinstance(v, BindParameter) for v in values)
    if not statement._independent_ctes and not is_sql:
        return False
    within = (e for e in iterate(statement) if e is not statement)
    return any(isinstance(element, Insert | Update) for element in within)


def is_joined_part_of_insert(statement: Insert) -> bool:
    """Whether the ORM appends the rows that it returns to those of other parts, by position."""
    return is_part_of_insert(statement) and bool(statement._returning)


def are_plain_rows(rows: Sequence[Mapping[Any, Any]]) -> bool:
    """Whether rows have only Python values, all for the same columns."""
    keys = set(rows[0])
    return all(
        set(row) == keys and not any(isinstance(value, ClauseElement) for value in row.values())
        for row in rows
    )


# -- ON CONFLICT and ON DUPLICATE KEY ----------------------------------------------------------


def post_values_clause(statement: Any) -> Any:
    """ON CONFLICT or ON DUPLICATE KEY clause of an INSERT, or ``None``."""
    return getattr(statement, "_post_values_clause", None)


def one_statement_per_conflict_clause(statement: Any) -> list[Any]:
    """The statement once for each of its ON CONFLICT clauses, with only that clause.

    SQLAlchemy 2.1 accepts several for SQLite. Any other statement is returned unchanged.
    """
    clause = post_values_clause(statement)
    return [statement] if clause is None else [_with_clause(statement, c) for c in _each(clause)]


def with_all_conflict_clauses(statement: Any, parts: Sequence[Any]) -> Any:
    """The last of some statements, with the clauses of all.

    :param statement: the original that :func:`one_statement_per_conflict_clause` was given.
    """
    if len(parts) == 1:
        return parts[0]
    together: Any = statement._post_values_clause._clone()
    together.clauses = tuple(part._post_values_clause for part in parts)
    return _with_clause(parts[-1], together)


def _each(clause: Any) -> Sequence[Any]:
    several: Sequence[Any] = getattr(clause, "clauses", None) or [clause]
    return several


def _with_clause(statement: Any, clause: Any) -> Any:
    if clause is statement._post_values_clause:
        return statement
    copied: Any = statement._generate()
    copied._post_values_clause = clause
    return copied


def upsert_values(statement: Any) -> list[tuple[str, Any]]:
    """What an upsert's SET assigns, by key as given; empty for any other statement.

    The assignments of several ON CONFLICT clauses follow each other.
    """
    pairs: list[tuple[Any, Any]] = []
    for clause in _each(post_values_clause(statement)):
        given: Any = getattr(clause, "update_values_to_set", None)
        given = given or getattr(clause, "update", None) or ()
        pairs += given.items() if isinstance(given, Mapping) else given
    return [(_key_in_set(target), value) for target, value in pairs]


def _key_in_set(target: Any) -> str:
    """The key of a column, whose ORM attribute may have another name."""
    column = target.__clause_element__() if hasattr(target, "__clause_element__") else target
    return str(getattr(column, "key", column))


def upsert_conditions(statement: Any) -> list[Any]:
    """The ``where=`` of each of its ON CONFLICT clauses that has one."""
    clauses = _each(post_values_clause(statement))
    given = (getattr(clause, "update_whereclause", None) for clause in clauses)
    return [where for where in given if where is not None]


def conflict_elements(statement: Any) -> list[Any]:
    """The elements of an upsert's conflict target, as given: names and columns."""
    clause = post_values_clause(statement)
    return list(getattr(clause, "inferred_target_elements", None) or ())


def conflict_constraint(statement: Any) -> str | None:
    """The name of the constraint that an upsert has for its conflict target, if it has one."""
    name: str | None = getattr(post_values_clause(statement), "constraint_target", None)
    return name


def with_conflict_elements(statement: Any, elements: list[Any]) -> Insert:
    """The same upsert with another conflict target; the given statement is not changed."""
    changed: Any = statement._post_values_clause._clone()
    changed.constraint_target = None
    changed.inferred_target_elements = elements
    return cast("Insert", _with_clause(statement, changed))


def with_upsert_condition(statement: Any, condition: Any) -> Insert:
    """The same upsert with one more condition in its ``where=``."""
    changed: Any = statement._post_values_clause._clone()
    where = changed.update_whereclause
    changed.update_whereclause = condition if where is None else and_(where, condition)
    return cast("Insert", _with_clause(statement, changed))


def upsert_that_keeps(statement: Any, column: Column[Any]) -> Insert:
    """An upsert that finds the rows that another finds, and changes nothing.

    :param column: set to its own value.
    """
    changed: Any = statement._post_values_clause._clone()
    changed.update_whereclause = None
    is_mapping = isinstance(changed.update_values_to_set, Mapping)
    changed.update_values_to_set = {column.key: column} if is_mapping else [(column.key, column)]
    return cast("Insert", _with_clause(statement, changed))


def has_set_clause(statement: Any) -> bool:
    """Whether it is an upsert by ON CONFLICT DO UPDATE, in a single clause."""
    return hasattr(post_values_clause(statement), "update_values_to_set")


def with_upsert_where(statement: Any, rewrite: Callable[[Any], Any]) -> Any:
    """The same upsert with its ``where=`` rewritten.

    :param rewrite: returns a condition, or a replacement for it.
    :returns: `statement` itself if the condition is unchanged.
    """
    parts = one_statement_per_conflict_clause(statement)
    rewritten = [_with_where_rewritten(part, rewrite) for part in parts]
    is_same = all(new is old for new, old in zip(rewritten, parts, strict=True))
    return statement if is_same else with_all_conflict_clauses(statement, rewritten)


def _with_where_rewritten(statement: Any, rewrite: Callable[[Any], Any]) -> Any:
    clause: Any = statement._post_values_clause
    where = getattr(clause, "update_whereclause", None)
    rewritten = None if where is None else rewrite(where)
    if rewritten is where:
        return statement
    changed = clause._clone()
    changed.update_whereclause = rewritten
    return _with_clause(statement, changed)


def with_select_rewritten(statement: Any, rewrite: Callable[[Any], Any]) -> Any:
    """The same INSERT .. SELECT with its SELECT rewritten.

    :param rewrite: returns a SELECT, or a replacement for it.
    :returns: `statement` itself if the SELECT is unchanged.
    """
    select = statement.select if isinstance(statement.select, Select) else None
    rewritten = None if select is None else rewrite(select)
    if rewritten is select:
        return statement
    copied = statement._generate()
    copied.select = rewritten
    return copied


def without_select_defaults(statement: Insert) -> Insert:
    """The same INSERT .. SELECT, to which SQLAlchemy adds no column defaults."""
    copied = statement._generate()
    copied.include_insert_from_select_defaults = False
    return copied


def with_upsert_values(statement: Insert, added: list[tuple[str, Any]]) -> Insert:
    """The same upsert with more in its SET, also in place of what it sets so far; the given
    statement is not changed."""
    names = dict(added)

    def with_added(given: list[Any]) -> list[Any]:
        return [*(pair for pair in given if _key_in_set(pair[0]) not in names), *added]

    return _with_set(statement, with_added)


def with_changed_upsert_values(statement: Insert, change: Callable[[str, Any], Any]) -> Insert:
    """The same upsert with each value of SET replaced by what `change` returns for its key, as
    given, and value."""
    return _with_set(
        statement,
        lambda given: [(key, change(_key_in_set(key), value)) for key, value in given],
    )


def _with_set(statement: Any, change: Callable[[list[Any]], list[Any]]) -> Insert:
    clause: Any = statement._post_values_clause
    name = "update_values_to_set" if hasattr(clause, "update_values_to_set") else "update"
    given = getattr(clause, name)
    changed: Any = clause._clone()
    is_mapping = isinstance(given, Mapping)
    pairs = change(list(given.items()) if is_mapping else list(given))
    setattr(changed, name, dict(pairs) if is_mapping else pairs)
    return cast("Insert", _with_clause(statement, changed))


def sibling_in(value: Any, key: str) -> Any:
    """Another column of a column's alias; ``None`` if it has none."""
    source = getattr(value, "table", None)
    return source.c.get(key) if isinstance(source, Alias) else None
