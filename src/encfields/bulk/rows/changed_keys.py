"""What values are bound to, as the database has it: whether it changes that by itself.

A declaration that says so is refused. Here is found what a declaration leaves out, while the table
was made with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, MetaData, Table, inspect

from encfields.bulk.rows.catalog import computed_names, schema_of, updated_by_server
from encfields.key_template import KeyTemplate
from encfields.orm.declare.foreign_key_actions import moving_actions

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from encfields.bulk.rows.spec_base import TableSpecBase


def changes_of_keys(connection: Connection, spec: TableSpecBase) -> list[str]:
    """In words, each way in which the database changes by itself what a table's values are bound
    to, and what to do about it.

    :param connection: to the database that has the table.
    :param spec: the table, and how its columns are bound.
    :raises NoSuchTableError: the database has no such table.
    """
    schema = schema_of(spec.table, spec.schema, connection)
    key = inspect(connection).get_pk_constraint(spec.table, schema=schema)["constrained_columns"]
    changed = list(_changed_by_server(connection, spec.table, schema))
    found = {
        (name, how): column.name
        for column in spec.columns
        for name, how in changed
        if name in (*(column.bind_to or key), *KeyTemplate(column.key).columns)
    }
    return [
        f"the database changes {name} by itself, {how}, and leaves the values of {sealed} that are "
        "bound to it unreadable: remove that in a migration, and change the key through the ORM "
        "(relationship(passive_updates=False) takes the rows along), or bind the values to columns "
        "that do not change, with bind_to= and key="
        for (name, how), sealed in found.items()
    ]


def _changed_by_server(
    connection: Connection, table: str, schema: str | None
) -> Iterator[tuple[str, str]]:
    """Columns and how the database changes each."""
    inspector = inspect(connection)
    columns = inspector.get_columns(table, schema=schema)
    computed = computed_names(columns)
    for name in (column["name"] for column in columns if column["name"] in computed):
        yield name, "as it computes it from other columns"
    for key in inspector.get_foreign_keys(table, schema=schema):
        options: dict[str, Any] = key.get("options", {})
        for action in moving_actions(options.get("onupdate"), options.get("ondelete")):
            for name in key["constrained_columns"]:
                yield name, f"by {action} of a foreign key to {key['referred_table']}"
    named = (Column(column["name"], column["type"]) for column in columns)
    for stamped in updated_by_server(connection, Table(table, MetaData(), *named, schema=schema)):
        yield stamped.name, "by ON UPDATE CURRENT_TIMESTAMP"
