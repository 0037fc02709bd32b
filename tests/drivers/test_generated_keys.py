"""What is promised of every driver for rows whose keys the database generates."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import event, insert, select

from encfields.errors import EncFieldsError
from tests.drivers.conftest import Leg
from tests.drivers.model import Patient, Visit


@pytest.mark.parametrize("count", [1, 2, 300])
@pytest.mark.parametrize("way", ["execute", "values", "orm"])
def test_rows_with_keys_of_the_database(driver: Leg, way: str, count: int) -> None:
    rows = [{"reason": f"reason-{n}"} for n in range(count)]
    driver.insert(Visit, rows, way)
    found = driver.run(lambda c: c.execute(select(Visit.reason)).scalars().all())
    assert sorted(map(str, found)) == sorted(row["reason"] for row in rows)


def test_returning_the_keys(driver: Leg) -> None:
    if not driver.engine.dialect.insert_returning:
        pytest.skip("the database has no RETURNING")
    made = insert(Visit).returning(Visit.id, Visit.reason, sort_by_parameter_order=True)
    rows = [{"reason": f"r{n}"} for n in range(5)]
    visits = driver.run(lambda c: c.execute(made, rows).all())
    assert [reason for _, reason in visits] == [row["reason"] for row in rows]


def _autocommit(driver_connection: Any) -> None:
    """Have a driver commit every statement, unknown to SQLAlchemy."""
    real = getattr(driver_connection, "driver_connection", driver_connection)
    module = type(real).__module__.partition(".")[0]
    if module in ("sqlite3", "aiosqlite"):
        driver_connection.isolation_level = None
    elif module in ("pymysql", "MySQLdb"):
        real.autocommit(True)
    elif module in ("asyncmy", "aiomysql", "mysql"):
        cursor = driver_connection.cursor()
        cursor.execute("SET autocommit = 1")
        cursor.close()
    else:
        driver_connection.autocommit = True


@pytest.mark.parametrize("count", [1, 3])
def test_autocommit_that_only_the_driver_knows_of(driver: Leg, count: int) -> None:
    """Rows are stored as they were given, or not at all."""
    other = Leg(driver.server, driver.url)
    sync: Any = getattr(other.engine, "sync_engine", other.engine)
    event.listen(sync, "connect", lambda connection, _: _autocommit(connection))
    other.attach()
    rows = [{"reason": f"reason-{n}"} for n in range(count)]
    with_keys = [{"name": f"p{n}", "ssn": f"ssn-{n}"} for n in range(count)]
    try:
        other.run(lambda c: c.execute(insert(Patient), with_keys))
        other.run(lambda c: c.execute(insert(Visit), rows))
        stored = count
    except EncFieldsError:
        stored = 0
    finally:
        found = other.run(lambda c: c.execute(select(Visit.reason)).scalars().all())
        other.dispose()
    assert sorted(map(str, found)) == [row["reason"] for row in rows][:stored]
