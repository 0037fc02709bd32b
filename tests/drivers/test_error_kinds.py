"""What an error of the database means to a run, whatever class the driver gives it."""

from __future__ import annotations

import pytest
from sqlalchemy import Executable, create_engine, insert, select, text
from sqlalchemy.exc import DBAPIError

from encfields.bulk.failures import Refusal, is_lock_wait, is_transient, refusal_of, refuses_row
from tests.drivers.conftest import Leg
from tests.drivers.model import Patient
from tests.servers.drivers import with_driver

USUAL = {"postgresql": "psycopg", "mariadb": "pymysql"}


def _error(driver: Leg, statement: Executable) -> DBAPIError:
    with pytest.raises(DBAPIError) as caught:
        driver.run(lambda connection: connection.execute(statement))
    return caught.value


def test_a_lock_that_is_not_granted_is_asked_for_again(driver: Leg) -> None:
    if driver.server not in USUAL:
        pytest.skip("SQLite locks no rows, and MySQL tells the same as MariaDB")
    driver.run(lambda connection: connection.execute(insert(Patient), {"name": "p"}))
    holder = create_engine(with_driver(driver.url, USUAL[driver.server]))
    with holder.connect() as connection:
        connection.execute(select(Patient.__table__.c.id).with_for_update())
        error = _error(driver, select(Patient.id).with_for_update(nowait=True))
    holder.dispose()
    assert is_lock_wait(error)
    assert is_transient(error)
    assert not refuses_row(error)


def test_a_row_without_a_value_that_must_be_there_is_refused(driver: Leg) -> None:
    error = _error(driver, insert(Patient).values(name=None))
    assert refuses_row(error)
    assert not is_transient(error)
    assert refusal_of(error) is Refusal.NULL


def test_a_value_that_a_column_does_not_take_is_refused(driver: Leg) -> None:
    if driver.server == "sqlite":
        pytest.skip("takes any")
    error = _error(driver, insert(Patient).values(name="x" * 300))
    assert refuses_row(error)
    assert not is_transient(error)
    assert refusal_of(error) is Refusal.VALUE


@pytest.mark.parametrize("wrong", ["nothing_of_this_name", "no_such_function(1)"])
def test_a_statement_that_is_wrong_is_neither(driver: Leg, wrong: str) -> None:
    error = _error(driver, text(f"SELECT {wrong}"))
    assert not refuses_row(error)
    assert not is_transient(error)
