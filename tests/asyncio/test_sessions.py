"""AsyncSession and AsyncConnection work as their synchronous twins, on every asyncio driver."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import bindparam, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import undefer

from encfields import Encryption
from tests.asyncio.model import ID, OTHER, PATIENT, ROW, VISIT, Patient, Visit
from tests.servers.backends import AsyncBackend

pytestmark = pytest.mark.usefixtures("encryption")


async def _stored(engine: AsyncEngine, count: int = 1) -> None:
    async with engine.begin() as connection:
        await connection.execute(
            insert(VISIT), [{"id": n, "diagnosis": f"d{n}"} for n in range(1, count + 1)]
        )


async def test_add_get_and_refresh(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session:
        session.add(Patient(**ROW))
        await session.commit()
    async with AsyncSession(engine) as session:
        patient = await session.get_one(Patient, ID)
        assert (patient.ssn, patient.notes) == (ROW["ssn"], ROW["notes"])
        patient.ssn = "changed"
        await session.commit()
        await session.refresh(patient)
        assert patient.ssn == "changed"
        await session.delete(patient)
        await session.commit()
        assert await session.get(Patient, ID) is None


async def test_what_is_stored_is_a_message(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session:
        session.add(Patient(**ROW))
        await session.commit()
    async with engine.connect() as connection:
        raw = (await connection.execute(text("SELECT ssn FROM patient"))).scalar_one()
    assert bytes(raw)[:3] == b"\x02\x04\x78"


async def test_add_all_with_generated_keys(engine: AsyncEngine) -> None:
    async with AsyncSession(engine, expire_on_commit=False) as session:
        visits = [Visit(diagnosis=f"d{n}") for n in range(50)]
        session.add_all(visits)
        await session.commit()
        session.expunge_all()
        found = {visit.id: visit.diagnosis for visit in await session.scalars(select(Visit))}
    assert found == {visit.id: visit.diagnosis for visit in visits}


async def test_a_single_generated_key(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session:
        visit = Visit(diagnosis="flu")
        session.add(visit)
        await session.flush()
        await session.refresh(visit)
        assert visit.diagnosis == "flu"
        await session.commit()


async def test_core_insert_update_and_select(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(insert(PATIENT), [ROW, {**ROW, "id": OTHER, "ssn": None}])
        by_key = update(PATIENT).where(PATIENT.c.id == bindparam("key"))
        await connection.execute(by_key, [{"key": ID, "ssn": "1"}, {"key": OTHER, "ssn": "2"}])
    async with engine.connect() as connection:
        rows = await connection.execute(select(PATIENT.c.ssn))
        assert sorted(rows.scalars()) == ["1", "2"]
        assert await connection.scalar(select(PATIENT.c.ssn).where(PATIENT.c.id == ID)) == "1"


async def test_connection_stream(engine: AsyncEngine) -> None:
    await _stored(engine, 300)
    async with engine.connect() as connection:
        result = await connection.stream(select(VISIT.c.diagnosis).order_by(VISIT.c.id))
        assert [row.diagnosis async for row in result] == [f"d{n}" for n in range(1, 301)]
        scalars = await connection.stream_scalars(select(VISIT.c.diagnosis).limit(1))
        assert len([one async for one in scalars]) == 1


async def test_session_stream_and_yield_per(engine: AsyncEngine) -> None:
    await _stored(engine, 300)
    query = select(Visit).order_by(Visit.id).execution_options(yield_per=50)
    async with AsyncSession(engine) as session:
        scalars = await session.stream_scalars(query)
        partitions = [part async for part in scalars.partitions()]
        assert [len(part) for part in partitions] == [50] * 6
        assert partitions[-1][-1].diagnosis == "d300"
        result = await session.stream(select(Visit.diagnosis))
        assert len(await result.all()) == 300


async def test_returning_through_the_orm(async_backend: AsyncBackend, engine: AsyncEngine) -> None:
    async_backend.sync.require_returning()
    async with AsyncSession(engine) as session:
        rows: list[dict[str, Any]] = [{"id": n, "diagnosis": f"d{n}"} for n in range(1, 21)]
        returned = await session.scalars(
            insert(Visit).returning(Visit, sort_by_parameter_order=True), rows
        )
        assert [visit.diagnosis for visit in returned] == [f"d{n}" for n in range(1, 21)]


async def test_deferred_columns_and_awaitable_attributes(engine: AsyncEngine) -> None:
    async with async_sessionmaker(engine)() as session:
        session.add(Patient(**ROW))
        await session.commit()
        patient = (await session.scalars(select(Patient).options(undefer(Patient.notes)))).one()
        session.expire(patient)
        await session.refresh(patient, ["ssn"])
        assert patient.ssn == ROW["ssn"]


async def test_run_sync(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session:
        session.add(Patient(**ROW))
        await session.commit()
        ssn = await session.run_sync(lambda s: s.get_one(Patient, ID).ssn)
    assert ssn == ROW["ssn"]


async def test_a_rolled_back_value_is_gone(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session:
        session.add(Visit(diagnosis="flu"))
        await session.flush()
        await session.rollback()
        assert (await session.scalars(select(Visit))).all() == []


async def test_values_outside_sqlalchemy(engine: AsyncEngine, encryption: Encryption) -> None:
    message = encryption.seal(b"scan", {"file": "1"})
    assert encryption.open(message, {"file": "1"}) == b"scan"
