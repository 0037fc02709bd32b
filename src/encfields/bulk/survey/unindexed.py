"""Rows that have a value and no blind index of it: no key is needed to find them.

A query by the index misses them without a word.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, column, func, select, table

from encfields.bulk.rows.spec import DerivedColumn, TableSpec


def count_unindexed(connection: Connection, spec: TableSpec) -> dict[str, int]:
    """How many rows have their values and no index of them.

    :param spec: the table; its columns must be there.
    :returns: by the name of the index's column, for each in ``spec.derived``.
    """
    counts = {}
    for derived in spec.derived:
        counted = select(func.count()).select_from(_table(spec, derived))
        counts[derived.name] = connection.scalar(counted.where(is_unindexed(derived))) or 0
    return counts


def any_unindexed(connection: Connection, spec: TableSpec, derived: DerivedColumn) -> bool:
    """Whether there is such a row; with the index's column indexed, that costs no full scan."""
    sought: Select[Any] = select(column(derived.name)).select_from(_table(spec, derived))
    return connection.execute(sought.where(is_unindexed(derived)).limit(1)).first() is not None


def is_unindexed(derived: DerivedColumn, columns: Any = None) -> ColumnElement[bool]:
    """The condition for one row.

    :param columns: gives columns by name; by default, plain ones of that name.
    """
    of = column if columns is None else columns.__getitem__
    return and_(*(of(name).is_not(None) for name in derived.columns), of(derived.name).is_(None))


def _table(spec: TableSpec, derived: DerivedColumn) -> Any:
    names: Iterable[str] = (derived.name, *derived.columns)
    return table(spec.table, *(column(name) for name in names), schema=spec.schema)
