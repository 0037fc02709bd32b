"""Where an adoption's table is: catalogs know nothing of what the schema of a statement becomes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sqlalchemy import text

from encfields.adopt.adoption import Adoption
from encfields.bulk.connections import Connections, sync_engine
from encfields.bulk.rows.catalog import schema_of

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine


def placed(engine: Engine, adoption: Adoption) -> Adoption:
    """The adoption, in the schema where the engine's statements find its table: one that its
    ``schema_translate_map`` gives, or that stands behind the first in PostgreSQL's search path.

    :param engine: of the table's database.
    """
    own = Connections(sync_engine(engine))
    try:
        schema = _schema(own.reading(), adoption)
    finally:
        own.close()
    spec = adoption.spec
    if schema == spec.schema:
        return adoption
    return replace(adoption, spec=replace(spec, schema=schema))


def _schema(connection: Connection, adoption: Adoption) -> str | None:
    spec = adoption.spec
    schema = schema_of(spec.table, spec.schema, connection)
    if schema is not None or connection.dialect.name != "postgresql":
        return schema
    quoted = '"' + spec.table.replace('"', '""') + '"'
    found: str | None = connection.execute(_BEHIND_THE_FIRST, {"table": quoted}).scalar()
    return found


_BEHIND_THE_FIRST = text(
    "SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
    "WHERE c.oid = to_regclass(CAST(:table AS text)) "
    "AND n.nspname IS DISTINCT FROM current_schema()"
)
