"""SQLModel with FastAPI: one class is table, request and response."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.testclient import TestClient
from sqlalchemy import JSON, Boolean, Column, Date, Engine, Numeric, String
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlmodel import Field, Session, SQLModel, col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from encfields import BlindIndex, EncryptedType, attach, encryption_of
from encfields.index import digits, last
from encfields.testing import attach_locally, local_store
from tests.frameworks.stored import assert_sealed
from tests.servers.backends import AsyncBackend, Backend

ROOT = Path(__file__).parents[2]
LAST_4 = digits.then(last(4))


class PatientBase(SQLModel):
    name: str
    ssn: str
    notes: dict[str, Any] | None = None
    born: date | None = None
    fee: Decimal | None = None
    insured: bool = False


class Patient(PatientBase, table=True):  # type: ignore[call-arg]
    id: int | None = Field(default=None, primary_key=True)
    ssn: str = Field(
        sa_column=Column(
            EncryptedType(String(11), index=[BlindIndex(), BlindIndex(LAST_4, bits=16)]),
            nullable=False,
        )
    )
    notes: dict[str, Any] | None = Field(default=None, sa_column=Column(EncryptedType(JSON)))
    born: date | None = Field(default=None, sa_column=Column(EncryptedType(Date)))
    fee: Decimal | None = Field(default=None, sa_column=Column(EncryptedType(Numeric(10, 2))))
    insured: bool = Field(default=False, sa_column=Column(EncryptedType(Boolean), nullable=False))


class Change(SQLModel):
    ssn: str | None = None
    notes: dict[str, Any] | None = None


ADA = {
    "name": "Ada",
    "ssn": "123-45-6789",
    "notes": {"blood": "A+"},
    "born": "1815-12-10",
    "fee": "12.50",
    "insured": True,
}


# -- synchronous -------------------------------------------------------------------------------


def session_of(request: Request) -> Iterator[Session]:
    with Session(request.app.state.engine) as session:
        yield session


SessionOf = Annotated[Session, Depends(session_of)]


def create_app(engine: Engine) -> FastAPI:
    """An application factory: it attaches where it has the engine."""
    attach_locally(engine)
    app = FastAPI()
    app.state.engine = engine

    @app.post("/patients", status_code=201)
    def add(data: PatientBase, session: SessionOf) -> Patient:
        patient = Patient.model_validate(data)
        session.add(patient)
        session.commit()
        session.refresh(patient)
        return patient

    @app.get("/patients/{number}")
    def read(number: int, session: SessionOf) -> Patient:
        patient = session.get(Patient, number)
        if patient is None:
            raise HTTPException(404)
        return patient

    @app.get("/patients")
    def find(session: SessionOf, ssn: str | None = None, last4: str | None = None) -> list[Patient]:
        query = select(Patient).order_by(col(Patient.id))
        if ssn is not None:
            query = query.where(Patient.ssn == ssn)
        if last4 is not None:
            query = query.where(col(Patient.ssn).blind("digits.last4") == last4)  # type: ignore[attr-defined]
        return list(session.exec(query).all())

    @app.patch("/patients/{number}")
    def change(number: int, data: Change, session: SessionOf) -> Patient:
        patient = session.get_one(Patient, number)
        patient.sqlmodel_update(data.model_dump(exclude_unset=True))
        session.add(patient)
        session.commit()
        session.refresh(patient)
        return patient

    @app.get("/opened")
    def opened(session: SessionOf) -> int:
        return encryption_of(session.get_bind()).stats.opened

    return app


@pytest.fixture
def client(backend: Backend) -> Iterator[TestClient]:
    engine = backend.create_engine()
    SQLModel.metadata.create_all(engine, tables=[SQLModel.metadata.tables["patient"]])
    with TestClient(create_app(engine)) as client:
        yield client


def test_a_row_is_added_read_found_and_changed_over_http(client: TestClient) -> None:
    assert client.post("/patients", json=ADA).status_code == 201
    assert client.post("/patients", json={"name": "Bob", "ssn": "987-65-4321"}).json()["id"] == 2
    expected = {**ADA, "id": 1}
    assert client.get("/patients/1").json() == expected
    assert client.get("/patients").json()[0] == expected
    assert client.get("/patients", params={"ssn": "123-45-6789"}).json() == [expected]
    assert client.get("/patients", params={"last4": "4321"}).json()[0]["name"] == "Bob"
    changed = client.patch("/patients/1", json={"ssn": "000-00-0000", "notes": None}).json()
    assert changed == {**expected, "ssn": "000-00-0000", "notes": None}
    assert client.get("/patients", params={"ssn": "123-45-6789"}).json() == []
    assert_sealed(client.app.state.engine, "patient", "ssn", "000-00-0000", "987-65-4321")  # type: ignore[attr-defined]


def test_a_request_handler_finds_the_encryption_of_its_session(client: TestClient) -> None:
    client.post("/patients", json=ADA)
    before = client.get("/opened").json()
    client.get("/patients/1")
    assert client.get("/opened").json() == before + 5


def test_the_schema_that_fastapi_publishes_has_the_inner_types(client: TestClient) -> None:
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    shown = schemas["Patient"]["properties"]
    assert shown["ssn"]["type"] == "string"
    assert shown["insured"]["type"] == "boolean"
    assert {"type": "string", "format": "date"} in shown["born"]["anyOf"]
    assert not any(name.endswith("_bidx") for name in shown)


# -- asynchronous ------------------------------------------------------------------------------


async def async_session_of(request: Request) -> AsyncIterator[AsyncSession]:
    async with AsyncSession(request.app.state.engine, expire_on_commit=False) as session:
        yield session


AsyncSessionOf = Annotated[AsyncSession, Depends(async_session_of)]


def create_async_app(engine: AsyncEngine) -> FastAPI:
    """The same with an ``AsyncEngine``: what waits for the database is done in the lifespan."""
    encryption = attach(engine, local_store())

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await encryption.keys.acreate_table()
        await encryption.keys.acreate("default")
        await encryption.aprefetch()
        async with engine.begin() as connection:
            await connection.run_sync(Patient.__table__.create)  # type: ignore[attr-defined]
        yield
        await engine.dispose()

    app = FastAPI(lifespan=lifespan)
    app.state.engine = engine

    @app.post("/patients", status_code=201)
    async def add(data: PatientBase, session: AsyncSessionOf) -> Patient:
        patient = Patient.model_validate(data)
        session.add(patient)
        await session.commit()
        return patient

    @app.get("/patients")
    async def find(ssn: str, session: AsyncSessionOf) -> list[Patient]:
        return list((await session.exec(select(Patient).where(Patient.ssn == ssn))).all())

    @app.get("/sealed")
    async def sealed(session: AsyncSessionOf) -> int:
        return encryption_of(session.get_bind()).stats.sealed

    return app


def test_the_same_with_asyncio(async_backend: AsyncBackend) -> None:
    with TestClient(create_async_app(async_backend.create_engine())) as client:
        assert client.post("/patients", json=ADA).status_code == 201
        assert (
            client.post("/patients", json={"name": "Bob", "ssn": "987-65-4321"}).json()["id"] == 2
        )
        found = client.get("/patients", params={"ssn": "123-45-6789"}).json()
        assert found == [{**ADA, "id": 1}]
        assert client.get("/sealed").json() == 5 + 3
    assert_sealed(
        async_backend.sync.create_engine(), "patient", "ssn", "123-45-6789", "987-65-4321"
    )


# -- types -------------------------------------------------------------------------------------

PROGRAM = """
from sqlalchemy import Column, String
from sqlmodel import Field, Session, SQLModel, col, create_engine, select

from encfields import BlindIndex, EncryptedType, attach, encryption_of, keyrings, SqlKeyStore


class Patient(SQLModel, table=True):
    id: int | None = Field(default=None, primary_key=True)
    ssn: str = Field(sa_column=Column(EncryptedType(String(11), index=BlindIndex())))


engine = create_engine("sqlite://")
attach(engine, SqlKeyStore(keyrings.local("key")))
with Session(engine) as session:
    session.exec(select(Patient).where(col(Patient.ssn) == "1")).first()
    session.exec(select(Patient).where(col(Patient.ssn).in_(["1", "2"]))).all()
    session.exec(select(Patient).where(col(Patient.ssn).is_not(None))).all()
    session.exec(select(Patient).where(col(Patient.ssn) != "1", Patient.ssn == "2")).all()
    ssn: str = session.exec(select(Patient.ssn)).one()
    print(ssn, encryption_of(session.get_bind()).stats.opened)
"""


@pytest.mark.timeout(600)
def test_mypy_accepts_col(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    # By the project's own settings, strict, and with what lint has found out about SQLAlchemy: a
    # copy, for another test may be writing to it.
    cache = tmp_path / "cache"
    if (ROOT / ".mypy_cache").is_dir():
        shutil.copytree(ROOT / ".mypy_cache", cache)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", f"--cache-dir={cache}", str(program)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout + done.stderr
