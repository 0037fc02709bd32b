"""The kinds of values that a column may have: the inner type, and values to draw from.

A plain twin's column must answer as the database compares by value: text has a binary collation on
MariaDB and MySQL, floats are doubles, times have whole seconds.
"""

from __future__ import annotations

import copy
import datetime
import enum
import random
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.types import TypeEngine

from encfields.index.transforms import Transform, casefold, digits, last, year


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


class Words(sa.types.TypeDecorator[tuple[str, ...]]):
    """Some words; none of them are NULL, and NULL is none of them."""

    impl = sa.String(50)
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(text_type())

    def process_bind_param(self, value: tuple[str, ...] | None, dialect: sa.Dialect) -> str | None:
        return ",".join(value) if value else None

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> tuple[str, ...]:
        return tuple(value.split(",")) if value else ()


class Stated(sa.types.TypeDecorator[str]):
    """A text that stands where nothing was said; it is never NULL."""

    impl = sa.String(50)
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(text_type())

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str:
        return "nothing" if value is None else value


def text_type() -> TypeEngine[Any]:
    """Text that every database compares character by character."""
    mariadb = mysql.VARCHAR(50, charset="utf8mb4", collation="utf8mb4_nopad_bin")
    mysql_ = mysql.VARCHAR(50, charset="utf8mb4", collation="utf8mb4_0900_bin")
    return sa.String(50).with_variant(mariadb, "mariadb").with_variant(mysql_, "mysql")


class Utc(sa.types.TypeDecorator[datetime.datetime]):
    """What an application does to keep moments in every database: as UTC, without an offset."""

    impl = sa.DateTime
    cache_ok = True

    def process_bind_param(
        self, value: datetime.datetime | None, dialect: sa.Dialect
    ) -> datetime.datetime | None:
        return None if value is None else value.astimezone(datetime.UTC).replace(tzinfo=None)

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> datetime.datetime | None:
        return None if value is None else value.replace(tzinfo=datetime.UTC)


class Guid(sa.types.TypeDecorator[UUID]):
    """A framework's own type of keys: bytes of a fixed length where the database has no UUID."""

    impl = sa.BINARY(16)
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> TypeEngine[Any]:
        own: TypeEngine[Any] = sa.BINARY(16)
        if dialect.name == "postgresql":
            own = postgresql.UUID(as_uuid=True)
        return dialect.type_descriptor(own)

    def process_bind_param(self, value: UUID | None, dialect: sa.Dialect) -> Any:
        return value if value is None or dialect.name == "postgresql" else value.bytes

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> UUID | None:
        return value if value is None or isinstance(value, UUID) else UUID(bytes=value)


def precise_type() -> TypeEngine[Any]:
    """Moments with fractions of a second in every database."""
    return sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")


def native_enum_type() -> TypeEngine[Any]:
    """The database's own enumeration, but for MySQL's and MariaDB's: of one that may not be NULL
    they store the first value where an INSERT has none."""
    native: TypeEngine[Any] = sa.Enum(Colour, name="colour")
    return native.with_variant(sa.Enum(Colour, native_enum=False), "mysql", "mariadb")


def list_type() -> TypeEngine[Any]:
    """A list where the database has lists; else JSON."""
    lists: TypeEngine[Any] = sa.ARRAY(sa.Integer)
    return lists.with_variant(sa.JSON(none_as_null=True), "sqlite", "mysql", "mariadb")


def json_type() -> TypeEngine[Any]:
    """JSON that GROUP BY and DISTINCT take, as PostgreSQL's ``json`` is not taken."""
    binary = postgresql.JSONB(none_as_null=True)
    return sa.JSON(none_as_null=True).with_variant(binary, "postgresql")


def json_null_type() -> TypeEngine[Any]:
    """JSON whose ``None`` is JSON's null, a value."""
    return sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


@dataclass(frozen=True)
class Kind:
    """A kind of values.

    :ivar inner: makes the type. :ivar pool: values to draw from; few, so that some are equal.
    :ivar compares: whether a plain column of every database answers ``==``.
    :ivar asked: what is looked up and is never there.
    :ivar plain: makes the plain twin's type, where that is another one.
    :ivar mutable: whether a change inside a value is noticed.
    """

    inner: Callable[[], TypeEngine[Any]]
    pool: tuple[Any, ...]
    compares: bool = True
    asked: tuple[Any, ...] = ()
    plain: Callable[[], TypeEngine[Any]] | None = None
    mutable: bool = False

    def draw(self, rng: random.Random) -> Any:
        """One of the values."""
        return copy.deepcopy(rng.choice(self.pool))

    def draw_asked(self, rng: random.Random) -> Any:
        """A value to look for."""
        return rng.choice(self.pool + self.asked)

    def type(self, *, encrypted: bool) -> Any:
        """The type of a twin's column; of the encrypted one what is to be encrypted."""
        return self.plain() if self.plain is not None and not encrypted else self.inner()


_DAY = datetime.date(2024, 2, 29)
_NOON = datetime.datetime(2024, 2, 29, 12)
_EAST = datetime.timezone(datetime.timedelta(hours=2))
KINDS = {
    "text": Kind(
        text_type,
        ("", "a", "A", "ab", "é", "x y", "12-34 5678", "0005678", "ß" * 40),
        asked=("a ", "e\u0301", "5678"),
    ),
    "clob": Kind(sa.Text, ("", "a", "b" * 3000), compares=False),
    "bytes": Kind(sa.LargeBinary, (b"", b"\0", b"\xff\xfe", b"abc"), compares=False),
    "integer": Kind(sa.Integer, (0, 1, -1, 2**31 - 1)),
    "small": Kind(sa.SmallInteger, (0, 1, -(2**15))),
    "double": Kind(sa.Double, (0.1, 2.5, -1e-300)),
    "money": Kind(lambda: sa.Numeric(10, 2, asdecimal=False), (0.5, 1.5, -2.25)),
    "big": Kind(sa.BigInteger, (0, 7, 2**63 - 1, -(2**63))),
    "float": Kind(lambda: sa.Float(53), (0.5, -2.25, 1e-7, 1.1e300)),
    "numeric": Kind(
        lambda: sa.Numeric(10, 2),
        (Decimal("0.00"), Decimal("1.50"), Decimal("1.5"), Decimal("-2.25")),
        asked=(Decimal("1.25"),),
    ),
    "boolean": Kind(sa.Boolean, (True, False)),
    "date": Kind(sa.Date, (_DAY, datetime.date(1, 1, 1), datetime.date(9999, 12, 31))),
    "time": Kind(sa.Time, (datetime.time(0), datetime.time(13, 5, 7))),
    "datetime": Kind(sa.DateTime, (_NOON, datetime.datetime(1999, 12, 31, 23, 59, 59))),
    "precise": Kind(
        precise_type,
        (_NOON, _NOON.replace(microsecond=120000), _NOON.replace(microsecond=1)),
    ),
    "interval": Kind(sa.Interval, (datetime.timedelta(0), datetime.timedelta(days=2, seconds=5))),
    "uuid": Kind(sa.Uuid, (UUID(int=1), UUID(int=2**127))),
    "enum": Kind(lambda: sa.Enum(Colour, native_enum=False), (Colour.RED, Colour.BLUE)),
    "native enum": Kind(
        lambda: sa.Enum(Colour, name="colour"), (Colour.RED, Colour.BLUE), plain=native_enum_type
    ),
    "words of a list": Kind(lambda: sa.Enum("a", "b c", native_enum=False), ("a", "b c")),
    "json": Kind(
        json_type,
        ({}, {"a": [1, None]}, [], "text", 0, False),
        compares=False,
    ),
    "json null": Kind(json_null_type, ({}, None, [None]), compares=False),
    "mutable": Kind(json_type, ({}, {"a": 1}), compares=False, mutable=True),
    "list": Kind(lambda: sa.ARRAY(sa.Integer), ([], [1, 2]), compares=False, plain=list_type),
    "moment": Kind(
        lambda: sa.DateTime(timezone=True),
        (_NOON.replace(tzinfo=datetime.UTC), _NOON.replace(tzinfo=_EAST)),
        asked=(_NOON.replace(hour=10, tzinfo=datetime.UTC),),
        plain=Utc,
    ),
    "decorated": Kind(Upper, ("a", "b", "cd")),
    "words": Kind(Words, ((), ("a",), ("a", "b"))),
    "stated": Kind(Stated, ("a", "nothing")),
}


OF_APPLICATIONS = ("decorated", "words", "stated")
"""Kinds of which only the application's own type knows how it converts."""

NONE_IS_VALUE = ("json null", "stated")
"""Kinds to which ``None`` is a value, and not NULL."""


def transformed(name: str) -> tuple[Transform, Callable[[Any], Any]]:
    """A transform, and what it is said to do."""
    return {
        "casefold": (casefold, lambda v: unicodedata.normalize("NFC", v).casefold()),
        "digits": (digits, lambda v: "".join(c for c in v if c.isdigit())),
        "last": (last(4), lambda v: unicodedata.normalize("NFC", v)[-4:]),
        "last digits": (digits.then(last(4)), lambda v: "".join(c for c in v if c.isdigit())[-4:]),
        "year": (year, lambda v: v.year),
    }[name]
