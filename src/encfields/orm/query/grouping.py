"""Whether the rows and groups of a SELECT are distinct, one for each row found."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Column
from sqlalchemy.sql.elements import ColumnClause, Over, TextClause
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.selectable import Select, SelectBase

from encfields.orm.declare.columns import bindings_of
from encfields.orm.query.functional_dependencies import determined_by
from encfields.orm.query.statement_scope import unlabelled
from encfields.orm.read.provenance import row_siblings
from encfields.orm.read.union_reads import row_key_in_union


def row_key_determined(element: Any, others: Iterable[Any], select: Select[Any]) -> bool:
    """Whether the `others` determine the row of the encrypted `element`.

    Its table's primary key does, or what its values are bound to; in the UNION of a concrete
    hierarchy, that and the column that distinguishes the tables. The columns of a key template are
    not needed, since a row has one value of each.

    :param element: an encrypted column of what `select` selects from.
    :param others: columns that are the same in all rows of a group.
    """
    if getattr(element, "table", None) is None:
        return False
    determined = determined_by({hash(unlabelled(other)) for other in others}, select)
    in_union = row_key_in_union(element)
    if in_union is not None:
        return all(hash(column) in determined for column in in_union)
    bases = [base for base in getattr(element, "base_columns", ()) if isinstance(base, Column)]
    if len(bases) != 1:
        return False
    (base,) = bases
    keys = (base.table.primary_key.columns, bindings_of(base.table)[base.key].own_identity)
    return any(
        bool(columns)
        and all(
            any(hash(sibling) in determined for sibling in row_siblings(element, key, base))
            for key in columns
        )
        for columns in keys
    )


_NAMES = (
    "abs ceil ceiling char_length coalesce concat concat_ws current_date current_time "
    "current_timestamp date date_part date_trunc extract floor greatest ifnull json_extract least "
    "left length localtime localtimestamp lower lpad ltrim mod now nullif octet_length position "
    "replace reverse right round rpad rtrim sign sqrt strftime substr substring trim upper"
)
_ROW_WISE = frozenset(_NAMES.split())
"""Functions known not to be aggregates. Any other might be one."""


def merges_rows(columns: Iterable[Any]) -> bool:
    """Whether one of the selected columns may combine several rows."""
    stack: list[Any] = list(columns)
    while stack:
        element = stack.pop()
        if isinstance(element, SelectBase):
            continue  # A scalar subquery has its own rows.
        if isinstance(element, Over) or _may_be_aggregate(element):
            return True
        stack.extend(element.get_children())
    return False


def _may_be_aggregate(element: Any) -> bool:
    if isinstance(element, FunctionElement):
        return str(getattr(element, "name", "")).lower() not in _ROW_WISE
    if isinstance(element, TextClause):
        return "(" in element.text
    return isinstance(element, ColumnClause) and element.is_literal and "(" in element.name
