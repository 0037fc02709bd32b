"""``TableSpec``: names a table for runs and counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from encfields.bulk.rows.spec_base import (
    ReflectedTable,
    SealedColumn,
    TableSpecBase,
)
from encfields.bulk.survey.census import count_under, count_under_each
from encfields.keys.removal import ValuesUnder

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Connection, Engine

__all__ = ["ReflectedTable", "SealedColumn", "TableSpec"]


@dataclass(frozen=True, slots=True)
class TableSpec(TableSpecBase):
    """One table and the encrypted columns to work on.

    :meth:`from_table` makes it from a declared table, :meth:`of` from names.

    :param table: the table's name.
    :param columns: its encrypted columns; :meth:`of` also takes their names.
    :param schema: the table's schema; default the connection's.
    :param indexes: their blind indexes, which a run computes where they are NULL.
    :param reindex: compute the indexes of every row, and write those that differ.
    """

    def count_under(
        self, bind: Engine | Connection, key_id: str, version: str | None = None
    ) -> tuple[str, list[ValuesUnder]]:
        """The columns that hold values under a key. Reads every row once, and uses no key.

        :param bind: an engine or connection.
        :param key_id: the branch key id.
        :param version: only those under this version.
        :returns: the table's name, and the columns with values under the key.
        """
        return count_under(bind, self, key_id, version)

    def count_under_each(
        self, bind: Engine | Connection, key_ids: Collection[str]
    ) -> tuple[str, dict[str, list[ValuesUnder]]]:
        """:meth:`count_under` for many keys, reading every row once.

        :param bind: an engine or connection.
        :param key_ids: branch key ids.
        :returns: the table's name, and the columns with values under each key that has any.
        """
        return count_under_each(bind, self, key_ids)
