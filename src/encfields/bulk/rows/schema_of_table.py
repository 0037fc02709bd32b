"""The schema in which a connection finds a table, by its ``schema_translate_map``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import MetaData, Table

if TYPE_CHECKING:
    from sqlalchemy import Connection


def schema_of(table: str, schema: str | None, connection: Connection) -> str | None:
    """The translated schema, for questions that SQLAlchemy passes on to the database as they are.

    :param schema: as it is declared; ``None`` for the connection's own.
    """
    # Of a Table only: table() is never translated.
    return connection.schema_for_object(Table(table, MetaData(), schema=schema))
