"""The arrays that a batch is written with: PostgreSQL reads of them what a list would have held."""

from __future__ import annotations

import uuid
from typing import Any

import psycopg
import pytest

from encfields.bulk.writers.binary_array import BinaryArray, array_of, take_binary_arrays

EDGES: dict[str, list[Any]] = {
    "SMALLINT": [-(2**15), -1, 0, 2**15 - 1],
    "INTEGER": [-(2**31), 0, 2**31 - 1],
    "BIGINT": [-(2**63), 0, 2**63 - 1],
    "UUID": [uuid.UUID(int=0), uuid.UUID(int=2**128 - 1), uuid.UUID(int=1)],
    "VARCHAR(20)": ["", "a", "ä, \"'{}\\"],
}


@pytest.fixture(params=[psycopg.Cursor, psycopg.ClientCursor])
def connection(request, postgresql):
    """One that sends parameters apart, and one that puts them into the statement's text."""
    options = {"cursor_factory": request.param}
    with postgresql.create_engine(connect_args=options).connect() as connection:
        take_binary_arrays(connection)
        yield connection


@pytest.mark.parametrize("values", [[b"\x00", b"", bytes(range(256))], [None, b"", b"a"], [None]])
def test_bytes_come_as_they_are_and_null_is_not_empty(connection, values):
    statement = "SELECT %b::bytea[], %b::bytea[]"
    read = connection.exec_driver_sql(statement, (BinaryArray.of_bytes(values), values)).one()
    assert read == (values, values)


@pytest.mark.parametrize("type_name", EDGES)
def test_keys_come_as_they_are_in_their_columns_type(connection, type_name):
    keys = EDGES[type_name]
    statement = (
        f"SELECT a, pg_typeof(a) = pg_typeof(%b::{type_name}[]) FROM CAST(%b AS {type_name}[]) AS a"
    )
    read, same_type = connection.exec_driver_sql(statement, (keys, array_of(type_name)(keys))).one()
    assert (read, same_type) == (keys, True)


def test_a_type_that_is_not_known_here_is_left_to_the_driver():
    assert array_of("DATE")((1, 2)) == [1, 2]
