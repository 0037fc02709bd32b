"""Drivers that cannot be made safe are refused by name."""

from __future__ import annotations

import asyncio

import pymysql.converters
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from encfields.errors import ConfigurationError
from encfields.testing import attach_locally
from tests.servers.backends import Backend
from tests.servers.drivers import with_driver

sends_bytes = callable(getattr(pymysql.converters, "escape_bytes_prefixed", None))


@pytest.mark.skipif(sends_bytes, reason="this PyMySQL is one that aiomysql can send bytes with")
def test_aiomysql_with_a_pymysql_that_it_cannot_send_bytes_with() -> None:
    engine = create_async_engine("mysql+aiomysql://nobody@localhost/nothing")
    with pytest.raises(ConfigurationError, match="aiomysql cannot send bytes") as caught:
        attach_locally(engine.sync_engine, create=False)
    assert "asyncmy" in str(caught.value)


@pytest.mark.parametrize("use", ["connect", "create a key"])
def test_asyncmy_in_the_mode_in_which_it_sends_other_bytes(mariadb: Backend, use: str) -> None:
    mode = {"init_command": "SET sql_mode = 'NO_BACKSLASH_ESCAPES'"}
    url = with_driver(mariadb.url, "asyncmy")
    engine = create_async_engine(url, poolclass=NullPool, connect_args=mode)
    encryption = attach_locally(engine.sync_engine, create=False)

    async def connect() -> None:
        if use == "create a key":
            await encryption.keys.acreate_table()
            return
        async with engine.connect() as connection:
            await connection.execute(text("SELECT 1"))

    with pytest.raises(ConfigurationError, match="NO_BACKSLASH_ESCAPES"):
        asyncio.run(connect())
