"""How many values are under a branch key or one of its versions: what its loss would cost."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, Engine

from encfields.reencrypt.census import Census, census
from encfields.reencrypt.column_census import ColumnCensus
from encfields.reencrypt.retirement import ValuesUnder
from encfields.reencrypt.spec import TableSpec


def values_under_key(
    bind: Engine | Connection, specs: Iterable[TableSpec], key_id: str, version: str | None = None
) -> tuple[list[str], list[ValuesUnder]]:
    """The columns that hold values under a key. Every row is looked at once, and
    no key is used.

    :param bind: as for :func:`encfields.reencrypt.census.census`.
    :param specs: every table that may hold values under the key.
    :param version: only those under this version.
    :returns: the tables looked at, and the columns with values under the key.
    """
    counted: list[Census] = [census(bind, spec) for spec in specs]
    found = [
        ValuesUnder(one.table, column.column, values)
        for one in counted
        for column in one.columns
        if (values := _under(column, key_id, version))
    ]
    return [one.table for one in counted], found


def _under(column: ColumnCensus, key_id: str, version: str | None) -> int:
    if version is not None:
        return column.under(key_id, version)
    return sum(
        count for kind in column.by_version for (id_, _), count in kind.items() if id_ == key_id
    )
