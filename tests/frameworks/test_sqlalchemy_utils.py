"""SQLAlchemy-Utils: its UUIDType as a key, and its types inside an encrypted column."""

from __future__ import annotations

import uuid
from ipaddress import ip_address
from typing import Any

import pytest
from sqlalchemy import String, TypeDecorator, event, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Mapper, Session, mapped_column
from sqlalchemy_utils import (
    ChoiceType,
    IPAddressType,
    UUIDType,
    force_auto_coercion,
    generic_repr,
)
from sqlalchemy_utils.listeners import coercion_listener
from sqlalchemy_utils.types.scalar_coercible import ScalarCoercible

from encfields import BlindIndex, EncryptedType
from encfields.testing import attach_locally
from tests.servers.backends import Backend


class Base(DeclarativeBase):
    pass


@generic_repr
class Binary(Base):
    __tablename__ = "binary_key"
    id: Mapped[uuid.UUID] = mapped_column(UUIDType(), primary_key=True, default=uuid.uuid4)
    ssn: Mapped[str] = mapped_column(EncryptedType(index=BlindIndex()))


class Textual(Base):
    __tablename__ = "text_key"
    id: Mapped[uuid.UUID] = mapped_column(
        UUIDType(binary=False), primary_key=True, default=uuid.uuid4
    )
    ssn: Mapped[str] = mapped_column(EncryptedType(index=BlindIndex()))


@pytest.fixture
def session(backend: Backend) -> Any:
    engine = backend.create_engine()
    Base.metadata.create_all(engine)
    attach_locally(engine)
    with Session(engine) as session:
        yield session


@pytest.mark.parametrize("model", [Binary, Textual])
def test_a_uuid_key_identifies_its_row(session: Session, model: Any) -> None:
    given = uuid.UUID("8d0f9d2c-2f4e-4d0c-9b43-000000000000")
    session.add_all([model(ssn="1"), model(id=given, ssn="2")])
    session.commit()
    session.expunge_all()
    assert session.get_one(model, given).ssn == "2"
    assert session.get_one(model, str(given)).ssn == "2"
    assert session.scalars(select(model.id).where(model.ssn == "2")).all() == [given]
    session.get_one(model, given).ssn = "3"
    session.commit()
    assert sorted(session.scalars(select(model.ssn))) == ["1", "3"]


def test_its_types_are_inner_types(sqlite: Backend) -> None:
    class Own(DeclarativeBase):
        pass

    class Host(Own):
        __tablename__ = "host"
        id: Mapped[int] = mapped_column(primary_key=True)
        address: Mapped[Any] = mapped_column(EncryptedType(IPAddressType(), index=BlindIndex()))
        state: Mapped[Any] = mapped_column(EncryptedType(ChoiceType([("u", "up"), ("d", "down")])))

    engine = sqlite.create_engine()
    Own.metadata.create_all(engine)
    attach_locally(engine)
    with Session(engine) as session:
        session.add(Host(address="10.0.0.7", state="d"))
        session.commit()
        session.expunge_all()
        (found,) = session.scalars(select(Host).where(Host.address == "10.0.0.7")).all()
        assert (str(found.address), found.state.value) == ("10.0.0.7", "down")


def test_an_attribute_takes_what_its_type_coerces(sqlite: Backend) -> None:
    force_auto_coercion()
    try:

        class Own(DeclarativeBase):
            pass

        class Host(Own):
            __tablename__ = "host"
            id: Mapped[int] = mapped_column(primary_key=True)
            address: Mapped[Any] = mapped_column(EncryptedType(IPAddressType()))

        host = Host(address="10.0.0.7")
    finally:
        event.remove(Mapper, "mapper_configured", coercion_listener)

    assert host.address == ip_address("10.0.0.7")
    engine = sqlite.create_engine()
    Own.metadata.create_all(engine)
    attach_locally(engine)
    with Session(engine) as session:
        session.add(host)
        session.commit()
        session.refresh(host)
        host.address = "10.0.0.7"
        assert not session.is_modified(host)


class Upper(TypeDecorator[str], ScalarCoercible):
    """Its mixin comes last, as those of ArrowType and WeekDaysType do."""

    impl = String
    cache_ok = True

    def _coerce(self, value: Any) -> Any:
        return None if value is None else str(value).upper()


def test_an_attribute_is_coerced_wherever_the_types_mixin_comes(sqlite: Backend) -> None:
    force_auto_coercion()
    try:

        class Own(DeclarativeBase):
            pass

        class Ward(Own):
            __tablename__ = "ward"
            id: Mapped[int] = mapped_column(primary_key=True)
            plain: Mapped[Any] = mapped_column(Upper())
            sealed: Mapped[Any] = mapped_column(EncryptedType(Upper()))

        ward = Ward(plain="north", sealed="north")
    finally:
        event.remove(Mapper, "mapper_configured", coercion_listener)

    assert (ward.plain, ward.sealed) == ("NORTH", "NORTH")


def test_a_generated_repr_shows_no_blind_index(sqlite: Backend) -> None:
    assert "ssn_bidx" not in repr(Binary(id=uuid.UUID(int=1), ssn="1"))
