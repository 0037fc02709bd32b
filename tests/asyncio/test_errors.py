"""Errors come through the greenlets as what they are, and leave the session as any error does."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from encfields import Encryption, SqlKeyStore, attach, keyrings
from encfields.errors import (
    AmbiguousRowError,
    ConfigurationError,
    ContextMismatchError,
    KeyAccessError,
    KeyNotFoundError,
    KeyUnavailableError,
    TamperedError,
    ValueEncodingError,
)
from encfields.testing import local_store
from tests.asyncio.model import ID, OTHER, PATIENT, ROW, Patient, Visit
from tests.database import raw_select
from tests.servers.kms_proxy import KmsProxy
from tests.servers.moto import Kms
from tests.turns import databases_by_turns

pytestmark = databases_by_turns


async def _refused_flush(engine: AsyncEngine, kind: type[Exception], thing: object) -> Any:
    async with AsyncSession(engine) as session:
        session.add(thing)
        with pytest.raises(kind) as caught:
            await session.commit()
        await session.rollback()
        assert await session.scalar(select(func.count()).select_from(type(thing))) == 0
    return caught.value


@pytest.mark.usefixtures("encryption")
@pytest.mark.parametrize("model, values", [(Patient, {"ssn": 5}), (Visit, {"diagnosis": b"x"})])
async def test_a_value_without_encoding(
    engine: AsyncEngine, model: Any, values: dict[str, Any]
) -> None:
    error = await _refused_flush(engine, ValueEncodingError, model(**values))
    assert (error.table, error.column) == (model.__tablename__, *values)


@pytest.mark.usefixtures("encryption")
async def test_an_ambiguous_update(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        with pytest.raises(AmbiguousRowError):
            await connection.execute(update(PATIENT).values(ssn="1"))


async def test_the_key_table_and_the_key_are_missing(engine: AsyncEngine) -> None:
    encryption = attach(engine, local_store())
    error = await _refused_flush(engine, ConfigurationError, Patient(**ROW))
    assert error.reason == "no-key-table"
    await encryption.keys.acreate_table()
    error = await _refused_flush(engine, KeyNotFoundError, Patient(**ROW))
    assert error.key_id == "default"


async def test_the_keyring_is_another(engine: AsyncEngine, encryption: Encryption) -> None:
    async with engine.begin() as connection:
        await connection.execute(insert(PATIENT), ROW)
    encryption.detach()
    attach(engine, local_store())
    async with AsyncSession(engine) as session:
        with pytest.raises(KeyAccessError):
            await session.get(Patient, ID)


async def test_kms_denies(engine: AsyncEngine, kms: Kms, kms_proxy: KmsProxy) -> None:
    keyring = keyrings.aws_kms(kms.create_key())
    first = attach(engine, SqlKeyStore(keyring))
    await first.keys.acreate_table()
    await first.keys.acreate("default")
    first.detach()
    attach(engine, SqlKeyStore(keyring))
    kms_proxy.fail("deny")
    error = await _refused_flush(engine, KeyUnavailableError, Patient(**ROW))
    assert error.reason == "denied"
    kms_proxy.heal()
    async with AsyncSession(engine) as session:
        session.add(Patient(**ROW))
        await session.commit()


@pytest.mark.usefixtures("encryption")
@pytest.mark.parametrize("kind", [ContextMismatchError, TamperedError])
async def test_a_value_that_does_not_open(engine: AsyncEngine, kind: type[Exception]) -> None:
    async with engine.begin() as connection:
        await connection.execute(insert(PATIENT), [ROW, {**ROW, "id": OTHER}])
        query = raw_select(PATIENT).where(PATIENT.c.id == ID)
        sealed = bytes((await connection.execute(query)).one().ssn)
        spoilt = sealed if kind is ContextMismatchError else sealed[:-1] + bytes([sealed[-1] ^ 1])
        place = "ssn = :v" if kind is TamperedError else "notes = :v"
        await connection.execute(text(f"UPDATE patient SET {place}"), {"v": spoilt})
    async with AsyncSession(engine) as session:
        with pytest.raises(kind):
            await session.get(Patient, ID)
    async with engine.connect() as connection:
        result = await connection.execute(select(PATIENT).where(PATIENT.c.id == ID))
        with pytest.raises(kind):
            result.all()
