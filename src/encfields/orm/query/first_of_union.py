"""The first SELECT of a UNION says what each column is, in the SELECTs after it too.

So below an encrypted column may stand another one, or nothing: a value there would be sent as it
is, to be compared with messages, or read as one.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy.sql.elements import BindParameter, Grouping, Label
from sqlalchemy.sql.selectable import CompoundSelect, ScalarSelect, SelectBase

from encfields.errors import UnreadableError, UnsupportedOperationError
from encfields.orm.declare.columns import is_encrypted
from encfields.orm.query.raw_operands import encrypted_name_of
from encfields.orm.read.provenance import column_named, table_named


def refuse_ciphertext_below_other_column(compound: CompoundSelect[Any]) -> None:
    """Refuse an encrypted column whose place in the first SELECT has none.

    SQLAlchemy reads it as what stands there: the message would be delivered as it is stored, or
    compared with what is not encrypted.

    :raises UnreadableError: there is such a column.
    """
    first, *others = (_columns(select) for select in compound.selects)
    for columns in others:
        for above, column in zip(first, columns, strict=False):
            if is_encrypted(column) and not is_encrypted(above):
                raise UnreadableError(
                    f"it stands in a later SELECT of {_kind_of(compound)}, "
                    "whose first SELECT has no encrypted column there, so that the stored message "
                    "would be delivered: select it in the first one, beside its row's key, where "
                    "the others may have null()",
                    table=table_named(column),
                    column=column_named(column),
                    reason="untraceable",
                )


def refuse_value_below_ciphertext(compound: CompoundSelect[Any]) -> None:
    """Refuse a value in the place that is an encrypted column's in another SELECT.

    :raises UnsupportedOperationError: there is such a value.
    """
    selects = compound.selects
    for place in zip(*map(_columns, selects), strict=False):
        if not any(map(_has_value, place)):
            continue
        found = map(_ciphertext, selects, place)
        encrypted = next((column for column in found if column is not None), None)
        if encrypted is not None:
            raise UnsupportedOperationError(
                f"{_kind_of(compound)} would send a value in plaintext, "
                "beside ciphertext, which equals no value: compare the column itself, as in "
                "column == value, or have null() in its place",
                table=table_named(encrypted),
                column=column_named(encrypted),
                reason="usage",
            )


def _ciphertext(select: Any, column: Any) -> Any | None:
    """The encrypted column that one of a SELECT's columns is, by its name in raw SQL too."""
    if isinstance(column, BindParameter):
        return None
    return column if is_encrypted(column) else encrypted_name_of(select, column)


def _has_value(column: Any) -> bool:
    """Whether a value is a part of an expression, other than in a SELECT of its own.

    One that is ``None`` may be another where the compiled statement is executed again.
    """
    if isinstance(column, BindParameter):
        return True
    if isinstance(column, SelectBase | ScalarSelect):
        return False
    return any(map(_has_value, column.get_children()))


def _kind_of(compound: CompoundSelect[Any]) -> str:
    name = compound.keyword.name.replace("_", " ")
    return f"an {name}" if name[0] in "EI" else f"a {name}"


def _columns(select: Any) -> list[Any]:
    return [_bare(column) for column in select.selected_columns]


def _bare(column: Any) -> Any:
    while isinstance(column, Label | Grouping):
        column = column.element
    return column
