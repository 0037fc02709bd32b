"""The table of wrapped branch keys: one row per key version."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import (
    Column,
    DateTime,
    Dialect,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
)
from sqlalchemy.types import TypeDecorator, TypeEngine

from encfields.databases import MYSQL_NAMES
from encfields.keys.versions import MAX_KEY_ID_CHARS

TABLE_NAME = "encfields_keys"


class ExactText(TypeDecorator[str]):
    """Text in which ``'A'``, ``'a'`` and ``'a '`` differ on every database.

    MariaDB and MySQL ignore case and trailing blanks unless a column's collation says otherwise;
    different key ids must never be equal.
    """

    impl = String
    cache_ok = True

    def __init__(self, length: int) -> None:
        super().__init__(length)
        self.length = length

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name not in MYSQL_NAMES:
            return dialect.type_descriptor(String(self.length))
        from sqlalchemy.dialects.mysql import VARCHAR

        is_mariadb = dialect.name == "mariadb" or getattr(dialect, "is_mariadb", False)
        collation = "utf8mb4_nopad_bin" if is_mariadb else "utf8mb4_0900_bin"
        return dialect.type_descriptor(VARCHAR(self.length, charset="utf8mb4", collation=collation))


class UtcDateTime(TypeDecorator[dt.datetime]):
    """An aware time in UTC, to the microsecond, on databases without time zones as well."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name in MYSQL_NAMES:
            from sqlalchemy.dialects.mysql import DATETIME

            return dialect.type_descriptor(DATETIME(fsp=6))
        return dialect.type_descriptor(DateTime(timezone=dialect.name == "postgresql"))

    def process_bind_param(self, value: dt.datetime | None, dialect: Dialect) -> dt.datetime | None:
        if value is None or dialect.name == "postgresql":
            return value
        return value.astimezone(dt.UTC).replace(tzinfo=None)

    def process_result_value(
        self, value: dt.datetime | None, dialect: Dialect
    ) -> dt.datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            return value.replace(tzinfo=dt.UTC)
        return value.astimezone(dt.UTC)


def key_table(name: str = TABLE_NAME, schema: str | None = None) -> Table:
    """The table of branch keys, declared in its own ``MetaData``, so that the application's
    ``create_all()`` and autogenerate do not include it.

    ``active`` is the number of a version in force, 1 for a key's first one, and NULL when it was
    retired or destroyed. The unique constraint prevents two processes from creating the same one;
    nothing else uses it, since only the number that the wrapped key is bound to is trusted
    (:mod:`encfields.keys.sql.rows`). One more row contains the key store's name
    (:mod:`encfields.keys.sql.store_name`).

    :param name: table name.
    :param schema: schema, or ``None`` for the connection's default.
    """
    table = Table(
        name,
        MetaData(),
        Column("key_id", ExactText(MAX_KEY_ID_CHARS), primary_key=True),
        Column("version", ExactText(36), primary_key=True),
        Column("purpose", ExactText(16), nullable=False),
        Column("wrapped", LargeBinary(), nullable=True),
        Column("active", Integer(), nullable=True),
        Column("created_at", UtcDateTime(), nullable=False),
        Column("destroyed_at", UtcDateTime(), nullable=True),
        schema=schema,
    )
    UniqueConstraint(table.c.key_id, table.c.purpose, table.c.active, name=f"uq_{name}_active")
    return table
