"""The triggers of an adoption on a table from ``create_all()``, as a migration creates them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Table

from encfields.kept_state import REQUIRED
from encfields.orm.adoption.columns import adopted_columns, plaintext_type
from encfields.orm.adoption.plaintext import WRITE_SEALED, Plaintext, is_sqlalchemys
from encfields.orm.adoption.trigger_notes import OPEN, READY
from encfields.orm.adoption.triggers import AdoptionInDatabase, Triggers, WatchedColumn
from encfields.orm.declare.columns import ColumnBinding
from encfields.orm.declare.table_indexes import indexes_of

if TYPE_CHECKING:
    from sqlalchemy import Column, Connection
    from sqlalchemy.engine import Dialect


def create_triggers(table: Table, connection: Connection | None) -> None:
    """Create the triggers of every adoption of a new table.

    :param connection: ``None`` if a script is being written.
    """
    for binding, adopts, plain in adopted_columns(table) if connection is not None else ():
        assert connection is not None  # noqa: S101 - for mypy
        stage = READY if adopts.phase == WRITE_SEALED else OPEN
        adopted = declared_adoption(binding, adopts, plain, connection.dialect)
        adopted = adopted._replace(schema=connection.schema_for_object(table))
        for statement in Triggers(adopted, connection.dialect).create(stage):
            connection.exec_driver_sql(statement)


def drop_triggers(table: Table, connection: Connection | None) -> None:
    """Drop what a dropped table leaves behind: PostgreSQL's functions."""
    if connection is None or connection.dialect.name != "postgresql":
        return
    for binding, adopts, plain in adopted_columns(table):
        adopted = declared_adoption(binding, adopts, plain, connection.dialect)
        adopted = adopted._replace(schema=connection.schema_for_object(table))
        connection.exec_driver_sql(Triggers(adopted, connection.dialect).drop()[-1])


def declared_adoption(
    binding: ColumnBinding, adopts: Plaintext, plain: Column[Any], dialect: Dialect
) -> AdoptionInDatabase:
    """The adoption of a declared column, as it is to be in the database."""
    table, declared = binding.column.table, plaintext_type(binding.column, adopts)
    indexes = tuple(
        index.index_column.name for index in indexes_of(table) if binding in index.sources
    )
    beside = {column.name: column for column in binding.identity}
    beside |= {column.name: column for index in indexes_of(table) for column in index.key_columns}
    return AdoptionInDatabase(
        table.name,
        table.schema,
        WatchedColumn.of(plain.name, declared, dialect),
        binding.column_name,
        indexes,
        tuple(WatchedColumn.of(name, column.type, dialect) for name, column in beside.items()),
        tuple(column.name for column in table.primary_key),
        bool(plain.info.get(REQUIRED)),
        None if is_sqlalchemys(declared) else type(declared).__name__,
    )
