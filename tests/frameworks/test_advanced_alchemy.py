"""Advanced Alchemy: its base classes as models, its repositories over encrypted columns."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest
from advanced_alchemy.base import BigIntBase, UUIDAuditBase, UUIDBase, UUIDv7Base
from advanced_alchemy.exceptions import NotFoundError
from advanced_alchemy.filters import CollectionFilter, LimitOffset, NotInCollectionFilter, OrderBy
from advanced_alchemy.repository import (
    SQLAlchemyAsyncRepository,
    SQLAlchemySyncRepository,
)
from advanced_alchemy.types import GUID
from sqlalchemy import Date, String
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from encfields import BlindIndex, EncryptedType
from encfields.errors import UnsupportedOperationError
from encfields.testing import attach_locally, attach_locally_async
from tests.frameworks.stored import assert_sealed
from tests.servers.backends import AsyncBackend, Backend


class _Columns:
    name: Mapped[str] = mapped_column(String(50))
    ssn: Mapped[str] = mapped_column(EncryptedType(String(11), index=BlindIndex()))
    born: Mapped[date | None] = mapped_column(EncryptedType(Date))


class OfUuid(_Columns, UUIDBase):
    __tablename__ = "of_uuid"


class Audited(_Columns, UUIDAuditBase):
    __tablename__ = "audited"


class OfUuid7(_Columns, UUIDv7Base):
    __tablename__ = "of_uuid7"


class OfBigInt(_Columns, BigIntBase):
    __tablename__ = "of_bigint"


class Own(DeclarativeBase):
    pass


class OfGuid(_Columns, Own):
    __tablename__ = "of_guid"
    id: Mapped[uuid.UUID] = mapped_column(GUID(length=16), primary_key=True, default=uuid.uuid4)


MODELS: list[Any] = [OfUuid, Audited, OfUuid7, OfBigInt, OfGuid]


def _repository(model: Any, of: Any = SQLAlchemySyncRepository) -> Any:
    return type("Repository", (of,), {"model_type": model})


@pytest.fixture
def session(backend: Backend) -> Iterator[Session]:
    engine = backend.create_engine()
    for model in MODELS:
        model.__table__.create(engine)
    attach_locally(engine)
    with Session(engine, expire_on_commit=False) as session:
        yield session


def _rows(model: Any, *ssns: str) -> list[Any]:
    return [model(name=f"n{ssn}", ssn=ssn, born=date(1815, 12, 10)) for ssn in ssns]


@pytest.mark.parametrize("model", MODELS)
def test_rows_are_added_got_changed_and_deleted(session: Session, model: Any) -> None:
    repository = _repository(model)(session=session)
    added = repository.add_many(_rows(model, "1", "2", "3"))
    session.commit()
    assert_sealed(session.connection(), model.__tablename__, "ssn", "ssn-1", "ssn-2", "ssn-3")
    session.expunge_all()
    assert repository.get(added[0].id).ssn == "1"
    assert repository.get_one(ssn="2").name == "n2"
    assert repository.get_one_or_none(ssn="9") is None
    assert repository.exists(ssn="3")
    assert repository.count(model.ssn == "3") == 1
    found = repository.get_one(ssn="2")
    found.ssn = "4"
    repository.update(found)
    repository.delete_where(ssn="1")
    session.commit()
    session.expunge_all()
    assert sorted(one.ssn for one in repository.get_many()) == ["3", "4"]
    with pytest.raises(NotFoundError):
        repository.get_one(ssn="1")


@pytest.mark.parametrize("model", [OfUuid, OfBigInt])
def test_filters_look_up_by_blind_index(session: Session, model: Any) -> None:
    repository = _repository(model)(session=session)
    repository.add_many(_rows(model, "1", "2", "3"))
    session.commit()
    session.expunge_all()
    some = repository.get_many(CollectionFilter("ssn", ["1", "3", "9"]), OrderBy("name"))
    assert [one.ssn for one in some] == ["1", "3"]
    assert [one.name for one in repository.get_many(ssn="2")] == ["n2"]
    page, total = repository.get_many_and_count(
        CollectionFilter("ssn", ["1", "2", "3"]), OrderBy("name"), LimitOffset(1, 1)
    )
    assert ([one.ssn for one in page], total) == (["2"], 3)
    with pytest.raises(UnsupportedOperationError):
        repository.get_many(OrderBy("ssn"))


def test_collection_filters_answer_as_those_of_a_plain_column(session: Session) -> None:
    """On PostgreSQL they write ``= ANY`` and ``!= ANY``."""
    repository = _repository(OfUuid)(session=session)
    repository.add_many(_rows(OfUuid, "1", "2", "3"))
    session.commit()
    for filter_class in (CollectionFilter, NotInCollectionFilter):
        for numbers in (["1", "3"], ["2"], ["9"]):
            sealed = repository.get_many(filter_class("ssn", numbers), OrderBy("name"))
            plain = repository.get_many(
                filter_class("name", [f"n{one}" for one in numbers]), OrderBy("name")
            )
            assert [one.ssn for one in sealed] == [one.ssn for one in plain]


@pytest.mark.parametrize("model", [OfUuid, Audited, OfBigInt])
def test_get_or_upsert_finds_a_row_by_an_encrypted_column(session: Session, model: Any) -> None:
    repository = _repository(model)(session=session)
    first, created = repository.get_or_upsert(match_fields=["ssn"], ssn="1", name="one")
    assert created
    session.commit()
    session.expunge_all()
    again, created = repository.get_or_upsert(match_fields=["ssn"], ssn="1", name="changed")
    assert (again.id, again.name, created) == (first.id, "changed", False)
    updated, is_updated = repository.get_and_update(match_fields=["ssn"], ssn="1", name="last")
    assert (updated.name, is_updated) == ("last", True)
    session.commit()
    assert [one.ssn for one in repository.get_many()] == ["1"]


@pytest.mark.parametrize("model", [OfUuid, OfUuid7, OfBigInt])
def test_upsert_many_updates_by_key_and_by_an_encrypted_column(
    session: Session, model: Any
) -> None:
    repository = _repository(model)(session=session)
    one, two = repository.add_many(_rows(model, "1", "2"))
    session.commit()
    keys = (one.id, two.id)
    session.expunge_all()
    repository.upsert_many([model(id=keys[0], name="a", ssn="1a"), *_rows(model, "3")])
    session.commit()
    session.expunge_all()
    repository.upsert_many(
        [model(name="b", ssn="2"), model(name="new", ssn="4")], match_fields=["ssn"]
    )
    session.commit()
    session.expunge_all()
    assert sorted((one.ssn, one.name) for one in repository.get_many()) == [
        ("1a", "a"),
        ("2", "b"),
        ("3", "n3"),
        ("4", "new"),
    ]
    assert repository.get_one(ssn="2").id == keys[1]


@pytest.mark.parametrize("model", [OfUuid, OfBigInt])
def test_update_many_and_delete_many_by_key(session: Session, model: Any) -> None:
    repository = _repository(model)(session=session)
    rows = repository.add_many(_rows(model, "1", "2"))
    session.commit()
    repository.update_many([model(id=one.id, name="x", ssn=f"{one.ssn}b") for one in rows])
    session.commit()
    session.expunge_all()
    assert sorted(one.ssn for one in repository.get_many()) == ["1b", "2b"]
    repository.delete_many([one.id for one in repository.get_many()])
    session.commit()
    assert repository.get_many() == []


def test_to_dict_has_the_mapped_columns_and_no_blind_index(session: Session) -> None:
    repository = _repository(OfBigInt)(session=session)
    row = repository.add(_rows(OfBigInt, "1")[0])
    session.commit()
    session.refresh(row)
    assert row.to_dict() == {"id": 1, "name": "n1", "ssn": "1", "born": date(1815, 12, 10)}


@pytest.mark.parametrize("model", [OfUuid, OfBigInt])
async def test_the_same_with_asyncio(async_backend: AsyncBackend, model: Any) -> None:
    engine = async_backend.create_engine()
    async with engine.begin() as connection:
        await connection.run_sync(model.__table__.create)
    await attach_locally_async(engine)
    async with AsyncSession(engine, expire_on_commit=False) as session:
        repository = _repository(model, SQLAlchemyAsyncRepository)(session=session)
        await repository.add_many(_rows(model, "1", "2"))
        await session.commit()
        session.expunge_all()
        found = await repository.get_many(CollectionFilter("ssn", ["1", "2"]), OrderBy("name"))
        assert [one.ssn for one in found] == ["1", "2"]
        await repository.upsert_many(
            [model(name="b", ssn="2"), model(name="new", ssn="4")], match_fields=["ssn"]
        )
        await session.commit()
        session.expunge_all()
        assert sorted([(one.ssn, one.name) for one in await repository.get_many()]) == [
            ("1", "n1"),
            ("2", "b"),
            ("4", "new"),
        ]
