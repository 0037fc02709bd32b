"""asyncpg stores Python's first and last day as infinity; keys that are such days work."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from sqlalchemy import Column, Date, Integer, MetaData, Table, insert, select, text, update

from encfields import EncryptedType
from encfields.errors import ContextMismatchError
from tests.drivers.conftest import Leg

pytestmark = pytest.mark.parametrize("leg", ["postgresql-asyncpg"], indirect=True)
metadata = MetaData()
price = Table(
    "price",
    metadata,
    Column("until", Date, primary_key=True),
    Column("amount", EncryptedType(Integer)),
)
ORDINARY = dt.date(2026, 1, 31)


@pytest.fixture
def prices(leg: Leg) -> Leg:
    def make(connection: Any) -> None:
        metadata.drop_all(connection)
        metadata.create_all(connection)
        rows = [dt.date.min, ORDINARY, dt.date.max]
        connection.execute(insert(price), [{"until": day, "amount": 1} for day in rows])

    leg.run(make)
    return leg


def test_they_are_written_and_read(prices: Leg) -> None:
    last = price.c.until == dt.date.max
    prices.run(lambda c: c.execute(update(price).where(last).values(amount=2)))
    rows = prices.run(lambda c: c.execute(select(price).order_by(price.c.until)).all())
    assert [tuple(row) for row in rows] == [(dt.date.min, 1), (ORDINARY, 1), (dt.date.max, 2)]


@pytest.mark.parametrize("other", ["9999-12-31", "-infinity"])
def test_another_row_s_value_does_not_open_there(prices: Leg, other: str) -> None:
    move = f"UPDATE price SET until = '{other}' WHERE until = 'infinity'"
    prices.run(lambda c: c.execute(text("DELETE FROM price WHERE until = '-infinity'")))
    prices.run(lambda c: c.execute(text(move)))
    with pytest.raises(ContextMismatchError):
        prices.run(lambda c: c.execute(select(price.c.amount)).all())
