"""How many values are under branch keys or a version of one: what their loss would cost."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection, Engine

from encfields.bulk.rows.description import TableDescription
from encfields.bulk.survey.census import census
from encfields.keys.removal import ValuesUnder


def count_under(
    bind: Engine | Connection, spec: TableDescription, key_id: str, version: str | None = None
) -> tuple[str, list[ValuesUnder]]:
    """The columns of a table that hold values under a key. Every row is looked at once, and no
    key is used. Values that are bound to another place count too: moved back, they would open.

    :param bind: as for :func:`encfields.bulk.survey.census.census`.
    :param version: only those under this version.
    :returns: the table's name, and the columns with values under the key.
    """
    counted = census(bind, spec, asked=((key_id,), version))
    found = [
        ValuesUnder(counted.table, column.column, values)
        for column in counted.columns
        if (values := column.under(key_id, version))
    ]
    return counted.table, found


def count_under_each(
    bind: Engine | Connection, spec: TableDescription, key_ids: Collection[str]
) -> tuple[str, dict[str, list[ValuesUnder]]]:
    """:func:`count_under` for many keys, with one look at every row.

    :returns: the table's name, and for each key that values are under the columns with them.
    """
    counted = census(bind, spec, asked=(key_ids, None))
    found: dict[str, list[ValuesUnder]] = {}
    for column in counted.columns:
        for key_id, values in column.under_each().items():
            found.setdefault(key_id, []).append(ValuesUnder(counted.table, column.column, values))
    return counted.table, found
