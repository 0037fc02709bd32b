"""Checks the database: its clock, and whether the encrypted columns can store messages."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.exc import NoSuchTableError, SQLAlchemyError
from sqlalchemy.types import TypeEngine

from encfields.bulk.failures import raises_no_drivers_errors
from encfields.bulk.rows.catalog import schema_of
from encfields.bulk.rows.spec import TableSpec
from encfields.databases import MYSQL_NAMES
from encfields.doctor import Finding
from encfields.errors import EncFieldsError
from encfields.orm.declare.column_rules import stores_bytes

_T = TypeVar("_T")

SLIGHT_SKEW = 5.0
"""Seconds of difference from which dates of keys and tombstones cannot be compared between
machines."""

FATAL_SKEW = 300.0
"""Seconds of difference from which AWS refuses signatures."""

SMALL = 1_024
"""Bytes of a column that leave little for the value, given an overhead of some 300."""

_NOW = {
    "postgresql": "SELECT clock_timestamp() AT TIME ZONE 'UTC'",
    "mysql": "SELECT UTC_TIMESTAMP(6)",
    "mariadb": "SELECT UTC_TIMESTAMP(6)",
}
_BLOBS = {"TINYBLOB": 255, "BLOB": 65_535, "MEDIUMBLOB": 16_777_215}


def check_clock(engine: Engine) -> Finding:
    """Compare this machine's clock with the database's."""
    question = _NOW.get(engine.dialect.name)
    if question is None:
        return Finding("clock", "skipped", f"{engine.dialect.name} uses this machine's clock")
    try:
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))  # to exclude the time to connect
            before = dt.datetime.now(dt.UTC)
            theirs: Any = connection.execute(text(question)).scalar_one()
            after = dt.datetime.now(dt.UTC)
    except SQLAlchemyError as error:
        return Finding("clock", "skipped", f"the database does not answer: {type(error).__name__}")
    ours = before + (after - before) / 2
    skew = abs((theirs.replace(tzinfo=dt.UTC) - ours).total_seconds())
    detail = f"differs from the database's by {skew:.1f} s"
    if skew > FATAL_SKEW:
        return Finding(
            "clock",
            "problem",
            f"{detail}; AWS refuses signatures that are off by five minutes or more",
        )
    return Finding("clock", "warning" if skew > SLIGHT_SKEW else "ok", detail)


def check_columns(engine: Engine, specs: Sequence[TableSpec]) -> list[Finding]:
    """Whether each encrypted column can store messages, and of what length."""
    findings = []
    for spec in specs:
        try:
            types = asked_of_table(engine, spec, _stored_types)
        except EncFieldsError as error:
            findings.append(Finding(f"table {spec.table}", "problem", error.message))
            continue
        if types is None:
            findings.append(Finding(f"table {spec.table}", "problem", "is not in the database"))
            continue
        findings += [
            _column(
                f"column {spec.table}.{column.name}", types.get(column.name), engine.dialect.name
            )
            for column in spec.columns
        ]
    return findings


@raises_no_drivers_errors
def asked_of_table(
    engine: Engine, spec: TableSpec, ask: Callable[[Connection, TableSpec], _T]
) -> _T | None:
    """What the database's catalog says of a table; ``None`` if there is no such table."""
    try:
        with engine.connect() as connection:
            return ask(connection, spec)
    except NoSuchTableError:
        return None


def _stored_types(connection: Connection, spec: TableSpec) -> dict[str, TypeEngine[Any]]:
    """The types of a table's columns in the database."""
    schema = schema_of(spec.table, spec.schema, connection)
    columns = inspect(connection).get_columns(spec.table, schema=schema)
    return {column["name"]: column["type"] for column in columns}


_NOT_THERE = (
    "is not in the table: migrate the database, or, if it adopts a plaintext column, run "
    "`encfields adopt begin`"
)


def _column(check: str, type_: TypeEngine[Any] | None, dialect: str) -> Finding:
    if type_ is None:
        return Finding(check, "problem", _NOT_THERE)
    kind = type(type_).__name__
    if not stores_bytes(type_):
        detail = f"is {kind}: messages are bytes, and text columns refuse or alter them"
        return Finding(check, "problem", detail)
    length = getattr(type_, "length", None)
    if length is None and dialect in MYSQL_NAMES:
        length = _BLOBS.get(kind.upper())
    if length is None:
        return Finding(check, "ok", f"{kind}, not bounded")
    detail = f"{kind} of {length:,} bytes; `encfields.sizes` says what a value takes"
    return Finding(check, "warning" if length <= SMALL else "ok", detail)
