"""What an error of the database means to a run, whatever class the driver gives it."""

from __future__ import annotations

import pymysql
import pytest
from sqlalchemy import Executable, create_engine, insert, select, text
from sqlalchemy.exc import DBAPIError, OperationalError

from encfields.bulk.failures import is_lock_wait, is_transient, translated
from encfields.bulk.row_refusals import Refusal, refusal_of, refuses_row
from tests.drivers.conftest import Leg
from tests.drivers.model import Patient
from tests.servers.drivers import with_driver

USUAL = {"postgresql": "psycopg", "mariadb": "pymysql"}


class Stated(Exception):
    """An error with a SQLSTATE, as every driver of PostgreSQL gives it."""

    def __init__(self, sqlstate: str) -> None:
        super().__init__()
        self.sqlstate = sqlstate


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


RAISE = {
    "postgresql": "DO $$ BEGIN RAISE '%s' USING ERRCODE = '42501'; END $$",
    "mariadb": "SIGNAL SQLSTATE '42000' SET MYSQL_ERRNO = 1142, MESSAGE_TEXT = '%s'",
}


def test_a_missing_right_is_told_in_the_server_s_words_and_a_trigger_s_text_is_not(
    driver: Leg,
) -> None:
    if driver.server == "sqlite":
        pytest.skip("SQLite has no users")
    family = "mariadb" if driver.server == "mysql" else driver.server
    for words in ("permission denied for table patient", "not you, 123-45-6789"):
        raising = text(RAISE[family] % words)
        said = translated(_error(driver, raising))
        assert said.reason == "denied"
        assert (words in str(said)) == words.startswith("permission")
        assert "123-45-6789" not in str(said)


PASS: tuple[int | str, ...] = (1040, 1114, 1205, 1213, 1317, 1836, 1969, 2006, 9001)
PASS += ("40001", "53100", "57014", "57P03", "25006", "08006", "XX000")
LAST: tuple[int | str, ...] = (1035, 1064, 1104, 1305, 1449, 3105, 4078)
LAST += ("0A000", "39000", "53400", "55000", "57P04", "P0004", "XX002")


@pytest.mark.parametrize("code", [*PASS, *LAST])
def test_the_server_s_code_tells_what_passes_and_the_driver_s_class_does_not(
    code: int | str,
) -> None:
    """PyMySQL has one class for nearly all of them."""
    said = pymysql.err.OperationalError(code, "") if isinstance(code, int) else Stated(code)
    assert is_transient(OperationalError("", None, said)) == (code in PASS)


def test_who_may_not_make_triggers_beside_a_binary_log_is_told_the_setting() -> None:
    said = translated(OperationalError("", None, pymysql.err.OperationalError(1419, "")))
    assert said.reason == "denied"
    assert "log_bin_trust_function_creators" in str(said)
