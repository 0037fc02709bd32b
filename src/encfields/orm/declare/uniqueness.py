"""Moves unique constraints and indexes from encrypted columns to those of their blind indexes."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import Column, Index, Table, UniqueConstraint

from encfields.errors import DeclarationError
from encfields.orm import internals
from encfields.orm.declare.columns import is_encrypted
from encfields.orm.declare.index_binding import IndexBinding
from encfields.orm.declare.table_constraints import Rule, add_rule, parts_of
from encfields.orm.declare.table_indexes import indexes_of

_SEARCHES_WITHIN = re.compile(r"(?i)FULLTEXT|SPATIAL|_trgm_ops|jsonb_\w*ops|tsvector_ops")
"""MySQL's and MariaDB's prefixes, and PostgreSQL's operator classes, of indexes that hold parts of
each value."""


def keep_uniqueness(table: Table) -> None:
    """Move unique constraints, and indexes, from encrypted columns to their blind indexes.

    No two ciphertexts are equal, so on the ciphertext they would have no effect.

    :raises DeclarationError: a unique column has no blind index that distinguishes its values.
    """
    for rule in [*table.constraints, *table.indexes]:
        _refuse_exclusion(rule)
        _refuse_search_within(rule)
        if not isinstance(rule, Rule) or not any(map(is_encrypted, parts_of(rule))):
            continue
        stand_ins = _stand_ins(table, rule)
        internals.discard_rule(table, rule)
        # The index's own column already has what index=True and unique=True request.
        if not internals.is_column_flag(rule):
            for version, parts in stand_ins.items():
                add_rule(rule, parts, version)


def _refuse_exclusion(rule: Any) -> None:
    """Refuse an exclusion constraint of an encrypted column."""
    for column in rule.columns if internals.is_exclusion(rule) else ():
        if is_encrypted(column):
            raise DeclarationError(
                "an exclusion constraint would never find two values alike, because no two "
                "ciphertexts are alike: give the column index=BlindIndex() and compare the "
                f"index's own column, ('{column.name}_bidx', '='), or leave it out",
                table=column.table.fullname,
                column=column.name,
                reason="unique",
            )


def _refuse_search_within(rule: Any) -> None:
    """Refuse an index of parts of an encrypted column's values, such as their words."""
    for column in filter(is_encrypted, parts_of(rule)) if isinstance(rule, Index) else ():
        if kind := _SEARCHES_WITHIN.search(" ".join(_kinds(rule, column))):
            raise DeclarationError(
                f"an index of kind {kind.group()} is of parts of a value, which neither a "
                "ciphertext nor the hash of a blind index has: leave it out",
                table=column.table.fullname,
                column=column.name,
                reason="unique",
            )


def _kinds(index: Index, column: Column[Any]) -> list[str]:
    """The options of an index that say what it holds of a column."""
    options = dict(index.dialect_kwargs)
    classes = options.get("postgresql_ops") or {}
    prefixes = [options.get("mysql_prefix"), options.get("mariadb_prefix")]
    return [str(one) for one in (*prefixes, classes.get(column.key)) if one]


def _stand_ins(table: Table, rule: Rule) -> dict[int, list[Any]]:
    """The replacements for the parts of a rule, by version of the beacon key."""
    choices: list[dict[int, Any]] = []
    for part in parts_of(rule):
        choices.append(_exact_indexes(table, part) if is_encrypted(part) else {0: part})
        if not choices[-1]:
            raise _refusal(part, rule)
    versions = sorted({version for by_version in choices for version in by_version if version})
    return {
        v: [
            by_version[v] if v in by_version else by_version[max(by_version)]
            for by_version in choices
        ]
        for v in versions
    }


def _exact_indexes(table: Table, column: Column[Any]) -> dict[int, Column[Any]]:
    """The columns that are equal exactly for equal values of `column`, by version."""
    columns: dict[int, Column[Any]] = {}
    for index in indexes_of(table):
        if index.is_full and index.is_exact and _is_of(index, column):
            columns.setdefault(index.definition.version, index.index_column)
    return columns


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
