"""A table that can be worked on and counted, as users name it."""

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
    """One table and those of its encrypted columns that are worked on.

    :meth:`from_table` makes it of a declared table, :meth:`of` of names.

    :param table: the table's name.
    :param columns: its encrypted columns; :meth:`of` takes their names as well.
    :param schema: the table's schema; default the connection's own.
    :param indexes: their blind indexes, which are computed where they are NULL.
    :param reindex: compute those of every row, and write those that are others.
    """

    def count_under(
        self, bind: Engine | Connection, key_id: str, version: str | None = None
    ) -> tuple[str, list[ValuesUnder]]:
        """The columns that hold values under a key. Every row is looked at once, and no key is
        used.

        :param bind: an engine or connection.
        :param key_id: the branch key id.
        :param version: only those under this version.
        :returns: the table's name, and the columns with values under the key.
        """
        return count_under(bind, self, key_id, version)

    def count_under_each(
        self, bind: Engine | Connection, key_ids: Collection[str]
    ) -> tuple[str, dict[str, list[ValuesUnder]]]:
        """The same for many keys, with one look at every row.

        :param bind: an engine or connection.
        :param key_ids: branch key ids.
        :returns: the table's name, and for each key that values are under the columns with them.
        """
        return count_under_each(bind, self, key_ids)
