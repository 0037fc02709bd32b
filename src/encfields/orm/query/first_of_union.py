"""The first SELECT of a UNION says what each column is, in the SELECTs after it too."""

from __future__ import annotations

from typing import Any

from sqlalchemy.sql.elements import Grouping, Label
from sqlalchemy.sql.selectable import CompoundSelect

from encfields.errors import UnreadableError
from encfields.orm.declare.columns import is_encrypted
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
                    f"it stands in a later SELECT of a {compound.keyword.name.replace('_', ' ')}, "
                    "whose first SELECT has no encrypted column there, so that the stored message "
                    "would be delivered: select it in the first one, beside its row's key, where "
                    "the others may have null()",
                    table=table_named(column),
                    column=column_named(column),
                    reason="untraceable",
                )


def _columns(select: Any) -> list[Any]:
    return [_bare(column) for column in select.selected_columns]


def _bare(column: Any) -> Any:
    while isinstance(column, Label | Grouping):
        column = column.element
    return column
