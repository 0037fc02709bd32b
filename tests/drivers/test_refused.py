"""Drivers that cannot be made safe are refused by name."""

from __future__ import annotations

import pymysql.converters
import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from encfields.errors import ConfigurationError
from encfields.testing import attach_locally

sends_bytes = callable(getattr(pymysql.converters, "escape_bytes_prefixed", None))


@pytest.mark.skipif(sends_bytes, reason="this PyMySQL is one that aiomysql can send bytes with")
def test_aiomysql_with_a_pymysql_that_it_cannot_send_bytes_with() -> None:
    engine = create_async_engine("mysql+aiomysql://nobody@localhost/nothing")
    with pytest.raises(ConfigurationError, match="aiomysql cannot send bytes") as caught:
        attach_locally(engine.sync_engine, create=False)
    assert "asyncmy" in str(caught.value)
