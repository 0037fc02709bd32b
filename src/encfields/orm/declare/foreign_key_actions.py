"""Refuses foreign keys and computed columns by which the database would change what values are
bound to.

A foreign key does so in a row of another table, without any statement that could seal the values
again. ``ON DELETE SET NULL`` is allowed: the row loses its owner, its value is kept, reading it is
an error, and it opens again when the owner is restored.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from encfields.errors import DeclarationError

if TYPE_CHECKING:
    from sqlalchemy import Column, ForeignKey

    from encfields.orm.declare.columns import ColumnBinding

_MOVES = frozenset({"CASCADE", "SET NULL", "SET DEFAULT"})


def refuse_actions(bindings: Iterable[ColumnBinding]) -> None:
    """Refuse an encrypted column whose row's identity a foreign key changes or the database
    computes.

    :raises DeclarationError: says which column and action.
    """
    for binding in bindings:
        for column in binding.bound_to:
            if column.computed is not None:
                raise _computed(binding, column)
            for key in column.foreign_keys:
                for action in _actions(key):
                    raise _refusal(binding, column, action)


def _actions(key: ForeignKey) -> Iterable[str]:
    rule: Any = key.constraint if key.constraint is not None else key
    return moving_actions(rule.onupdate, rule.ondelete)


def moving_actions(onupdate: str | None, ondelete: str | None) -> Iterable[str]:
    """Those of a foreign key's two actions that give a row of its table another key.

    :param onupdate: as declared or reflected, for example ``"cascade"``.
    :param ondelete: the same for deleted rows.
    """
    on_update = " ".join((onupdate or "").upper().split())
    on_delete = " ".join((ondelete or "").upper().split())
    if on_update in _MOVES:
        yield f"ON UPDATE {on_update}"
    if on_delete.startswith("SET DEFAULT"):
        yield "ON DELETE SET DEFAULT"


def _refusal(binding: ColumnBinding, column: Column[Any], action: str) -> DeclarationError:
    return DeclarationError(
        f"its values are bound to {column.name}, which the database would change by itself, with "
        f"{action} of a foreign key, and leave them unreadable: leave the action out and change "
        "the key through the ORM (relationship(passive_updates=False) takes the rows along), or "
        "bind the values to columns that do not change, with bind_to= and key=",
        table=binding.table,
        column=binding.column_name,
        reason="foreign-key-action",
    )


def _computed(binding: ColumnBinding, column: Column[Any]) -> DeclarationError:
    return DeclarationError(
        f"its values are bound to {column.name}, which the database computes: when it changes, "
        "they become unreadable. Bind the values to ordinary columns that do not change, with "
        "bind_to= and key=",
        table=binding.table,
        column=binding.column_name,
        reason="computed",
    )
