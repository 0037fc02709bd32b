"""Moves unique constraints and indexes of a table to other columns."""

from __future__ import annotations

from typing import Any, cast

from sqlalchemy import Column, Index, Table, UniqueConstraint
from sqlalchemy.sql.elements import conv

from encfields.orm import internals

Rule = UniqueConstraint | Index


def parts_of(rule: Rule) -> list[Any]:
    """The columns of a rule, and the SQL expressions of an index."""
    return list(rule.expressions if isinstance(rule, Index) else rule.columns)


def add_rule(rule: Rule, parts: list[Any], version: int = 1) -> None:
    """Add the same rule over other parts of the table.

    :param version: of the beacon key; from the second on it is part of the rule's name.
    """
    name: Any = rule.name
    table: Table = next(part.table for part in parts if isinstance(part, Column))
    if isinstance(name, str) and version > 1:
        made = f"{name}_v{version}"
        name = conv(made) if isinstance(name, conv) else made
    if any(
        _is_same(present, rule, name, parts) for present in (*table.constraints, *table.indexes)
    ):
        return  # it was declared and attached twice
    if isinstance(rule, Index):
        Index(name, *parts, unique=rule.unique, **dict(rule.dialect_kwargs))
        return
    table.append_constraint(
        UniqueConstraint(
            *parts,
            name=name,
            deferrable=rule.deferrable,
            initially=rule.initially,
            **dict(rule.dialect_kwargs),
        )
    )


def _is_same(present: Any, rule: Rule, name: Any, parts: list[Any]) -> bool:
    if type(present) is not type(rule) or present.name != name:
        return False
    return [id(part) for part in parts_of(present)] == [id(part) for part in parts]


def name_index(column: Column[Any]) -> None:
    """Give the index of a blind index's column SQLAlchemy's usual name, if the application's naming
    convention has none for an index, which it need not as long as it declares none."""
    table = column.table
    for rule in table.indexes:
        if not rule.name and [id(part) for part in parts_of(rule)] == [id(column)]:
            schema = [table.schema.replace(".", "_")] if table.schema else []
            rule.name = conv("_".join(["ix", *schema, table.name, column.name]))


def take_over_rules(table: Table, old: Column[Any], new: Column[Any]) -> None:
    """Move the rules of a reflected column to `new`, which replaced it.

    Rules that `new` brings itself, such as its own index, are skipped.
    """
    for rule in [*table.constraints, *table.indexes]:
        parts = parts_of(rule) if isinstance(rule, Rule) else []
        if any(part is old for part in parts):
            internals.discard_rule(table, rule)
            if len(parts) > 1:
                add_rule(cast("Rule", rule), [new if part is old else part for part in parts])
