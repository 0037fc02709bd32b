"""Refuses a UNION, INTERSECT or EXCEPT that would compare the messages of two encrypted columns."""

from __future__ import annotations

from itertools import zip_longest
from typing import Any

from sqlalchemy.sql.selectable import CompoundSelect

from encfields.errors import UnsupportedOperationError
from encfields.orm.declare.columns import is_encrypted
from encfields.orm.read.provenance import column_named, table_named
from encfields.orm.read.union_reads import elements_of, is_no_value, selects_of, tell_apart


def check_compared_branches(compound: CompoundSelect[Any]) -> None:
    """Refuse to look for equal rows of several tables where no two messages are alike.

    Rows of one column's table are told apart by their key, and those of branches that each have a
    constant of their own are never equal.

    :raises UnsupportedOperationError: names two of the columns.
    """
    keyword = compound.keyword.name
    if keyword == "UNION_ALL":
        return
    branches = [elements_of(select) for select in selects_of(compound)]
    places = list(zip_longest(*branches))
    if any(map(tell_apart, places)):
        return
    for place in places:
        columns = [
            one for one in place if one is not None and is_encrypted(one) and not is_no_value(one)
        ]
        for column in columns[1:]:
            if _bases(column) == _bases(columns[0]):
                continue
            other = ".".join(filter(None, (table_named(columns[0]), column_named(columns[0]))))
            raise UnsupportedOperationError(
                f"{keyword.replace('_', ' ')} would compare its messages with those of {other}, "
                "and no two are alike: select all, with union_all(), and compare in Python after "
                "loading, or give every SELECT a literal_column() that no other has",
                table=table_named(column),
                column=column_named(column),
                reason="usage",
            )


def _bases(column: Any) -> set[tuple[str, str]]:
    """The tables' encrypted columns that it stands for."""
    return {
        (base.table.key, base.name)
        for base in column.base_columns
        if is_encrypted(base) and hasattr(getattr(base, "table", None), "key")
    }
