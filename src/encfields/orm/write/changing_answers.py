"""Conditions of a CASE that a database may answer differently each time that it is asked.

A value and its blind index are chosen by the same conditions, but each by its own CASE. After
``random() > 0.5`` the row could hold one value and the index of the other.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Case, Column
from sqlalchemy.sql import visitors
from sqlalchemy.sql.elements import ColumnClause, TextClause
from sqlalchemy.sql.functions import FunctionElement

from encfields.errors import UnsupportedOperationError

_CONSTANT = frozenset(
    {
        "abs",
        "avg",
        "btrim",
        "ceil",
        "ceiling",
        "char_length",
        "coalesce",
        "concat",
        "count",
        "current_date",
        "current_timestamp",
        "date",
        "date_part",
        "date_trunc",
        "floor",
        "greatest",
        "ifnull",
        "least",
        "left",
        "length",
        "localtimestamp",
        "lower",
        "ltrim",
        "max",
        "min",
        "mod",
        "now",
        "nullif",
        "octet_length",
        "replace",
        "right",
        "round",
        "rtrim",
        "sign",
        "strftime",
        "substr",
        "substring",
        "sum",
        "trim",
        "upper",
    }
)
"""Functions that give the same within one statement for the same arguments."""


def refuse_changing_answers(chosen: Case[Any], column: Column[Any]) -> None:
    """Refuse a CASE that calls a function which may answer anew for the column's blind index.

    :raises UnsupportedOperationError: names what is called.
    """
    for condition, _ in chosen.whens:
        for element in visitors.iterate(condition):
            if (called := _may_change(element)) is not None:
                raise UnsupportedOperationError(
                    f"its blind index is chosen by the same condition, and {called!r} may answer "
                    "differently when the database asks it again: decide by columns and values, "
                    "or work the answer out before the statement",
                    table=column.table.name,
                    column=column.name,
                    reason="upsert",
                )


def _may_change(element: Any) -> str | None:
    """What is called in an element; ``None`` if its answer stays within a statement."""
    if isinstance(element, FunctionElement):
        name = str(getattr(element, "name", type(element).__name__))
        return None if name.lower() in _CONSTANT else name
    raw = element.text if isinstance(element, TextClause) else ""
    if isinstance(element, ColumnClause) and element.is_literal:
        raw = element.name
    return raw if "(" in raw else None
