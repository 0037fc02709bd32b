"""The last line: a parcel that reached a driver unsealed is refused by every driver."""

from __future__ import annotations

import traceback
from typing import Any

import pytest
from sqlalchemy import Connection, Engine

from encfields.orm.write.pending import Pending
from tests.leaks.model import SCAN, SSN, Base, assert_nothing_shows
from tests.servers.backends import AsyncBackend

PLACEHOLDERS = {
    "qmark": "?, ?",
    "pyformat": "%s, %s",
    "format": "%s, %s",
    "numeric_dollar": "$1, $2",
}

each_parcel = pytest.mark.parametrize("value", [SSN, SCAN, 4711], ids=["str", "bytes", "int"])
each_way = pytest.mark.parametrize("many", [False, True], ids=["execute", "executemany"])


def _refused(connection: Connection, value: Any, many: bool) -> None:
    """The driver refuses the parcel, in any of the ways that it has, and stores nothing."""
    marks = PLACEHOLDERS[connection.dialect.paramstyle]
    statement = f"INSERT INTO patient (name, ssn) VALUES ({marks})"
    row: Any = ("a", Pending(value))
    with pytest.raises(Exception) as caught:  # noqa: PT011 (each driver has an error of its own)
        connection.exec_driver_sql(statement, [row, ("b", Pending(value))] if many else row)
    error = caught.value  # its params may hold the parcel, which prints nothing and is no text
    assert_nothing_shows(
        "".join(traceback.format_exception(error)), str(error), repr(error), repr(vars(error))
    )
    connection.rollback()
    assert connection.exec_driver_sql("SELECT count(*) FROM patient").scalar_one() == 0


@each_way
@each_parcel
def test_synchronous_drivers(engine: Engine, value: Any, many: bool) -> None:
    with engine.connect() as connection:
        _refused(connection, value, many)


@each_way
@each_parcel
async def test_asyncio_drivers(async_backend: AsyncBackend, value: Any, many: bool) -> None:
    engine = async_backend.create_engine()
    async with engine.connect() as connection:
        await connection.run_sync(Base.metadata.create_all)
        await connection.commit()
        await connection.run_sync(_refused, value, many)
