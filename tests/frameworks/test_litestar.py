"""Litestar with Advanced Alchemy's plugin: a session and a repository for each request."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import date
from typing import Any, TypeAlias

from advanced_alchemy.base import UUIDAuditBase
from advanced_alchemy.extensions.litestar import SQLAlchemyAsyncConfig, SQLAlchemyInitPlugin
from advanced_alchemy.filters import CollectionFilter, OrderBy
from advanced_alchemy.repository import SQLAlchemyAsyncRepository
from litestar import Litestar, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody
from litestar.testing import TestClient
from sqlalchemy import JSON, Date, String
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from encfields import BlindIndex, EncryptedType, attach, encryption_of
from encfields.testing import local_store
from tests.frameworks.stored import assert_sealed
from tests.servers.backends import AsyncBackend


class Patient(UUIDAuditBase):
    __tablename__ = "litestar_patient"
    name: Mapped[str] = mapped_column(String(50))
    ssn: Mapped[str] = mapped_column(EncryptedType(String(11), index=BlindIndex(unique=True)))
    born: Mapped[date | None] = mapped_column(EncryptedType(Date))
    notes: Mapped[dict[str, Any] | None] = mapped_column(EncryptedType(JSON))


class Patients(SQLAlchemyAsyncRepository[Patient]):
    model_type = Patient


OfRequest: TypeAlias = NamedDependency[AsyncSession]


@dataclass
class Data:
    name: str
    ssn: str
    born: date | None = None
    notes: dict[str, Any] | None = None


def _shown(patient: Patient) -> dict[str, Any]:
    return patient.to_dict(exclude={"created_at", "updated_at"})


@post("/patients")
async def add(data: JSONBody[Data], db_session: OfRequest) -> dict[str, Any]:
    patients = Patients(session=db_session)
    return _shown(await patients.add(Patient(**vars(data)), auto_commit=True))


@post("/patients/upsert")
async def upsert(data: JSONBody[list[Data]], db_session: OfRequest) -> int:
    patients = Patients(session=db_session)
    rows = [Patient(**vars(one)) for one in data]
    return len(await patients.upsert_many(rows, match_fields=["ssn"], auto_commit=True))


@get("/patients")
async def find(ssn: FromQuery[list[str]], db_session: OfRequest) -> list[dict[str, Any]]:
    patients = Patients(session=db_session)
    found = await patients.get_many(CollectionFilter("ssn", ssn), OrderBy("name"))
    return [_shown(one) for one in found]


@get("/patients/{number:uuid}")
async def read(number: FromPath[uuid.UUID], db_session: OfRequest) -> dict[str, Any]:
    return _shown(await Patients(session=db_session).get(number))


@get("/opened")
async def opened(db_session: OfRequest) -> int:
    return encryption_of(db_session.get_bind()).stats.opened


def create_app(engine: AsyncEngine) -> Litestar:
    """The application factory: the engine is attached before the plugin is given it."""
    encryption = attach(engine, local_store())

    async def prepare() -> None:
        async with engine.begin() as connection:
            await connection.run_sync(Patient.__table__.create)  # type: ignore[attr-defined]
        await encryption.keys.acreate_table()
        await encryption.keys.acreate("default")

    return Litestar(
        [add, upsert, find, read, opened],
        plugins=[SQLAlchemyInitPlugin(SQLAlchemyAsyncConfig(engine_instance=engine))],
        on_startup=[prepare],
        on_shutdown=[engine.dispose],
    )


def test_rows_are_added_read_found_and_upserted_over_http(
    async_backend: AsyncBackend,
) -> None:
    ada: dict[str, Any] = {
        "name": "Ada",
        "ssn": "123-45-6789",
        "born": "1815-12-10",
        "notes": {"blood": "A+"},
    }
    engine = async_backend.create_engine()
    with TestClient(create_app(engine)) as client:
        added = client.post("/patients", json=ada).json()
        assert added == {**ada, "id": added["id"]}
        assert client.get(f"/patients/{added['id']}").json() == added
        bob = {"name": "Bob", "ssn": "987-65-4321"}
        sent = client.post("/patients/upsert", json=[{**ada, "name": "Ada L."}, bob])
        assert sent.json() == 2
        both = client.get("/patients?ssn=123-45-6789&ssn=987-65-4321&ssn=0").json()
        assert [(one["name"], one["ssn"]) for one in both] == [
            ("Ada L.", ada["ssn"]),
            ("Bob", bob["ssn"]),
        ]
        assert both[0]["id"] == added["id"]
        assert client.get("/opened").json() > 0
    assert_sealed(
        async_backend.sync.create_engine(), Patient.__tablename__, "ssn", ada["ssn"], bob["ssn"]
    )
