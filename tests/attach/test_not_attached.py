"""An engine that was never attached refuses encrypted values, on every driver."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from encfields.errors import MalformedMessageError, NotAttachedError
from encfields.testing import attach_locally
from tests.attach.model import ID, OTHER, PATIENT, ROW, Base, Patient
from tests.servers.backends import AsyncBackend, Backend


def _count(connection: Connection) -> int:
    return connection.execute(select(func.count()).select_from(PATIENT)).scalar_one()


def _flush(connection: Connection) -> None:
    with Session(connection) as session:
        session.add(Patient(**ROW))
        session.flush()


WRITES: dict[str, Callable[[Connection], Any]] = {
    "core": lambda connection: connection.execute(insert(PATIENT), ROW),
    "core-many": lambda connection: connection.execute(
        insert(PATIENT), [ROW, {"id": OTHER, "ssn": "987-65-4321"}]
    ),
    "values": lambda connection: connection.execute(insert(PATIENT).values(ROW)),
    "orm": _flush,
    "update": lambda connection: connection.execute(
        update(PATIENT).where(PATIENT.c.id == ID).values(ssn="1")
    ),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_the_first_write_is_refused_and_nothing_is_stored(
    engine: Engine, write: Callable[[Connection], Any]
) -> None:
    with engine.connect() as connection:
        with pytest.raises(NotAttachedError, match=r"encfields\.attach\(engine, key_store\)"):
            write(connection)
        connection.commit()
        assert _count(connection) == 0


@pytest.mark.parametrize("write", list(WRITES.values())[:4], ids=list(WRITES)[:4])
async def test_the_first_write_is_refused_on_every_asyncio_driver(
    async_backend: AsyncBackend, write: Callable[[Connection], Any]
) -> None:
    engine = async_backend.create_engine()
    async with engine.connect() as connection:
        await connection.run_sync(Base.metadata.create_all)
        await connection.commit()
        with pytest.raises(NotAttachedError, match=r"encfields\.attach"):
            await connection.run_sync(write)
        await connection.commit()
        assert await connection.run_sync(_count) == 0


def _stored(backend: Backend) -> None:
    engine = backend.create_engine()
    attach_locally(engine)
    Base.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(insert(PATIENT), ROW)


def test_the_first_read_is_refused(backend: Backend) -> None:
    _stored(backend)
    engine = backend.create_engine()
    with Session(engine) as session:
        with pytest.raises(NotAttachedError, match=r"encfields\.attach") as caught:
            session.scalars(select(Patient)).one()
        assert (caught.value.table, caught.value.column) == ("patient", "ssn")
        assert session.scalars(select(Patient.id)).all() == [ID]


async def test_the_first_read_is_refused_on_every_asyncio_driver(
    async_backend: AsyncBackend,
) -> None:
    _stored(async_backend.sync)
    async with AsyncSession(async_backend.create_engine()) as session:
        with pytest.raises(NotAttachedError, match=r"encfields\.attach"):
            (await session.scalars(select(Patient))).one()


def test_null_needs_no_encryption(engine: Engine) -> None:
    with Session(engine) as session:
        session.add(Patient(id=ID, ssn=None))
        session.commit()
        assert session.get_one(Patient, ID).ssn is None


def test_plaintext_written_by_raw_sql_is_never_returned(engine: Engine) -> None:
    attach_locally(engine)
    with engine.begin() as connection:
        connection.execute(insert(PATIENT), {"id": ID, "ssn": None})
        connection.execute(text("UPDATE patient SET ssn = :v"), {"v": b"123-45-6789"})
        raw = connection.execute(text("SELECT ssn FROM patient")).scalar_one()
    assert bytes(raw) == b"123-45-6789"
    with (
        pytest.raises(MalformedMessageError, match="plaintext that was never encrypted"),
        Session(engine) as session,
    ):
        session.get(Patient, ID)
