"""The database that the other SDKs read from and write to, and the cases made of it."""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Date,
    DateTime,
    Engine,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    String,
    Table,
    Text,
    Uuid,
    and_,
    insert,
    select,
)
from sqlalchemy.dialects import sqlite

from encfields import EncryptedType, Encryption
from encfields.interop import column_context, column_key

metadata = MetaData()

TYPES: dict[str, tuple[Any, Any, Any]] = {
    # name: type, the value that encfields writes, and the one that the other SDK writes
    "string": (String(40), "Zoë Ångström", "写入"),
    "text": (Text(), "", "x"),
    "binary": (LargeBinary(), b"\x00\xff\x02\x04\x78", b""),
    "integer": (Integer(), -42, 2**31 - 1),
    "numeric": (Numeric(10, 2), decimal.Decimal("12.50"), decimal.Decimal("-0.01")),
    "float": (Float(), 1.5, -1e300),
    "boolean": (Boolean(), True, False),
    "date": (Date(), dt.date(2024, 2, 29), dt.date(1, 1, 1)),
    "datetime": (DateTime(), dt.datetime(2024, 2, 29, 12, 30), dt.datetime(1999, 12, 31, 23, 59)),
    "uuid": (Uuid(), uuid.UUID(int=7), uuid.UUID(int=2**128 - 1)),
    "json": (JSON(), {"a": [1, None, "ü"]}, ["b"]),
}

every_type = Table(
    "every_type",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    *(Column(name, EncryptedType(inner)) for name, (inner, _, _) in TYPES.items()),
)
# Keys whose names a locale sorts otherwise than their bytes are sorted, and of which the last two
# would change places if they were sorted by UTF-16.
composite = Table(
    "composite",
    metadata,
    Column("org_id", String(40), primary_key=True),
    Column("org1_id", Integer, primary_key=True, autoincrement=False),
    Column("Zone", String(40), primary_key=True),
    Column("\uff21", Integer, primary_key=True, autoincrement=False),
    Column("\U0001f600", Integer, primary_key=True, autoincrement=False),
    Column("content", EncryptedType(Text, name="Ärzte.content")),
)
of_tenant = Table(
    "of_tenant",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("tenant", String(40), nullable=False),
    Column("content", EncryptedType(Text, key="Schlüssel für {tenant}")),
)
sizes = Table(
    "sizes",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("content", EncryptedType(LargeBinary)),
)

TENANTS = ("7", "b/c é")
KEYS = ("default", *(f"Schlüssel für {one}" for one in ("7", "b%2Fc%20%C3%A9")))
SIZES = (0, 1, 4095, 4096, 4097, 65536, 1_000_000)
COMPOSITE = [("Ωrg", 1, "a"), ("org", 2, "Ä b"), ("", 0, "")]


@dataclass(frozen=True)
class Place:
    """One encrypted value's place.

    :param column: the encrypted column.
    :param row: the columns that identify the row and choose the key, by name.
    :param value: what encfields wrote there. :param other: what the other SDK is to write.
    """

    column: Column[Any]
    row: Mapping[str, Any]
    value: Any
    other: Any

    @property
    def name(self) -> str:
        told = ",".join(str(part) for part in self.row.values())
        return f"{self.column.table.name}.{self.column.name}[{told}]"

    @property
    def context(self) -> dict[str, str]:
        return column_context(self.column, self.row)

    @property
    def key_id(self) -> str:
        return column_key(self.column)(self.context)

    def condition(self) -> Any:
        table = self.column.table
        return and_(*(column == self.row[column.name] for column in table.primary_key))

    def plaintext(self, value: Any) -> bytes:
        """The value's canonical bytes."""
        encoded: bytes = self.column.type.codec.encode(value, sqlite.dialect())  # type: ignore[attr-defined]
        return encoded

    def stored(self, engine: Engine) -> bytes:
        """The message in the database, read past this library."""
        with engine.connect() as connection:
            raw = _raw(self.column.table)
            found = select(raw.c[self.column.name]).where(*_where(raw, self))
            return bytes(connection.execute(found).scalar_one())

    def store(self, engine: Engine, message: bytes) -> None:
        """Put bytes there, past this library."""
        raw = _raw(self.column.table)
        with engine.begin() as connection:
            changed = raw.update().where(*_where(raw, self)).values({self.column.name: message})
            if connection.execute(changed).rowcount != 1:
                raise AssertionError(f"{self.name} is not one row")

    def read(self, engine: Engine) -> Any:
        """The value, as an application reads it."""
        with engine.connect() as connection:
            return connection.execute(select(self.column).where(self.condition())).scalar_one()


def _raw(table: Table) -> Table:
    """The table as whoever has no library sees it."""
    columns = [
        Column(one.name, LargeBinary() if isinstance(one.type, EncryptedType) else one.type)
        for one in table.c
    ]
    return Table(table.name, MetaData(), *columns)


def _where(raw: Table, place: Place) -> list[Any]:
    return [raw.c[one.name] == place.row[one.name] for one in place.column.table.primary_key]


def fill(engine: Engine, encryption: Encryption) -> list[Place]:
    """Make the tables and write every row, half of them before the keys are rotated.

    :returns: every value's place.
    """
    metadata.create_all(engine)
    for key_id in KEYS:
        encryption.keys.create(key_id)
    _write(engine, 1)
    for key_id in KEYS:
        encryption.keys.rotate(key_id)
    _write(engine, 2)
    return list(places())


def places() -> Iterator[Place]:
    """Every value's place, of both halves."""
    for half in (1, 2):
        for name, (_, value, other) in TYPES.items():
            yield Place(every_type.c[name], {"id": half}, value, other)
        for org, org1, zone in COMPOSITE:
            row = {"org_id": org, "org1_id": org1 * 10 + half, "Zone": zone}
            row |= {"\uff21": 1, "\U0001f600": 2}
            yield Place(composite.c.content, row, f"{org}/{zone}", zone + org)
        for number, tenant in enumerate(TENANTS):
            row = {"id": number * 10 + half, "tenant": tenant}
            yield Place(of_tenant.c.content, row, f"of {tenant}", f"for {tenant}")
    for size in SIZES:
        yield Place(sizes.c.content, {"id": size}, b"\xaa" * size, b"\x55" * size)


def _write(engine: Engine, half: int) -> None:
    with engine.begin() as connection:
        values = {name: value for name, (_, value, _) in TYPES.items()}
        connection.execute(insert(every_type), {"id": half, **values})
        for place in places():
            table = place.column.table
            ours = place.row.get("id", place.row.get("org1_id"))
            is_of_half = ours % 10 == half if table is not sizes else half == 2
            if table is not every_type and is_of_half:
                connection.execute(insert(table), {**place.row, place.column.name: place.value})
