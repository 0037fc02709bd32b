"""Writers store a batch: one per database, and a portable one.

================  ===============================================
``base``          the interface, and what writers share
``postgresql``    one statement locks, compares and swaps a batch
``binary_array``  PostgreSQL's array parameters
``mysql``         MariaDB and MySQL: lock, then swap
``sqlite``        ``executemany``
``portable``      any other database, driver or column type
``verified``      wraps a writer to check what was stored
================  ===============================================
"""

from __future__ import annotations

from encfields.bulk.rows.job import ADOPT
from encfields.bulk.rows.prepared_job import PreparedJob
from encfields.bulk.writers.base import Writer
from encfields.bulk.writers.mysql import MysqlWriter
from encfields.bulk.writers.portable import PortableWriter
from encfields.bulk.writers.postgresql import PostgresqlWriter
from encfields.bulk.writers.sqlite import SqliteWriter
from encfields.bulk.writers.verified import VerifiedWriter
from encfields.databases import MYSQL_NAMES

__all__ = ["Writer", "unverified_writer_for", "writer_for"]


def writer_for(prepared: PreparedJob) -> Writer:
    """The writer for the job's database and driver."""
    return VerifiedWriter(unverified_writer_for(prepared), prepared)


def unverified_writer_for(prepared: PreparedJob) -> Writer:
    """The same writer, without the check of what was stored."""
    name, driver = prepared.dialect.name, prepared.dialect.driver
    if prepared.plain and prepared.job.kind != ADOPT:
        # Plaintext columns need their own types.
        return PortableWriter(prepared)
    if name == "postgresql" and driver == "psycopg":
        return PostgresqlWriter(prepared)
    if name in MYSQL_NAMES and driver in ("pymysql", "mysqldb"):
        return MysqlWriter(prepared)
    if name == "sqlite":
        return SqliteWriter(prepared)
    return PortableWriter(prepared)
