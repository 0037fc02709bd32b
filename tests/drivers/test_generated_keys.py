"""What is promised of every driver for rows whose keys the database generates."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from sqlalchemy import event, insert, select, text
from sqlalchemy.dialects import mysql, postgresql, sqlite

from encfields.errors import EncFieldsError
from tests.drivers.conftest import Leg
from tests.drivers.model import Patient, Visit
from tests.servers.drivers import with_driver


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


def _execute(statement: Any, rows: list[dict[str, Any]], connection: Any) -> None:
    connection.execute(statement, rows)


def test_rows_that_are_found_or_skipped(driver: Leg) -> None:
    if driver.server not in ("mysql", "mariadb"):
        pytest.skip("it has ON CONFLICT, which is tried by itself")
    upsert: Any = mysql.insert(Visit)
    upsert = upsert.on_duplicate_key_update(reason=upsert.inserted.reason)
    ignore = insert(Visit).prefix_with("IGNORE")
    for statement, codes in (
        (upsert, "ab"),
        (upsert, "bcb"),
        (upsert, "d"),
        (upsert, "a"),
        (ignore, "a"),
        (ignore, "e"),
        (ignore, "bffg"),
    ):
        rows = [{"code": code, "reason": f"{codes}-{n}"} for n, code in enumerate(codes)]
        driver.run(partial(_execute, statement, rows))
    found = driver.run(lambda c: c.execute(select(Visit.code, Visit.reason)).all())
    assert sorted(map(tuple, found)) == [
        ("a", "a-0"),
        ("b", "bcb-2"),
        ("c", "bcb-1"),
        ("d", "d-0"),
        ("e", "e-0"),
        ("f", "bffg-1"),
        ("g", "bffg-3"),
    ]


def _on_conflict(driver: Leg) -> Any:
    make = postgresql.insert if driver.server == "postgresql" else sqlite.insert
    upsert: Any = make(Visit)
    return upsert.on_conflict_do_update(
        index_elements=[Visit.code], set_={"reason": upsert.excluded.reason}
    )


@pytest.mark.filterwarnings("ignore:Class OnConflict")
def test_rows_that_are_found_by_another_key(driver: Leg) -> None:
    if driver.server in ("mysql", "mariadb"):
        pytest.skip("it has no ON CONFLICT")
    upsert = _on_conflict(driver)
    for codes in ("ab", "bcb", "d", "a"):
        rows = [{"code": code, "reason": f"{codes}-{n}"} for n, code in enumerate(codes)]
        driver.run(partial(_execute, upsert, rows))
    kept = upsert.values(code="d", reason="single").returning(Visit.reason)
    assert driver.run(lambda c: c.execute(kept).scalars().all()) == ["single"]
    driver.run(partial(_execute, upsert.values(code="e"), [{"reason": "e"}]))
    found = driver.run(lambda c: c.execute(select(Visit.code, Visit.reason)).all())
    assert sorted(map(tuple, found)) == [
        ("a", "a-0"),
        ("b", "bcb-2"),
        ("c", "bcb-1"),
        ("d", "single"),
        ("e", "e"),
    ]


@pytest.mark.filterwarnings("ignore:Class OnConflict")
@pytest.mark.parametrize("codes", ["a", "az"])
@pytest.mark.parametrize("is_found", [True, False])
def test_rows_that_somebody_else_stores_before_they_are_found(
    driver: Leg, codes: str, is_found: bool
) -> None:
    """Nothing is written, whether the driver counts rows or not."""
    if driver.server != "postgresql":
        pytest.skip("nobody else writes meanwhile")
    if is_found:
        driver.run(lambda c: c.execute(insert(Visit), [{"code": "a", "reason": "old"}]))
    rehearsed: list[str] = []

    def store(connection: Any, cursor: Any, sql: str, *rest: Any) -> None:
        if sql.startswith("ROLLBACK TO") and not rehearsed:
            rehearsed.append(sql)
            with other.begin() as theirs:
                theirs.execute(text("UPDATE visit SET code = 'was' WHERE code = 'a'"))
                theirs.execute(insert(Visit), [{"code": "a", "reason": "theirs"}])

    rows = [{"code": code, "reason": "ours"} for code in codes]
    somebody = Leg(driver.server, with_driver(driver.url, "psycopg")).attach()
    other = somebody.engine
    listened = getattr(driver.engine, "sync_engine", driver.engine)
    event.listen(listened, "after_cursor_execute", store)
    try:
        with pytest.raises(EncFieldsError):
            driver.run(partial(_execute, _on_conflict(driver), rows))
    finally:
        event.remove(listened, "after_cursor_execute", store)
        somebody.dispose()
    found = driver.run(lambda c: c.execute(select(Visit.code, Visit.reason)).all())
    left = [("was", "old")] if is_found else []
    assert sorted(map(tuple, found)) == [("a", "theirs"), *left]


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
