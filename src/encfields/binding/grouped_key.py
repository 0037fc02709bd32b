"""The key of a row in a SELECT that groups by the row, for PostgreSQL.

There a column that is selected has to be grouped by, and only the whole primary key of a table
lets its other columns stand beside it. A cell names each column of its row's key, also where the
statement groups by one that equals it, or by the primary key of a subquery, so such a column is
aggregated: all of a group are alike.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy.sql.selectable import Select

from encfields.binding import sqlalchemy_internals as internals
from encfields.binding.enclosing import enclosing


def needs_aggregate(key: Any, compiler: Any) -> bool:
    """Whether the SELECT that is being compiled groups, and not by the column `key`."""
    around = enclosing(compiler)
    select = around[0].statement if around else None
    if not isinstance(select, Select):
        return False
    clauses = internals.group_by_clauses(select)
    return bool(clauses) and not any(hash(clause) == hash(key) for clause in clauses)
