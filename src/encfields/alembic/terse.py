"""Encrypted columns in few words: what is the default anyway is left out of a migration."""

from __future__ import annotations

from sqlalchemy import Table

from encfields.bulk.rows.spec import SealedColumn, TableSpec
from encfields.key_template import KeyTemplate


def terse_columns(table: Table) -> tuple[SealedColumn, ...]:
    """The encrypted columns of a declared table."""
    return tuple(terse(table, column) for column in TableSpec.from_table(table).columns)


def terse(table: Table, column: SealedColumn) -> SealedColumn:
    """A description without what is the default anyway."""
    name = column.logical_name
    identity = set(column.bind_to or ()) - set(KeyTemplate(column.key).columns)
    return SealedColumn(
        column.name,
        None if name == f"{table.fullname}.{column.name}" else name,
        column.key,
        None if identity == {c.name for c in table.primary_key.columns} else column.bind_to,
        column.context_names,
        column.former_keys,
    )
