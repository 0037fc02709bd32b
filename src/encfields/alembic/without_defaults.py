"""Descriptions of encrypted columns as a migration has them: what is the default is left out."""

from __future__ import annotations

from sqlalchemy import Table

from encfields.bulk.rows.spec import SealedColumn, TableSpec
from encfields.key_template import KeyTemplate


def columns_without_defaults(table: Table) -> tuple[SealedColumn, ...]:
    """The encrypted columns of a declared table."""
    return tuple(without_defaults(table, column) for column in TableSpec.from_table(table).columns)


def without_defaults(table: Table, column: SealedColumn) -> SealedColumn:
    """A description without what is the default."""
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
