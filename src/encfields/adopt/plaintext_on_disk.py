"""Where plaintext is still to be found on disk, when an adoption is done."""

from __future__ import annotations

from encfields.adopt.adoption import Adoption
from encfields.databases import MYSQL_NAMES

_POSTGRESQL = (
    "the table's file: VACUUM FULL {table}; (or pg_repack, which locks less)",
    "statistics: they went with the column; ANALYZE {table}; VACUUM FULL pg_statistic; removes "
    "dead copies",
    "the write-ahead log: CHECKPOINT; SELECT pg_switch_wal(); archives of it expire",
    "replicas, base backups and dumps, and the server's log if it logs statements: they expire",
)
_MYSQL = (
    "the table's file: ALTER TABLE {table} FORCE;",
    "persistent statistics: ANALYZE TABLE {table} PERSISTENT FOR ALL; (MariaDB)",
    "redo log and undo tablespace: they are overwritten in time",
    "the binary log: PURGE BINARY LOGS BEFORE NOW(); when every replica has it; logs of queries",
    "replicas, backups and dumps: they expire",
)
_SQLITE = (
    "the database's file: VACUUM;",
    "its write-ahead log: PRAGMA wal_checkpoint(TRUNCATE);",
    "statistics of ANALYZE: ANALYZE {table};",
    "copies and backups of the file: they expire",
)


def what_remains(adoption: Adoption, dialect_name: str) -> tuple[str, ...]:
    """Where plaintext is still to be found, each with the command that removes it."""
    lines = {"postgresql": _POSTGRESQL, "sqlite": _SQLITE}.get(dialect_name, _MYSQL)
    assert dialect_name in {"postgresql", "sqlite", *MYSQL_NAMES}  # noqa: S101 - attach() sees to it
    return tuple(line.format(table=adoption.table_name) for line in lines)
