"""Upserts: an ON CONFLICT clause may only write to the row whose key was inserted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy import Column
from sqlalchemy.sql.elements import ColumnElement, Null
from sqlalchemy.sql.selectable import Alias

from encfields.errors import (
    AmbiguousRowError,
    BindingError,
    CiphertextCopyError,
    IdentityChangeError,
)
from encfields.orm import internals
from encfields.orm.declare.row_keys import may_match_another_spelling

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect

    from encfields.orm.declare.columns import ColumnBinding


def refuse_upsert(statement: Any, bindings: Mapping[str, ColumnBinding], dialect: Dialect) -> None:
    """Refuse an upsert whose row, or whose value, is not the one that was inserted.

    :raises AmbiguousRowError: the conflict may hit a row of another key.
    :raises CiphertextCopyError: an encrypted column is set to something else than
        ``excluded.column``.
    :raises IdentityChangeError: a key column is set.
    """
    clause = internals.post_values_clause(statement)
    if hasattr(clause, "update_values_to_set"):
        _refuse_on_conflict(statement, clause, bindings, dialect)
    elif hasattr(clause, "update"):
        _refuse_on_duplicate_key(clause, bindings)


def _settings(given: Any) -> Iterator[tuple[str, Any]]:
    """What an upsert's SET assigns, by column key; a dictionary or pairs, as SQLAlchemy has it."""
    for target, value in given.items() if isinstance(given, Mapping) else given:
        yield str(getattr(target, "key", target)), value


def _refuse_on_conflict(
    statement: Any, clause: Any, bindings: Mapping[str, ColumnBinding], dialect: Dialect
) -> None:
    for key, value in _settings(clause.update_values_to_set):
        for binding in bindings.values():
            if _names(binding.column, key):
                if isinstance(value, Null):
                    continue
                if not is_excluded(statement, value, binding.column):
                    raise _refusal(
                        CiphertextCopyError,
                        binding,
                        f"an upsert may set it to excluded.{binding.column_name} only",
                    )
                _check_target(clause, binding, dialect)
            for column in binding.identity:
                if _names(column, key) and not (
                    is_excluded(statement, value, column) and targets_row_key(clause, binding)
                ):
                    raise _identity_refusal(binding, column)


def _names(column: Column[Any], key: str) -> bool:
    """Whether SET means this column: SQLAlchemy takes its key, and with a warning its name."""
    return key in (column.key, column.name)


def is_excluded(statement: Any, value: Any, column: Column[Any]) -> bool:
    """Whether `value` is the inserted value of the column: ``excluded.column``."""
    source = getattr(value, "table", None)
    return (
        isinstance(value, ColumnElement)
        and getattr(value, "key", None) == column.key
        and isinstance(source, Alias)
        and source.name == "excluded"
        and internals.same_table(source.element, statement.table)
    )


def targets_row_key(clause: Any, binding: ColumnBinding) -> bool:
    """Whether an ON CONFLICT clause's conflict target is the row's key and nothing else."""
    elements = getattr(clause, "inferred_target_elements", None)
    if elements is not None and clause.inferred_target_whereclause is None:
        names = {getattr(element, "name", element) for element in elements}
        return names == {column.name for column in binding.identity}
    constraint = getattr(clause, "constraint_target", None)
    primary = binding.column.table.primary_key
    return (
        constraint is not None
        and constraint == primary.name
        and set(primary.columns) == set(binding.identity)
    )


def _check_target(clause: Any, binding: ColumnBinding, dialect: Dialect) -> None:
    names = ", ".join(column.name for column in binding.identity)
    if not targets_row_key(clause, binding):
        raise _refusal(
            AmbiguousRowError,
            binding,
            f"the upsert may hit a row of another key: its conflict target must be ({names})",
        )
    if any(may_match_another_spelling(column.type, dialect) for column in binding.identity):
        raise _refusal(
            AmbiguousRowError,
            binding,
            f"under the collation of ({names}) the upsert may hit a row whose key is spelt "
            "differently: give the column a binary collation, or look the row up first",
        )


def _refuse_on_duplicate_key(clause: Any, bindings: Mapping[str, ColumnBinding]) -> None:
    for key, value in _settings(clause.update):
        for binding in bindings.values():
            if _names(binding.column, key) and not isinstance(value, Null):
                raise _refusal(
                    AmbiguousRowError,
                    binding,
                    "ON DUPLICATE KEY UPDATE cannot say which unique key was hit, so the row is "
                    "not known: update by primary key, or read the row first",
                )
            for column in binding.identity:
                if _names(column, key):
                    raise _identity_refusal(binding, column)


def _identity_refusal(binding: ColumnBinding, column: Column[Any]) -> BindingError:
    return _refusal(
        IdentityChangeError,
        binding,
        f"the upsert changes {column.name}, to which the stored value is bound",
    )


def _refusal(cls: type[BindingError], binding: ColumnBinding, message: str) -> BindingError:
    return cls(message, table=binding.table, column=binding.column_name, reason="upsert")
