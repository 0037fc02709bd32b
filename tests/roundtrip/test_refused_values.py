"""A value that has no encoding is refused by name, and nothing is stored half."""

from __future__ import annotations

import datetime as dt
import enum
import math
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import (
    ARRAY,
    JSON,
    Boolean,
    Column,
    Date,
    DateTime,
    Engine,
    Enum,
    Float,
    FromClause,
    Integer,
    Interval,
    LargeBinary,
    MetaData,
    Numeric,
    String,
    Table,
    Time,
    Uuid,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from encfields import EncryptedType, Encryption
from encfields.errors import ValueEncodingError
from tests.turns import databases_by_turns

pytestmark = databases_by_turns


class Ward(enum.Enum):
    SURGERY = 1


SELF: list[Any] = []
SELF.append(SELF)

CASES: list[tuple[Any, Any, Any]] = [
    (String(), "ok", 5),
    (String(), "ok", b"bytes"),
    (String(), "ok", "lone \ud800 surrogate"),
    (String(2), "ok", "too long"),
    (LargeBinary(), b"ok", "text"),
    (LargeBinary(2), b"ok", b"too long"),
    (Integer(), 1, "1"),
    (Integer(), 1, 1.5),
    (Integer(), 1, 2**64),
    (Float(), 1.0, "1.0"),
    (Numeric(6, 2), Decimal(1), "1"),
    (Numeric(6, 2), Decimal(1), Decimal("NaN")),
    (Numeric(6, 2), Decimal(1), Decimal("Infinity")),
    (Numeric(6, 2), Decimal(1), Decimal("12345.00")),
    (Boolean(), True, "yes"),
    (Date(), dt.date(2024, 1, 1), "2024-01-01"),
    (DateTime(), dt.datetime(2024, 1, 1), "2024-01-01 00:00:00"),
    (Time(), dt.time(1), "01:00"),
    (Interval(), dt.timedelta(1), 86400),
    (Uuid(), uuid.UUID(int=1), "no uuid"),
    (Enum(Ward), Ward.SURGERY, "NOWHERE"),
    (JSON(), {}, {"a": {1, 2}}),
    (JSON(), {}, {"a": math.nan}),
    (JSON(), {}, {"a": "\udfff"}),
    (JSON(), {}, SELF),
    (ARRAY(Integer), [1], ["1"]),
    (ARRAY(Integer), [1], 1),
]

each_case = pytest.mark.parametrize(
    "inner, good, bad",
    CASES,
    ids=[f"{type(inner).__name__}-{type(bad).__name__}-{n}" for n, (inner, _, bad) in
         enumerate(CASES)],
)  # fmt: skip


@pytest.fixture
def vault(engine: Engine, encryption: Encryption) -> Callable[[Any], Table]:
    def make(inner: Any) -> Table:
        table = Table(
            "vault",
            MetaData(),
            Column("id", Integer, primary_key=True, autoincrement=False),
            Column("value", EncryptedType(inner)),
        )
        table.metadata.create_all(engine)
        return table

    return make


def _count(engine: Engine, table: FromClause) -> int:
    with engine.connect() as connection:
        return connection.scalar(select(func.count()).select_from(table)) or 0


def _placed(error: ValueEncodingError, row: str) -> None:
    assert (error.table, error.column, error.row) == ("vault", "value", {"id": row})
    assert error.reason
    assert str(error).startswith(f"vault.value, row id={row}: ")


@each_case
def test_nothing_is_stored_of_the_one_row_or_of_the_many(
    engine: Engine, vault: Callable[[Any], Table], inner: Any, good: Any, bad: Any
) -> None:
    table = vault(inner)
    with pytest.raises(ValueEncodingError) as caught, engine.begin() as connection:
        connection.execute(insert(table), {"id": 1, "value": bad})
    _placed(caught.value, "1")
    rows = [{"id": 1, "value": good}, {"id": 2, "value": bad}, {"id": 3, "value": good}]
    with engine.connect() as connection:
        with pytest.raises(ValueEncodingError) as caught:
            connection.execute(insert(table), rows)
        # Not even the rows before it went out, so a commit has nothing to keep.
        connection.commit()
    _placed(caught.value, "2")
    assert _count(engine, table) == 0


def test_an_update_leaves_the_old_value(engine: Engine, vault: Callable[[Any], Table]) -> None:
    table = vault(String())
    with engine.begin() as connection:
        connection.execute(insert(table), {"id": 1, "value": "old"})
    with engine.connect() as connection:
        with pytest.raises(ValueEncodingError) as caught:
            connection.execute(update(table).where(table.c.id == 1).values(value=5))
        connection.commit()
        assert connection.scalar(select(table.c.value)) == "old"
    _placed(caught.value, "1")


class Base(DeclarativeBase):
    pass


class Parent(Base):
    __tablename__ = "parent"
    id: Mapped[int] = mapped_column(primary_key=True)


class Child(Base):
    __tablename__ = "child"
    id: Mapped[int] = mapped_column(primary_key=True)
    age: Mapped[Any] = mapped_column(EncryptedType(Integer))


@pytest.mark.parametrize("explicit", [True, False], ids=["own-key", "generated-key"])
def test_a_flush_is_rolled_back_whole(
    engine: Engine, encryption: Encryption, explicit: bool
) -> None:
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(Parent())
        session.add_all(
            Child(age=age, **({"id": n} if explicit else {}))
            for n, age in enumerate([30, 40, "fifty"], start=1)
        )
        with pytest.raises(ValueEncodingError) as caught:
            session.commit()
        assert (caught.value.table, caught.value.column) == ("child", "age")
        session.rollback()
        session.add(Child(age=60))
        session.commit()
    assert _count(engine, Parent.__table__) == 0
    assert _count(engine, Child.__table__) == 1
