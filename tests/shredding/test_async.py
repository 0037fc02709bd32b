"""Destroying a key from a coroutine."""

from __future__ import annotations

import pytest
from sqlalchemy import insert

from encfields.bulk.rows.spec import TableSpec
from encfields.errors import KeyDestroyedError
from encfields.testing import attach_locally_async
from tests.census.clinic import patient_table
from tests.servers.backends import AsyncBackend


async def test_a_coroutine_counts_and_destroys(async_backend: AsyncBackend):
    engine = async_backend.create_engine()
    encryption = await attach_locally_async(engine)
    table = patient_table()
    async with engine.begin() as connection:
        await connection.run_sync(table.create)
        await connection.execute(insert(table), [{"id": 1, "name": "n", "ssn": "s", "notes": "x"}])

    receipt = await encryption.keys.adestroy(
        "default", confirm="default", specs=[TableSpec.from_table(table)], at_once=True
    )

    assert [(one.column, one.values) for one in receipt.unreadable] == [("ssn", 1), ("notes", 1)]
    with pytest.raises(KeyDestroyedError):
        async with engine.connect() as connection:
            (await connection.execute(table.select())).all()
