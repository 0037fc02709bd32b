"""ON CONFLICT and ON DUPLICATE KEY: what is set, and of which row.

Read::

    sqlalchemy.sql.dml.Insert                      _post_values_clause _generate
    sqlalchemy.sql.elements.BindParameter          _clone

Written::

    sqlalchemy.sql.dml.Insert                      _post_values_clause
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from sqlalchemy.sql.dml import Insert
from sqlalchemy.sql.selectable import Alias


def post_values_clause(statement: Any) -> Any:
    """ON CONFLICT or ON DUPLICATE KEY clause of an INSERT, or ``None``."""
    return getattr(statement, "_post_values_clause", None)


def upsert_values(statement: Any) -> list[tuple[str, Any]]:
    """What an upsert's SET assigns, by key as it was given; nothing for any other statement."""
    clause = post_values_clause(statement)
    given = getattr(clause, "update_values_to_set", None) or getattr(clause, "update", None) or ()
    pairs = given.items() if isinstance(given, Mapping) else given
    return [(_key_in_set(target), value) for target, value in pairs]


def _key_in_set(target: Any) -> str:
    """The key of a column, which an attribute of the ORM may have another name than."""
    column = target.__clause_element__() if hasattr(target, "__clause_element__") else target
    return str(getattr(column, "key", column))


def conflict_elements(statement: Any) -> list[Any]:
    """What an upsert's conflict target names, as it was given: names and columns."""
    clause = post_values_clause(statement)
    return list(getattr(clause, "inferred_target_elements", None) or ())


def with_conflict_elements(statement: Any, elements: list[Any]) -> Insert:
    """The same upsert with another conflict target; the given statement is left as it is."""
    changed: Any = statement._post_values_clause._clone()
    changed.inferred_target_elements = elements
    copied: Any = statement._generate()
    copied._post_values_clause = changed
    return cast("Insert", copied)


def with_upsert_values(statement: Insert, added: list[tuple[str, Any]]) -> Insert:
    """The same upsert with more in its SET; the given statement is left as it is."""
    return _with_set(statement, lambda given: [*given, *added])


def with_changed_upsert_values(statement: Insert, change: Callable[[str, Any], Any]) -> Insert:
    """The same upsert whose SET has what `change` makes of each key, as given, and value."""
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
    copied: Any = statement._generate()
    copied._post_values_clause = changed
    return cast("Insert", copied)


def sibling_in(value: Any, key: str) -> Any:
    """Another column of the alias that a column is of; ``None`` for what is of none."""
    source = getattr(value, "table", None)
    return source.c.get(key) if isinstance(source, Alias) else None
