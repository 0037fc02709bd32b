"""Unique constraints and indexes, moved from encrypted columns to those of their blind indexes."""

from __future__ import annotations

from typing import Any, cast

from sqlalchemy import Column, Index, Table, UniqueConstraint
from sqlalchemy.sql import visitors
from sqlalchemy.sql.elements import conv

from encfields.binding import sqlalchemy_internals as internals
from encfields.binding.columns import is_encrypted
from encfields.binding.index_columns import IndexBinding, indexes_of
from encfields.errors import DeclarationError

Rule = UniqueConstraint | Index


def keep_uniqueness(table: Table) -> None:
    """Move unique constraints, and indexes, from encrypted columns to their blind indexes.

    No two ciphertexts are alike, so on the ciphertext they would promise what they cannot keep.

    :raises DeclarationError: a unique column has no blind index that tells its values apart.
    """
    for rule in [*table.constraints, *table.indexes]:
        if not isinstance(rule, Rule) or not any(is_encrypted(column) for column in rule.columns):
            continue
        _refuse_expressions(rule)
        stand_ins = _stand_ins(table, rule)
        internals.discard_rule(table, rule)
        # What index=True and unique=True ask for, the index's own column has already.
        if not internals.is_column_flag(rule):
            for version, parts in stand_ins.items():
                add_rule(rule, parts, version)


def _parts(rule: Rule) -> list[Any]:
    """The columns of a rule, and the SQL expressions of an index."""
    return list(rule.expressions if isinstance(rule, Index) else rule.columns)


def _refuse_expressions(rule: Rule) -> None:
    """An index on a function of a column: of its ciphertext it is none, of its hash neither."""
    for part in _parts(rule):
        elements: list[Any] = list(visitors.iterate(part))
        for element in elements:
            if element is not part and is_encrypted(element):
                raise DeclarationError(
                    "an index on an SQL expression would be on that of a ciphertext: give the "
                    "column index=BlindIndex(...) with a transform",
                    table=element.table.fullname,
                    column=element.name,
                    reason="unique",
                )


def add_rule(rule: Rule, parts: list[Any], version: int = 1) -> None:
    """The same rule over other parts of the table.

    :param version: of the beacon key, which becomes part of the rule's name from the second on.
    """
    name: Any = rule.name
    table: Table = next(part.table for part in parts if isinstance(part, Column))
    if isinstance(name, str) and version > 1:
        made = f"{name}_v{version}"
        name = conv(made) if isinstance(name, conv) else made
    if any(_is_same(there, rule, name, parts) for there in (*table.constraints, *table.indexes)):
        return  # it was declared, and attached, twice
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


def _is_same(there: Any, rule: Rule, name: Any, parts: list[Any]) -> bool:
    if type(there) is not type(rule) or there.name != name:
        return False
    return [id(part) for part in _parts(there)] == [id(part) for part in parts]


def _stand_ins(table: Table, rule: Rule) -> dict[int, list[Any]]:
    """What stands in for the parts of a rule, by version of the beacon key."""
    choices: list[dict[int, Any]] = []
    for part in _parts(rule):
        choices.append(_exact_indexes(table, part) if is_encrypted(part) else {0: part})
        if not choices[-1]:
            raise _refusal(part, rule)
    versions = sorted({version for there in choices for version in there if version})
    return {
        v: [there[v] if v in there else there[max(there)] for there in choices] for v in versions
    }


def _exact_indexes(table: Table, column: Column[Any]) -> dict[int, Column[Any]]:
    """The columns in which equal values of `column`, and no others, are equal, by version."""
    there: dict[int, Column[Any]] = {}
    for index in indexes_of(table):
        if index.is_full and index.is_exact and _is_of(index, column):
            there.setdefault(index.version, index.companion)
    return there


def _is_of(index: IndexBinding, column: Column[Any]) -> bool:
    return len(index.sources) == 1 and index.sources[0].column is column


def _refusal(column: Column[Any], rule: Rule) -> DeclarationError:
    what = "an index would never find a value"
    if isinstance(rule, UniqueConstraint) or rule.unique:
        what = "a unique constraint would never find two values alike"
    return DeclarationError(
        f"{what}, because no two ciphertexts are alike: give the column index=BlindIndex(), or "
        "leave it out",
        table=column.table.fullname,
        column=column.name,
        reason="unique",
    )


def take_over_rules(table: Table, old: Column[Any], new: Column[Any]) -> None:
    """Have the rules of a reflected column, which `new` has replaced, be about that one.

    What `new` brings itself, an index of its own, is left out.
    """
    for rule in [*table.constraints, *table.indexes]:
        parts = _parts(rule) if isinstance(rule, Rule) else []
        if any(part is old for part in parts):
            internals.discard_rule(table, rule)
            if len(parts) > 1:
                add_rule(cast("Rule", rule), [new if part is old else part for part in parts])
