"""A value of every inner type comes back as it was given, through the ORM and through Core."""

from __future__ import annotations

import datetime as dt
import enum
import math
import uuid
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Double,
    Engine,
    Enum,
    Float,
    Integer,
    Interval,
    LargeBinary,
    MetaData,
    Numeric,
    SmallInteger,
    String,
    Table,
    Text,
    Time,
    TypeDecorator,
    Unicode,
    Uuid,
    insert,
    null,
    select,
    update,
)
from sqlalchemy.orm import Session, registry

from encfields import EncryptedType, Encryption
from tests.database import raw_select


class Ward(enum.Enum):
    SURGERY = "s"
    MATERNITY = "m"


class Initials(TypeDecorator[tuple[str, str]]):
    """A user's own type: a pair of letters in Python, a string underneath."""

    impl = String(8)
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return None if value is None else f"{value[0]}.{value[1]}."

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        return None if value is None else (value[0], value[2])


UTC = dt.UTC
INDIA = dt.timezone(dt.timedelta(hours=5, minutes=30))

CASES: list[tuple[Any, list[Any]]] = [
    (String(), ["", "Ada", "naïve \N{GRINNING FACE}", " blanks ", "nul\0nul", "e\u0301"]),
    (String(), ["a'b\"c%:;\\", "%(value)s", ":value", "?", "NULL"]),
    (String(3), ["\N{GRINNING FACE}" * 3]),
    (Text(), ["x" * 100_000]),
    (Unicode(5), ["Žižek"]),
    (LargeBinary(), [b"", b"\0", bytes(range(256)), b"x" * 100_000]),
    (SmallInteger(), [0, -(2**15)]),
    (Integer(), [0, 1, -1, 2**31 - 1]),
    (BigInteger(), [2**63 - 1, -(2**63)]),
    (Float(), [0.0, 0.1, -1e300, 5e-324, math.inf, -math.inf]),
    (Double(), [1 / 3]),
    (Numeric(10, 2), [Decimal("0.00"), Decimal("-12345678.90"), Decimal("1.50")]),
    (Numeric(), [Decimal("3.14159265358979323846"), Decimal("1E+3")]),
    (Numeric(10, 2, asdecimal=False), [1.5]),
    (Boolean(), [True, False]),
    (Date(), [dt.date(1, 1, 1), dt.date(2024, 2, 29), dt.date(9999, 12, 31)]),
    (Time(), [dt.time(0), dt.time(23, 59, 59, 999_999), dt.time(12, tzinfo=INDIA)]),
    (DateTime(), [dt.datetime(2024, 2, 29, 13, 5), dt.datetime(1, 1, 1, 0, 0, 0, 1)]),
    (
        DateTime(timezone=True),
        [dt.datetime(2024, 2, 29, 13, 5, tzinfo=UTC), dt.datetime(2024, 1, 1, 0, 30, tzinfo=INDIA)],
    ),
    (Interval(), [dt.timedelta(0), dt.timedelta(-1, 1, 1), dt.timedelta(999_999_999)]),
    (Uuid(), [uuid.UUID(int=0), uuid.UUID("123e4567-e89b-12d3-a456-426614174000")]),
    (Uuid(as_uuid=False), ["123e4567-e89b-12d3-a456-426614174000"]),
    (Enum(Ward), [Ward.SURGERY, Ward.MATERNITY]),
    (Enum("red", "blue"), ["red"]),
    (JSON(), [{}, [], {"a": [1, 2.5, None, True, "ß"]}, "text", 0, False]),
    (ARRAY(Integer), [[], [1, None, 3]]),
    (ARRAY(String, dimensions=2), [[["a", "b"], ["c", ""]]]),
    (ARRAY(DateTime), [[dt.datetime(2024, 2, 29, 13, 5)]]),
    (Initials(), [("A", "L")]),
]  # fmt: skip

each_type = pytest.mark.parametrize(
    "inner, values",
    CASES,
    ids=[f"{type(inner).__name__}-{n}" for n, (inner, _) in enumerate(CASES)],
)


def _table(inner: Any) -> Table:
    return Table(
        "vault",
        MetaData(),
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("value", EncryptedType(inner)),
    )


def _same(got: list[Any], expected: list[Any]) -> None:
    """Equal, of the same type, and with the same zone and scale."""
    assert got == expected
    for one, other in zip(got, expected, strict=True):
        assert type(one) is type(other)
        assert getattr(one, "tzinfo", None) == getattr(other, "tzinfo", None)
        if isinstance(one, dt.datetime | dt.time):
            assert one.utcoffset() == other.utcoffset()


@each_type
def test_core(engine: Engine, encryption: Encryption, inner: Any, values: list[Any]) -> None:
    table = _table(inner)
    table.metadata.create_all(engine)
    query = select(table.c.value).order_by(table.c.id)
    with engine.begin() as connection:
        connection.execute(
            insert(table), [{"id": n, "value": value} for n, value in enumerate(values)]
        )
        _same(list(connection.scalars(query)), values)
        stored = [row.value for row in connection.execute(raw_select(table))]
        assert all(isinstance(cell, bytes) and cell[:3] == b"\x02\x04\x78" for cell in stored)
        connection.execute(update(table).where(table.c.id == 0).values(value=values[-1]))
        _same([connection.scalar(query.where(table.c.id == 0))], [values[-1]])
        connection.execute(update(table).where(table.c.id == 0).values(value=null()))
        connection.execute(insert(table), {"id": 99, "value": null()})
        nulls = select(table.c.id).where(table.c.value.is_(None)).order_by(table.c.id)
        assert connection.scalars(nulls).all() == [0, 99]
        assert connection.execute(select(table).where(table.c.id == 99)).one().value is None


@each_type
def test_orm(engine: Engine, encryption: Encryption, inner: Any, values: list[Any]) -> None:
    mapping = registry()
    vault: Any = type("Vault", (), {"__table__": _table(inner)})
    mapping.mapped(vault)
    vault.__table__.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all(vault(id=n, value=value) for n, value in enumerate(values))
        session.commit()
        _same(list(session.scalars(select(vault.value).order_by(vault.id))), values)
        objects = session.scalars(select(vault).order_by(vault.id)).all()
        _same([one.value for one in objects], values)
        objects[0].value = None
        session.commit()
        assert objects[0].value is None
    mapping.dispose()


# -- what a type does beside equality ----------------------------------------------------------


def test_nan_is_a_float(engine: Engine, encryption: Encryption) -> None:
    table = _table(Float())
    table.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(insert(table), {"id": 1, "value": math.nan})
        assert math.isnan(connection.execute(select(table.c.value)).scalar_one() or 0)


@pytest.mark.parametrize(
    "given, kept", [("1", "1.00"), ("1.005", "1.01"), ("-0.005", "-0.01"), ("1E+2", "100.00")]
)
def test_a_numeric_keeps_its_scale(
    engine: Engine, encryption: Encryption, given: str, kept: str
) -> None:
    table = _table(Numeric(10, 2))
    table.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(insert(table), {"id": 1, "value": Decimal(given)})
        assert str(connection.scalar(select(table.c.value))) == kept


def test_a_naive_datetime_stays_naive_and_an_aware_one_keeps_its_offset(
    engine: Engine, encryption: Encryption
) -> None:
    table = _table(DateTime(timezone=True))
    table.metadata.create_all(engine)
    values = [dt.datetime(2024, 3, 31, 2, 30), dt.datetime(2024, 3, 31, 2, 30, tzinfo=INDIA)]
    with engine.begin() as connection:
        connection.execute(insert(table), [{"id": n, "value": v} for n, v in enumerate(values)])
        got = connection.scalars(select(table.c.value).order_by(table.c.id)).all()
    assert [one.utcoffset() for one in got] == [None, dt.timedelta(hours=5, minutes=30)]


def test_json_none_is_null_where_declared_so(engine: Engine, encryption: Encryption) -> None:
    table = _table(JSON(none_as_null=True))
    table.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(insert(table), [{"id": 1, "value": None}])
        connection.execute(insert(table), [{"id": 2, "value": JSON.NULL}])
        assert connection.scalars(select(table.c.id).where(table.c.value.is_(None))).all() == [1]
        assert connection.scalars(select(table.c.value).order_by(table.c.id)).all() == [None, None]


def test_a_dataclass_mapped_imperatively(engine: Engine, encryption: Encryption) -> None:
    class Vault:
        def __init__(self, id: int, value: str) -> None:
            self.id, self.value = id, value

    mapping = registry()
    mapping.map_imperatively(Vault, table := _table(String()))
    table.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(Vault(1, "Ada"))
        session.commit()
        assert session.get_one(Vault, 1).value == "Ada"
    mapping.dispose()
