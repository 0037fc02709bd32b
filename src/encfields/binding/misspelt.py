"""Why a row's key cannot be the identity of a value: it is NULL, or in a form of another row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from encfields.binding.delivered_keys import NULL_PART, as_stored, from_delivered
from encfields.errors import ContextMismatchError, EncFieldsError, UnreadableError

if TYPE_CHECKING:
    from sqlalchemy import Column
    from sqlalchemy.engine import Dialect

    from encfields.binding.columns import ColumnBinding

_NULL_PARTS = (NULL_PART, NULL_PART + b"!")
"""The second is SQLite's: the storage class and no bytes."""


def misspelt(binding: ColumnBinding, parts: Sequence[bytes], dialect: Dialect) -> EncFieldsError:
    """The error for a stored value whose row's key is not in its one accepted form.

    :param parts: the key as it was delivered, of which one part at least is not.
    """
    columns = binding.identity
    row = {
        column.name: as_stored(part, column.type, dialect)
        for column, part in zip(columns, parts, strict=True)
    }
    nulls = [c.name for c, part in zip(columns, parts, strict=True) if part in _NULL_PARTS]
    if nulls:
        return UnreadableError(
            f"a value is stored, and {', '.join(nulls)}, which identifies its row, is NULL, so "
            "nothing tells whose value it is. Set it to what it was when the value was written; "
            "until then read the other columns only",
            table=binding.table,
            column=binding.column_name,
            row=row,
            reason="no-identity",
        )
    pairs = zip(columns, parts, strict=True)
    names = [column.name for column, part in pairs if _is_misspelt(column, part, dialect)]
    return ContextMismatchError(
        f"the row's key {', '.join(names)} is not stored in the form that its column's type "
        "writes, so this is not the row that the value was written for: whoever can write to the "
        "database may have copied it here. If the key was written by other means, write it anew "
        "in its type's own form",
        table=binding.table,
        column=binding.column_name,
        row=row,
        reason="identity-form",
    )


def _is_misspelt(column: Column[Any], part: bytes, dialect: Dialect) -> bool:
    try:
        from_delivered(column.type, dialect)(part)
    except ValueError:
        return True
    return False
