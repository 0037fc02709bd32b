"""The three tables of runs, which the first run creates in the application's database.

They have a ``MetaData`` of their own, so that the application's ``create_all()`` skips them.

Anybody with write access to the database can write to them. So what steers a run is sealed: its job
as a message, its progress by :class:`~encfields.bulk.runs.run_row.RunSeals`. The rest is for
people, or can at most delay a run.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Double,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    literal_column,
)
from sqlalchemy.dialects.mysql import LONGTEXT

from encfields.databases import MYSQL_NAMES
from encfields.keys.sql.schema import ExactText, UtcDateTime

RUNS = "encfields_runs"
RANGES = "encfields_ranges"
QUARANTINE = "encfields_quarantine"
TABLE_NAMES = frozenset({RUNS, RANGES, QUARANTINE})

MAX_TABLE_CHARS = 255

_Long = Text().with_variant(LONGTEXT(), "mysql", "mariadb")

metadata = MetaData()

runs = Table(
    RUNS,
    metadata,
    Column("id", ExactText(36), primary_key=True),
    Column("table_name", ExactText(MAX_TABLE_CHARS), nullable=False),
    Column("fingerprint", ExactText(64), nullable=False),
    Column("kind", ExactText(16)),
    Column("job", _Long, nullable=False),
    # 1 or NULL, never 0, so that the constraint below allows one active run per table.
    Column("active", SmallInteger),
    Column("state", ExactText(16), nullable=False),
    Column("paused", SmallInteger, nullable=False, default=0),
    Column("pass_number", Integer, nullable=False, default=0),
    Column("pass_begun", ExactText(40)),
    Column("begun_before", ExactText(40)),
    Column("carved", Integer, nullable=False, default=0),
    Column("frontier", _Long),
    Column("frontier_done", SmallInteger, nullable=False, default=0),
    Column("seal", ExactText(64)),
    Column("estimated_rows", BigInteger, nullable=False, default=0),
    Column("created_at", UtcDateTime(), nullable=False),
    Column("ended_at", UtcDateTime()),
    Column("error", _Long),
    UniqueConstraint("table_name", "active", name=f"uq_{RUNS}_active"),
)
"""One row per run. ``job`` is the sealed job in base64, and after the run's end the sealed end in
its place (:mod:`encfields.bulk.runs.sealed_job`). ``frontier`` is the key up to which this pass has
been cut into ranges; ``seal`` proves it."""

ranges = Table(
    RANGES,
    metadata,
    Column("run_id", ExactText(36), primary_key=True),
    Column("pass_number", Integer, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("lower_key", _Long),
    Column("upper_key", _Long),
    Column("position_key", _Long),
    Column("done", SmallInteger, nullable=False, default=0),
    Column("owner", String(128)),
    Column("lease_until", Double(), nullable=False, default=0),
    Column("claims", Integer, nullable=False, default=0),
    Column("rows_seen", BigInteger, nullable=False, default=0),
    Column("rows_written", BigInteger, nullable=False, default=0),
    Column("rows_current", BigInteger, nullable=False, default=0),
    Column("rows_missed", BigInteger, nullable=False, default=0),
    Column("values_refused", BigInteger, nullable=False, server_default="0"),
    Column("seal", ExactText(64)),
    Column("error", _Long),
)
"""One row per range of a pass. ``claims`` counts owners: a checkpoint with an older count changes
nothing, so a worker that lost its lease cannot write. ``seal`` proves bounds, position and counts;
a row without a matching one is ignored."""

quarantine = Table(
    QUARANTINE,
    metadata,
    Column("run_id", ExactText(36), primary_key=True),
    Column("key_hash", ExactText(64), primary_key=True),
    Column("column_name", ExactText(128), primary_key=True),
    Column("pass_number", Integer, nullable=False),
    Column("row_key", _Long, nullable=False),
    Column("reason", ExactText(64), nullable=False),
    Column("message", _Long, nullable=False),
    Column("found_at", UtcDateTime(), nullable=False),
)
"""One row per value that does not open."""


def database_now(dialect_name: str) -> ColumnElement[float]:
    """SQL for the database's clock in seconds since 1970, the one clock that all hosts share."""
    if dialect_name == "postgresql":
        sql = "EXTRACT(EPOCH FROM clock_timestamp())"
    elif dialect_name in MYSQL_NAMES:
        sql = "UNIX_TIMESTAMP(SYSDATE(6))"
    else:
        sql = "((julianday('now') - 2440587.5) * 86400.0)"
    return literal_column(sql, Double())
