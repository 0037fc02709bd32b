"""What an error calls a column, and the table that it comes from."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Table
from sqlalchemy.sql.elements import quoted_name


def table_named(expression: Any) -> str | None:
    """Name of the table that a column comes from, or of the alias that the statement names.

    An alias without a name gets one only when it is compiled: it is called by its table.
    """
    table: Any = getattr(expression, "table", None)
    bases = getattr(expression, "base_columns", ())
    for one in (table, *(getattr(base, "table", None) for base in bases)):
        name = one.fullname if isinstance(one, Table) else getattr(one, "name", None)
        if name and not _is_anonymous(name):
            return str(name)
    return None


def column_named(expression: Any) -> str | None:
    """Name of a column, or of the table's column that an expression without a name delivers."""
    for one in (expression, *getattr(expression, "base_columns", ())):
        name = getattr(one, "name", None)
        if name and not _is_anonymous(name):
            return str(name)
    return None


def _is_anonymous(name: object) -> bool:
    return isinstance(name, quoted_name) and getattr(name, "apply_map", None) is not None
