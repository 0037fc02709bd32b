"""Writing through asyncio's drivers: the same, without a key or an index left behind."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from encfields import SqlKeyStore, attach, keyrings
from tests.index_writes.expected import Index, blind_index, folded, stored, utf8
from tests.index_writes.models import Base, Member, Patient, Visit
from tests.servers.backends import AsyncBackend

patient: Any = Patient.__table__


class There:
    """What the expected indexes are worked out from: a plain engine on the same database."""

    def __init__(self, backend: AsyncBackend) -> None:
        self.plain = backend.sync.create_engine()


@pytest.fixture
async def engine(async_backend: AsyncBackend) -> AsyncEngine:
    engine = async_backend.create_engine()
    encryption = attach(engine, SqlKeyStore(keyrings.local(bytes(32))))
    await encryption.keys.acreate_table()
    for key in ("default", "tenant/10", "tenant/20"):
        await encryption.keys.acreate(key)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    return engine


@pytest.fixture
def there(async_backend: AsyncBackend, engine: AsyncEngine) -> There:
    return There(async_backend)


SSN = Index("ssn_bidx", "patient.ssn", {"ssn": utf8})


def held(there: There, values: dict[int, str | None]) -> None:
    expected = {
        (key,): None if value is None else blind_index(there, utf8(value), SSN)
        for key, value in values.items()
    }
    assert stored(there, patient, "ssn_bidx") == expected


async def test_a_session_s_writes(engine, there):
    async with AsyncSession(engine) as session:
        session.add_all(Patient(id=n, ssn=f"v-{n}" if n else None, mail="M") for n in range(5))
        await session.commit()
        one = await session.get_one(Patient, 1)
        one.ssn = "new"
        await session.execute(update(Patient).where(Patient.id == 2).values(ssn="set"))
        await session.execute(update(Patient), [{"id": 3, "ssn": "bulk"}])
        await session.execute(insert(Patient), [{"id": n, "ssn": f"v-{n}"} for n in (8, 9)])
        await session.commit()
        found = select(Patient.id).where(Patient.ssn == "bulk")
        assert (await session.scalars(found)).all() == [3]
    held(there, {0: None, 1: "new", 2: "set", 3: "bulk", 4: "v-4", 8: "v-8", 9: "v-9"})
    mail = Index("mail_casefold_bidx", "patient.mail", {"mail": folded}, "casefold")
    expected = blind_index(there, b"m", mail)
    assert set(stored(there, patient, "mail_casefold_bidx").values()) == {expected, None}


async def test_a_connection_s_writes(engine, there):
    change = update(patient).where(patient.c.id == bindparam("k")).values(ssn=bindparam("v"))
    async with engine.begin() as connection:
        await connection.execute(insert(patient), [{"id": n, "ssn": f"v-{n}"} for n in range(30)])
        await connection.execute(insert(patient).values([{"id": n, "ssn": "m"} for n in (40, 41)]))
        await connection.execute(change, [{"k": 1, "v": "one"}, {"k": 2, "v": None}])
        rows = (await connection.execute(select(patient).where(patient.c.ssn == "m"))).all()
        assert sorted(row.id for row in rows) == [40, 41]
    values: dict[int, str | None] = {n: f"v-{n}" for n in range(30)}
    held(there, {**values, 1: "one", 2: None, 40: "m", 41: "m"})


async def test_generated_keys(engine, there):
    async with AsyncSession(engine) as session:
        session.add_all(Visit(ssn=f"v-{n}") for n in range(10))
        await session.commit()
        if engine.dialect.insert_returning:
            rows = [{"ssn": "a"}, {"ssn": "b"}]
            made = await session.scalars(insert(Visit).returning(Visit), rows)
            assert sorted(str(one.ssn) for one in made) == ["a", "b"]
        else:
            session.add_all([Visit(ssn="a"), Visit(ssn="b")])
        await session.commit()
    index = Index("ssn_bidx", "visit.ssn", {"ssn": utf8})
    values = [*(f"v-{n}" for n in range(10)), "a", "b"]
    expected = {blind_index(there, utf8(value), index) for value in values}
    assert set(stored(there, Visit.__table__, "ssn_bidx").values()) == expected


async def test_tenants_and_uniqueness(engine, there):
    rows = [{"id": n, "tenant_id": 10 + n % 2 * 10, "iban": "same"} for n in (1, 2)]
    async with engine.begin() as connection:
        await connection.execute(insert(Member), rows)
    index = Index("iban_bidx", "member.iban", {"iban": utf8})
    assert stored(there, Member.__table__, "iban_bidx") == {
        (1,): blind_index(there, b"same", index, "tenant/20"),
        (2,): blind_index(there, b"same", index, "tenant/10"),
    }
    async with AsyncSession(engine) as session:
        session.add(Member(id=3, tenant_id=10, iban="same"))
        with pytest.raises(IntegrityError):
            await session.commit()
