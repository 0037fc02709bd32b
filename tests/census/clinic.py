"""A table with encrypted columns, written through the library and then tampered with in SQL."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    Column,
    Engine,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    bindparam,
    insert,
    text,
)

from encfields import EncryptedType
from encfields.bulk.rows.spec import TableSpec

SECRET = "very-secret-diagnosis"


def patient_table(**options: Any) -> Table:
    """A declared table: integer key, two encrypted columns.

    :param options: for the ``EncryptedType`` of the column ``ssn``.
    """
    return Table(
        "patient",
        MetaData(),
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("name", String(40)),
        Column("ssn", EncryptedType(String, **options)),
        Column("notes", EncryptedType(Text)),
    )


def fill(engine: Engine, table: Table, ids: range, *, value: str = SECRET) -> None:
    """Rows with both values; every tenth has no notes."""
    rows = [
        {"id": i, "name": f"n{i}", "ssn": f"{value} {i}", "notes": None if i % 10 == 0 else value}
        for i in ids
    ]
    with engine.begin() as connection:
        connection.execute(insert(table), rows)


def stored(engine: Engine, row_id: int, column: str = "ssn") -> bytes:
    """The stored bytes of one value."""
    with engine.connect() as connection:
        return bytes(
            connection.execute(
                text(f"SELECT {column} FROM patient WHERE id = :id"), {"id": row_id}
            ).scalar_one()
        )


def overwrite(engine: Engine, row_id: int, value: bytes, column: str = "ssn") -> None:
    """Put bytes where a value was, as someone with access to the database would."""
    statement = text(f"UPDATE patient SET {column} = :value WHERE id = :id").bindparams(
        bindparam("value", type_=LargeBinary)
    )
    with engine.begin() as connection:
        connection.execute(statement, {"value": value, "id": row_id})


def spec_of(table: Table) -> TableSpec:
    return TableSpec.from_table(table)
