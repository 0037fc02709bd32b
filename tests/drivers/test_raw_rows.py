"""Rows of raw SQL through each driver: a key opens a value only if it tells what is stored."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from sqlalchemy import Column, Date, Integer, MetaData, Table, insert, text
from sqlalchemy.exc import DataError

from encfields import EncryptedType
from encfields.errors import EncFieldsError
from tests.drivers.conftest import LEGS, Leg

metadata = MetaData()
rate = Table(
    "rate",
    metadata,
    Column("until", Date, primary_key=True),
    Column("amount", EncryptedType(Integer)),
)
FIRST, LAST = dt.date(1600, 2, 29), dt.date(9999, 12, 30)
RAW = text("SELECT amount, until FROM rate ORDER BY until").columns(rate.c.amount, rate.c.until)
POSTGRESQL = [leg for leg in LEGS if leg.startswith("postgresql")]


@pytest.fixture
def rates(leg: Leg) -> Leg:
    def make(connection: Any) -> None:
        metadata.drop_all(connection)
        metadata.create_all(connection)
        rows = [{"until": FIRST, "amount": 1}, {"until": LAST, "amount": 2}]
        connection.execute(insert(rate), rows)

    leg.run(make)
    return leg


@pytest.mark.parametrize("leg", LEGS, indirect=True)
def test_a_row_of_a_day(rates: Leg) -> None:
    for _ in range(3):
        rows = rates.run(lambda c: c.execute(RAW).all())
        assert [tuple(row) for row in rows] == [(1, FIRST), (2, LAST)]


@pytest.mark.parametrize("leg", POSTGRESQL, indirect=True)
@pytest.mark.parametrize("sign", ["", "-"])
def test_infinity_is_not_the_last_day(rates: Leg, sign: str) -> None:
    """Drivers give the same for both."""
    day = dt.date.min if sign else dt.date.max
    rates.run(lambda c: c.execute(text("DELETE FROM rate")))
    rates.run(lambda c: c.execute(insert(rate).values(until=day, amount=1)))
    other = f"'{day}'" if rates.driver == "asyncpg" else f"'{sign}infinity'"
    rates.run(lambda c: c.execute(text(f"UPDATE rate SET until = {other}")))
    with pytest.raises((EncFieldsError, DataError)):  # psycopg's own is the second
        rates.run(lambda c: c.execute(RAW).all())
