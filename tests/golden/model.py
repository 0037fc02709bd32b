"""The tables whose values are kept as golden values. Never change what is here: add to it."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Enum,
    Float,
    Integer,
    Interval,
    LargeBinary,
    MetaData,
    Numeric,
    String,
    Table,
    Text,
    Time,
    Uuid,
)

from encfields import EncryptedType


class Colour(enum.Enum):
    """An enumeration, stored by its members' names."""

    RED = 1
    GREEN = 2


metadata = MetaData()

values = Table(
    "golden_values",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("string", EncryptedType(String(40))),
    Column("text", EncryptedType(Text)),
    Column("binary", EncryptedType(LargeBinary)),
    Column("integer", EncryptedType(Integer)),
    Column("big_integer", EncryptedType(BigInteger)),
    Column("float", EncryptedType(Float)),
    Column("numeric", EncryptedType(Numeric(10, 2))),
    Column("boolean", EncryptedType(Boolean)),
    Column("date", EncryptedType(Date)),
    Column("time", EncryptedType(Time)),
    Column("datetime", EncryptedType(DateTime)),
    Column("datetime_tz", EncryptedType(DateTime(timezone=True))),
    Column("interval", EncryptedType(Interval)),
    Column("uuid", EncryptedType(Uuid)),
    Column("enum", EncryptedType(Enum(Colour))),
    Column("json", EncryptedType(JSON)),
    Column("array", EncryptedType(ARRAY(Integer))),
)

by_uuid = Table(
    "golden_by_uuid",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("secret", EncryptedType()),
)

by_text = Table(
    "golden_by_text",
    metadata,
    Column("code", String(60), primary_key=True),
    Column("secret", EncryptedType(name="pinned.secret")),
)

composite = Table(
    "golden_composite",
    metadata,
    Column("day", Date, primary_key=True),
    Column("blob", LargeBinary(20), primary_key=True),
    Column("tenant_id", Integer, nullable=False),
    Column("secret", EncryptedType(key="tenant/{tenant_id}")),
)

ROWS: dict[str, list[dict[str, Any]]] = {
    "golden_values": [
        {
            "id": 1,
            "string": "Grüße, 世界 🌍",
            "text": "",
            "binary": bytes(range(256)),
            "integer": -42,
            "big_integer": 2**63 - 1,
            "float": 0.1,
            "numeric": Decimal("1234.50"),
            "boolean": True,
            "date": dt.date(2024, 2, 29),
            "time": dt.time(13, 5, 0, 6),
            "datetime": dt.datetime(2024, 2, 29, 13, 5, 0, 6),
            "datetime_tz": dt.datetime(
                2024, 2, 29, 13, 5, tzinfo=dt.timezone(dt.timedelta(hours=2))
            ),
            "interval": dt.timedelta(days=1, hours=2, microseconds=3),
            "uuid": uuid.UUID("123e4567-e89b-12d3-a456-426614174000"),
            "enum": Colour.GREEN,
            "json": {"b": [1, None, "ü"], "a": {"x": 1.5}},
            "array": [1, None, 3],
        },
        {"id": -7, "string": "a longer text " * 2, "binary": b"", "integer": 0, "json": []},
    ],
    "golden_by_uuid": [
        {"id": uuid.UUID("00112233-4455-6677-8899-aabbccddeeff"), "secret": "by uuid"}
    ],
    "golden_by_text": [
        {"code": "it's: a «key» 🔑 ", "secret": "by text"},
        {"code": "", "secret": "by the empty text"},
    ],
    "golden_composite": [
        {"day": dt.date(1999, 12, 31), "blob": b"\x00:\xff", "tenant_id": 7, "secret": "seven"},
        {"day": dt.date(1999, 12, 31), "blob": b"", "tenant_id": 8, "secret": "eight"},
    ],
}
"""What each row holds for its application."""
