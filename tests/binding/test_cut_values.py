"""A server that is not in strict mode cuts a value to fit its column, and tells nobody.

Of a plain text the end is missing then. What is left of a message opens no more, so the write is
refused, and taken back.
"""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, event, insert, select, update
from sqlalchemy.dialects import mysql

from encfields import EncryptedType
from encfields.errors import ValueEncodingError
from tests.database import Database

FITS, LONG = "fits", "x" * 300


def cards(db: Database, *, strict: bool = False, autoincrement: bool = False) -> Table:
    """A table whose column is shorter in the database than the model says."""
    table = Table(
        "card",
        MetaData(),
        Column("id", Integer, primary_key=True, autoincrement=autoincrement),
        Column("holder", EncryptedType()),
        Column("number", EncryptedType()),
    )
    db.create(table.metadata)
    with db.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE card MODIFY number VARBINARY(400)")
    if not strict:
        event.listen(db.engine, "begin", leave_strict_mode)
    return table


def leave_strict_mode(connection: Any) -> None:
    connection.exec_driver_sql("SET SESSION sql_mode = ''")


def numbers(db: Database, table: Table) -> list[Any]:
    with db.begin() as connection:
        return list(connection.execute(select(table.c.id, table.c.number).order_by(table.c.id)))


def upsert(table: Table, **values: Any) -> Any:
    statement = mysql.insert(table).values(**values)
    return statement.on_duplicate_key_update(number=statement.inserted.number)


@pytest.mark.parametrize(
    "write",
    [
        lambda table: (insert(table), {"id": 2, "number": LONG}),
        lambda table: (insert(table), [{"id": 2, "number": FITS}, {"id": 3, "number": LONG}]),
        lambda table: (update(table).where(table.c.id == 1), {"number": LONG}),
        lambda table: (upsert(table, id=1, number=LONG), {}),
        lambda table: (upsert(table, id=2, number=LONG), {}),
    ],
    ids=["INSERT", "INSERT of many", "UPDATE", "upsert that hits", "upsert that does not"],
)
def test_a_value_that_is_cut_to_fit_is_refused_and_the_row_stays_as_it_was(innodb_db, write):
    table = cards(innodb_db)
    with innodb_db.begin() as connection:
        connection.execute(insert(table), {"id": 1, "number": FITS, "holder": LONG})

    statement, values = write(table)
    with innodb_db.begin() as connection, pytest.raises(ValueEncodingError) as caught:
        connection.execute(statement, values)

    assert caught.value.reason == "cut"
    assert (caught.value.table, caught.value.column) == ("card", "number")
    assert "400 of the value's" in str(caught.value)
    assert "the transaction was rolled back" in str(caught.value)
    assert numbers(innodb_db, table) == [(1, FITS)]


def test_a_value_that_is_cut_in_a_row_whose_key_the_database_generates_is_refused(innodb_db):
    table = cards(innodb_db, autoincrement=True)
    for many in ([LONG], [FITS, LONG]):
        with innodb_db.begin() as connection, pytest.raises(ValueEncodingError):
            connection.execute(insert(table), [{"number": number} for number in many])
    with innodb_db.begin() as connection:
        connection.execute(insert(table), [{"number": FITS}, {"number": FITS}])
    assert [number for _, number in numbers(innodb_db, table)] == [FITS, FITS]


@pytest.mark.parametrize("autoincrement", [True, False])
def test_a_value_that_ignore_cuts_to_fit_is_refused_on_a_strict_server(innodb_db, autoincrement):
    table = cards(innodb_db, strict=True, autoincrement=autoincrement)
    given = {"number": LONG} if autoincrement else {"id": 1, "number": LONG}
    with innodb_db.begin() as connection, pytest.raises(ValueEncodingError):
        connection.execute(insert(table).prefix_with("IGNORE"), given)
    assert numbers(innodb_db, table) == []


def test_under_autocommit_the_error_says_that_what_is_left_stays(innodb_db):
    table = cards(innodb_db)
    autocommit = innodb_db.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    with autocommit as connection:
        connection.exec_driver_sql("SET SESSION sql_mode = ''")
        with pytest.raises(ValueEncodingError, match="write it again"):
            connection.execute(insert(table), {"id": 1, "number": LONG})
        connection.execute(update(table).where(table.c.id == 1).values(number=FITS))
    assert numbers(innodb_db, table) == [(1, FITS)]


def test_a_storage_engine_is_known_by_its_name_under_set_names_binary(innodb_db):
    """The driver gives names as bytes then."""
    table = cards(innodb_db, strict=True, autoincrement=True)
    event.listen(
        innodb_db.engine, "begin", lambda connection: connection.exec_driver_sql("SET NAMES binary")
    )
    with innodb_db.begin() as connection:
        connection.execute(insert(table), {"number": FITS})
    assert numbers(innodb_db, table) == [(1, FITS)]
