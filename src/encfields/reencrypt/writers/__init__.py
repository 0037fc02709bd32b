"""Writing a batch: one way per database, and one for every other."""

from __future__ import annotations

from encfields.binding.row_keys import MYSQL_NAMES
from encfields.reencrypt.job import PreparedJob
from encfields.reencrypt.writers.base import Writer
from encfields.reencrypt.writers.mysql import MysqlWriter
from encfields.reencrypt.writers.portable import PortableWriter
from encfields.reencrypt.writers.postgresql import PostgresqlWriter
from encfields.reencrypt.writers.sqlite import SqliteWriter

__all__ = ["Writer", "writer_for"]


def writer_for(prepared: PreparedJob) -> Writer:
    """The writer for the job's database and driver."""
    name, driver = prepared.dialect.name, prepared.dialect.driver
    if prepared.plain:
        # Plaintext goes through its column's own type.
        return PortableWriter(prepared)
    if name == "postgresql" and driver == "psycopg":
        return PostgresqlWriter(prepared)
    if name in MYSQL_NAMES and driver in ("pymysql", "mysqldb"):
        return MysqlWriter(prepared)
    if name == "sqlite":
        return SqliteWriter(prepared)
    return PortableWriter(prepared)
