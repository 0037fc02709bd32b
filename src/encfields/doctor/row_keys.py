"""What values are bound to, as the database has it: whether it changes that by itself.

A declaration that says so is refused. One that leaves it out, while the table was made with it, is
told here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Column, Connection, Engine, MetaData, Table, inspect
from sqlalchemy.exc import NoSuchTableError

from encfields.bulk.rows.catalog import schema_of, updated_by_server
from encfields.bulk.rows.spec import SealedColumn, TableSpec
from encfields.doctor import Finding
from encfields.key_template import KeyTemplate
from encfields.orm.declare.foreign_key_actions import moving_actions


def check_row_keys(engine: Engine, specs: Sequence[TableSpec]) -> list[Finding]:
    """What the database changes by itself of what the values of each table are bound to."""
    findings = []
    for spec in specs:
        try:
            with engine.connect() as connection:
                findings += list(_row_key(connection, spec))
        except NoSuchTableError:
            continue  # reported already
    return findings


def _row_key(connection: Connection, spec: TableSpec) -> Iterator[Finding]:
    schema = schema_of(spec.table, spec.schema, connection)
    key = inspect(connection).get_pk_constraint(spec.table, schema=schema)["constrained_columns"]
    changed = _changed_by_itself(connection, spec.table, schema)
    check = f"row key of {spec.full_name}"
    found = {
        (name, how): column.name
        for column in spec.columns
        for name in _bound_to(column, key)
        for how in changed.get(name, ())
    }
    if not found:
        yield Finding(check, "ok", "nothing that the database changes by itself")
    for (name, how), sealed in found.items():
        detail = (
            f"the database changes {name} by itself, {how}, and leaves the values of {sealed} that "
            "are bound to it unreadable: take that away with a migration, and change the key "
            "through the ORM (relationship(passive_updates=False) takes the rows along), or bind "
            "the values to columns that do not change, with bind_to= and key="
        )
        yield Finding(check, "problem", detail)


def _bound_to(column: SealedColumn, primary_key: Sequence[str]) -> list[str]:
    own = column.bind_to or primary_key
    return list(dict.fromkeys((*own, *KeyTemplate(column.key).columns)))


def _changed_by_itself(
    connection: Connection, table: str, schema: str | None
) -> dict[str, list[str]]:
    """By column: how the database changes it."""
    inspector = inspect(connection)
    columns = inspector.get_columns(table, schema=schema)
    changed: dict[str, list[str]] = {}
    for column in columns:
        if column.get("computed") is not None:
            changed.setdefault(column["name"], []).append("as it computes it from other columns")
    for key in inspector.get_foreign_keys(table, schema=schema):
        options: dict[str, Any] = key.get("options", {})
        for action in moving_actions(options.get("onupdate"), options.get("ondelete")):
            how = f"by {action} of a foreign key to {key['referred_table']}"
            for name in key["constrained_columns"]:
                changed.setdefault(name, []).append(how)
    named = (Column(column["name"], column["type"]) for column in columns)
    for stamped in updated_by_server(connection, Table(table, MetaData(), *named, schema=schema)):
        changed.setdefault(stamped.name, []).append("by ON UPDATE CURRENT_TIMESTAMP")
    return changed
