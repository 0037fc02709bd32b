"""Columns that hold blind indexes made under one version of a beacon key."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from sqlalchemy import Connection, MetaData, Table, inspect

from encfields.alembic.autogenerate.sampled import holds_bytes
from encfields.alembic.index_column import conventional_version, is_conventional
from encfields.key_template import KeyTemplate
from encfields.orm.declare.blind_index import IndexBinding, indexes_of

Declared = MetaData | Sequence[MetaData] | None
"""Alembic's ``target_metadata``."""


def columns_under(
    connection: Connection, declared: Declared, key_id: str, version: int
) -> set[str]:
    """Columns in the database, and declared ones, that need a version of a key's beacon key.

    What is in the database and declared nowhere is known by its name, which never changes.

    :param connection: its schema is looked at, and those that are declared.
    :returns: ``"table.column"``, with the schema where there is one.
    """
    indexes = list(_indexes(declared))
    ours = {_name(i) for i in indexes if i.version == version and may_be_for(i.key, key_id)}
    others = {_name(index) for index in indexes} - ours
    schemas = {None, *(index.companion.table.schema for index in indexes)}
    there = {name for schema in schemas for name in _named_so(connection, schema, version)}
    return ours | (there - others)


def may_be_for(template: KeyTemplate, key_id: str) -> bool:
    """Whether a template gives, for some row, this key id."""
    if not template.columns:
        return template.template == key_id
    parts = re.split(r"(\{[^{}]*\})", template.template)
    pattern = "".join("(?s:.*)" if part.startswith("{") else re.escape(part) for part in parts)
    return re.fullmatch(pattern, key_id) is not None


def _indexes(declared: Declared) -> Iterator[IndexBinding]:
    for metadata in _all(declared):
        for table in metadata.tables.values():
            yield from indexes_of(table)


def _all(declared: Declared) -> Sequence[MetaData]:
    if declared is None:
        return ()
    return (declared,) if isinstance(declared, MetaData) else declared


def _name(index: IndexBinding) -> str:
    table: Table = index.companion.table
    return f"{table.fullname}.{index.companion.name}"


def _named_so(connection: Connection, schema: str | None, version: int) -> Iterator[str]:
    found = inspect(connection).get_multi_columns(schema=schema)
    for (schema_name, table_name), columns in found.items():
        place = f"{schema_name}.{table_name}" if schema_name else table_name
        for column in columns:
            name = column["name"]
            if (
                is_conventional(name)
                and conventional_version(name) == version
                and holds_bytes(column["type"])
            ):
                yield f"{place}.{name}"
