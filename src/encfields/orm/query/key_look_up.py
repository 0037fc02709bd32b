"""Columns of a row's key that a subquery leaves out, where it selects the row's primary key.

The ORM makes such subqueries: for ``joinedload()`` with LIMIT it selects the columns that are to
be loaded and the primary key, and ``load_only()`` or ``defer()`` may leave the tenant's out. The
same statement can look it up by the primary key, in the row that the value came from.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, select
from sqlalchemy.sql.elements import ColumnElement


def looked_up(
    key: Column[Any], primary_key: dict[Column[Any], ColumnElement[Any]], subquery: Any
) -> ColumnElement[Any]:
    """The column `key` of a row, as a subquery of its own.

    :param primary_key: what `subquery` selects of the row's primary key, which is all of it.
    """
    row = key.table.alias()
    is_row = [row.c[column.key] == there for column, there in primary_key.items()]
    return select(row.c[key.key]).where(*is_row).correlate(subquery).scalar_subquery()
