"""The envelope, end to end: what rows cost is counted at the KMS server."""

from __future__ import annotations

import uuid

import pytest
from sqlalchemy import String, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from encfields import EncryptedType, SqlKeyStore, attach, keyrings
from encfields.errors import ContextMismatchError, KeyUnavailableError
from tests.servers.backends import Backend
from tests.servers.kms_proxy import KmsProxy
from tests.servers.moto import Kms

ROWS = 10_000


class Base(DeclarativeBase):
    pass


class Patient(Base):
    __tablename__ = "patient"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    name: Mapped[str] = mapped_column(String(50))
    ssn: Mapped[str] = mapped_column(EncryptedType(String(50)))


def _store(arn: str, rows: int, backend: Backend) -> None:
    """Key, table and rows, made by another process so to speak: nothing of it is cached."""
    engine = backend.create_engine()
    Base.metadata.create_all(engine)
    attach(engine, SqlKeyStore(keyrings.aws_kms(arn)), create=True)
    with Session(engine) as session:
        session.add_all(Patient(name=f"name {n}", ssn=f"ssn {n}") for n in range(rows))
        session.commit()
    engine.dispose()


def test_ten_thousand_rows_read_by_a_cold_process_cost_one_kms_call(
    sqlite: Backend, kms: Kms, kms_proxy: KmsProxy
) -> None:
    arn = kms.create_key()
    _store(arn, ROWS, sqlite)
    engine = sqlite.create_engine()
    attach(engine, SqlKeyStore(keyrings.aws_kms(arn)))
    kms_proxy.reset()
    with Session(engine) as session:
        values = set(session.scalars(select(Patient.ssn)))
    assert values == {f"ssn {n}" for n in range(ROWS)}
    assert kms_proxy.counts == {"Decrypt": 1}


def test_ten_thousand_rows_written_by_a_cold_process_cost_one_kms_call(
    sqlite: Backend, kms: Kms, kms_proxy: KmsProxy
) -> None:
    arn = kms.create_key()
    _store(arn, 1, sqlite)
    engine = sqlite.create_engine()
    attach(engine, SqlKeyStore(keyrings.aws_kms(arn)))
    kms_proxy.reset()
    with Session(engine) as session:
        session.add_all(Patient(name=f"name {n}", ssn=f"ssn {n}") for n in range(ROWS))
        session.commit()
    assert kms_proxy.counts == {"Decrypt": 1}


def test_a_value_that_was_moved_costs_no_kms_call(
    backend: Backend, kms: Kms, kms_proxy: KmsProxy
) -> None:
    """The context is compared before any key is asked for."""
    arn = kms.create_key()
    _store(arn, 2, backend)
    engine = backend.create_engine()
    with engine.begin() as connection:
        stored = connection.exec_driver_sql("SELECT ssn FROM patient").scalars().all()
        mark = "?" if backend.name == "sqlite" else "%s"
        connection.exec_driver_sql(f"UPDATE patient SET ssn = {mark}", (stored[0],))
    attach(engine, SqlKeyStore(keyrings.aws_kms(arn)))
    kms_proxy.reset()
    with Session(engine) as session:
        moved = select(Patient.ssn).order_by(Patient.id)
        with pytest.raises(ContextMismatchError):
            session.scalars(moved).all()
    assert kms_proxy.counts["Decrypt"] <= 1


def test_kms_sees_which_key_is_opened_and_never_a_row(
    sqlite: Backend, kms: Kms, kms_proxy: KmsProxy
) -> None:
    arn = kms.create_key()
    _store(arn, 3, sqlite)
    contexts = [call.request["EncryptionContext"] for call in kms_proxy.calls]
    assert {frozenset(context) for context in contexts} == {
        frozenset(
            {"enc:key-id", "enc:key-number", "enc:key-store", "enc:key-version", "enc:purpose"}
        )
    }


def test_a_discovery_reader_opens_what_an_administrator_wrapped(
    sqlite: Backend, kms: Kms, kms_proxy: KmsProxy
) -> None:
    arn = kms.create_key()
    _store(arn, 5, sqlite)
    region, account = arn.split(":")[3:5]
    engine = sqlite.create_engine()
    attach(engine, SqlKeyStore(keyrings.aws_kms_discovery(account, regions=region)))
    with Session(engine) as session:
        assert len(session.scalars(select(Patient.ssn)).all()) == 5


def test_a_write_during_an_outage_stores_nothing(
    backend: Backend, kms: Kms, kms_proxy: KmsProxy
) -> None:
    arn = kms.create_key()
    _store(arn, 1, backend)
    engine = backend.create_engine()
    attach(engine, SqlKeyStore(keyrings.aws_kms(arn, max_attempts=1)))
    kms_proxy.fail("deny")
    with Session(engine) as session:
        session.add(Patient(name="Ada", ssn="123-45-6789"))
        with pytest.raises(KeyUnavailableError) as caught:
            session.commit()
    assert caught.value.reason == "denied"
    assert "123-45-6789" not in str(caught.value)
    kms_proxy.heal()
    with Session(engine) as session:
        assert session.scalars(select(Patient.name)).all() == ["name 0"]
