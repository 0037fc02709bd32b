"""Fifty megabytes go in and come out, or are refused clearly and stored not at all."""

from __future__ import annotations

import pytest
from sqlalchemy import Column, Integer, LargeBinary, MetaData, Table, Text, func, insert, select
from sqlalchemy.exc import DBAPIError

from encfields import EncryptedType
from encfields.testing import attach_locally
from tests.servers.backends import Backend

SIZE = 50 * 1024 * 1024


def _table() -> Table:
    return Table(
        "vault",
        MetaData(),
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("scan", EncryptedType(LargeBinary)),
        Column("text", EncryptedType(Text)),
    )


@pytest.mark.parametrize("name", ["sqlite", "postgresql"])
@pytest.mark.parametrize(
    "column, value",
    [("scan", b"\x00\xff" * (SIZE // 2)), ("text", "x" * SIZE)],
    ids=["bytes", "text"],
)
def test_fifty_megabytes(
    request: pytest.FixtureRequest, name: str, column: str, value: object
) -> None:
    backend: Backend = request.getfixturevalue(name)
    table = _table()
    engine = backend.create_engine()
    attach_locally(engine)
    table.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(insert(table), {"id": 1, column: value})
    with engine.connect() as connection:
        assert (connection.scalar(select(table.c[column])) == value) is True


def test_mariadb_takes_what_its_packet_limit_allows_and_refuses_the_rest_whole(
    mariadb: Backend,
) -> None:
    table = _table()
    engine = mariadb.create_engine()
    attach_locally(engine)
    table.metadata.create_all(engine)
    with engine.connect() as connection:
        limit = connection.exec_driver_sql("SELECT @@max_allowed_packet").scalar_one()
    # PyMySQL may escape each byte as two.
    fits, too_long = bytes(limit // 3), b"\x00\xff" * limit
    with engine.begin() as connection:
        connection.execute(insert(table), {"id": 1, "scan": fits})
        assert (connection.scalar(select(table.c.scan)) == fits) is True
    with pytest.raises(DBAPIError) as caught, engine.begin() as connection:
        connection.execute(insert(table), {"id": 2, "scan": too_long})
    assert len(str(caught.value)) < 5_000
    with engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(table)) == 1
