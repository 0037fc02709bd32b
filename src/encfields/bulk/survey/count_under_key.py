"""How many values are under a branch key or one of its versions: what its loss would cost."""

from __future__ import annotations

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
    counted = census(bind, spec, asked=(key_id, version))
    found = [
        ValuesUnder(counted.table, column.column, values)
        for column in counted.columns
        if (values := column.under(key_id, version))
    ]
    return counted.table, found
