"""The kinds of values that a column may have: the inner type, and values to draw from.

A plain twin's column must answer as the database compares by value: text has a binary collation on
MariaDB and MySQL, floats are doubles, times have whole seconds.
"""

from __future__ import annotations

import datetime
import enum
import random
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.types import TypeEngine


class Colour(enum.Enum):
    """An enumeration whose names differ from its values."""

    RED = "red"
    BLUE = "blue"

    def __repr__(self) -> str:
        return f"Colour.{self.name}"


class Upper(sa.types.TypeDecorator[str]):
    """An application's own type over text: it stores upper case and gives lower case."""

    impl = sa.String(50)
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(text_type())

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        return None if value is None else value.upper()

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> str | None:
        return None if value is None else str(value).lower()


def text_type() -> TypeEngine[Any]:
    """Text that every database compares character by character."""
    mariadb = mysql.VARCHAR(50, charset="utf8mb4", collation="utf8mb4_nopad_bin")
    mysql_ = mysql.VARCHAR(50, charset="utf8mb4", collation="utf8mb4_0900_bin")
    return sa.String(50).with_variant(mariadb, "mariadb").with_variant(mysql_, "mysql")


def json_type() -> TypeEngine[Any]:
    """JSON that GROUP BY and DISTINCT take, as PostgreSQL's ``json`` is not taken."""
    binary = postgresql.JSONB(none_as_null=True)
    return sa.JSON(none_as_null=True).with_variant(binary, "postgresql")


@dataclass(frozen=True)
class Kind:
    """A kind of values.

    :ivar inner: makes the type. :ivar pool: values to draw from; few, so that some are equal.
    :ivar compares: whether a plain column of every database answers ``==``.
    """

    inner: Callable[[], TypeEngine[Any]]
    pool: tuple[Any, ...]
    compares: bool = True

    def draw(self, rng: random.Random) -> Any:
        """One of the values."""
        return rng.choice(self.pool)


_DAY = datetime.date(2024, 2, 29)
_NOON = datetime.datetime(2024, 2, 29, 12)
KINDS = {
    "text": Kind(text_type, ("", "a", "A", "ab", "é", "x y", "ß" * 40)),
    "clob": Kind(sa.Text, ("", "a", "b" * 3000), compares=False),
    "bytes": Kind(sa.LargeBinary, (b"", b"\0", b"\xff\xfe", b"abc"), compares=False),
    "integer": Kind(sa.Integer, (0, 1, -1, 2**31 - 1)),
    "big": Kind(sa.BigInteger, (0, 7, 2**63 - 1, -(2**63))),
    "float": Kind(lambda: sa.Float(53), (0.5, -2.25, 1e-7, 1.1e300)),
    "numeric": Kind(
        lambda: sa.Numeric(10, 2), (Decimal("0.00"), Decimal("1.50"), Decimal("-2.25"))
    ),
    "boolean": Kind(sa.Boolean, (True, False)),
    "date": Kind(sa.Date, (_DAY, datetime.date(1, 1, 1), datetime.date(9999, 12, 31))),
    "time": Kind(sa.Time, (datetime.time(0), datetime.time(13, 5, 7))),
    "datetime": Kind(sa.DateTime, (_NOON, datetime.datetime(1999, 12, 31, 23, 59, 59))),
    "interval": Kind(sa.Interval, (datetime.timedelta(0), datetime.timedelta(days=2, seconds=5))),
    "uuid": Kind(sa.Uuid, (UUID(int=1), UUID(int=2**127))),
    "enum": Kind(lambda: sa.Enum(Colour, native_enum=False), (Colour.RED, Colour.BLUE)),
    "json": Kind(
        json_type,
        ({}, {"a": [1, None]}, [], "text", 0, False),
        compares=False,
    ),
    "decorated": Kind(Upper, ("a", "b", "cd")),
}
