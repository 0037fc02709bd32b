"""Whatever is wrong with the keys, the first value says so through the ORM, by its own error."""

from __future__ import annotations

import secrets
import uuid
from typing import Any

import pytest
from sqlalchemy import Engine, func, insert, select
from sqlalchemy.orm import Session

from encfields import SqlKeyStore, attach, keyrings
from encfields.errors import (
    ConfigurationError,
    EncFieldsError,
    KeyAccessError,
    KeyNotFoundError,
    KeyUnavailableError,
)
from encfields.testing import local_store
from tests.attach.model import ID, PATIENT, ROW, Base, Patient
from tests.servers.backends import Backend
from tests.servers.kms_proxy import Failure, KmsProxy
from tests.servers.moto import Kms
from tests.turns import databases_by_turns

pytestmark = databases_by_turns


def _refused_flush(engine: Engine, kind: type[EncFieldsError]) -> Any:
    """The error of a flush; nothing is stored of it."""
    with Session(engine) as session:
        session.add(Patient(**ROW))
        with pytest.raises(kind) as caught:
            session.commit()
        session.rollback()
        assert session.scalar(select(func.count()).select_from(PATIENT)) == 0
    return caught.value


def _refused_read(engine: Engine, kind: type[EncFieldsError]) -> Any:
    with Session(engine) as session, pytest.raises(kind) as caught:
        session.get(Patient, ID)
    return caught.value


def test_the_key_table_is_missing(engine: Engine) -> None:
    attach(engine, local_store())
    error = _refused_flush(engine, ConfigurationError)
    assert error.reason == "no-key-table"
    assert "encryption.keys.create_table()" in str(error)


def test_the_key_is_missing(engine: Engine) -> None:
    attach(engine, local_store()).keys.create_table()
    error = _refused_flush(engine, KeyNotFoundError)
    assert (error.key_id, error.table, error.column) == ("default", "patient", "ssn")
    assert "encryption.keys.create('default')" in str(error)


def test_the_keyring_is_another(backend: Backend, engine: Engine) -> None:
    encryption = attach(engine, local_store(), create=True)
    with engine.begin() as connection:
        connection.execute(insert(PATIENT), ROW)
    encryption.detach()
    attach(engine, local_store())
    error = _refused_read(engine, KeyAccessError)
    assert (error.key_id, error.table, error.column) == ("default", "patient", "ssn")
    with engine.begin() as connection:
        connection.execute(PATIENT.delete())
    _refused_flush(engine, KeyAccessError)


@pytest.mark.parametrize(
    "failure, reason",
    [
        ("refuse", "unreachable"),
        ("reset", "unreachable"),
        ("throttle", "throttled"),
        ("deny", "denied"),
        ("disabled", "disabled"),
        ("error", "error"),
    ],
)
def test_kms_fails(
    engine: Engine, kms: Kms, kms_proxy: KmsProxy, failure: Failure, reason: str
) -> None:
    arn = kms.create_key()
    first = attach(engine, SqlKeyStore(keyrings.aws_kms(arn)), create=True)
    with engine.begin() as connection:
        connection.execute(insert(PATIENT), ROW)
    first.detach()
    attach(engine, SqlKeyStore(keyrings.aws_kms(arn, max_attempts=1)))
    kms_proxy.fail(failure)
    error = _refused_read(engine, KeyUnavailableError)
    assert (error.reason, error.key_id) == (reason, "default")
    with engine.begin() as connection:
        connection.execute(PATIENT.delete())
    assert _refused_flush(engine, KeyUnavailableError).reason == reason
    kms_proxy.heal()
    with Session(engine) as session:
        session.add(Patient(**ROW))
        session.commit()
        assert session.get_one(Patient, ID).ssn == ROW["ssn"]


def test_ten_thousand_rows_cost_a_cold_engine_one_kms_call(
    postgresql: Backend, kms: Kms, kms_proxy: KmsProxy
) -> None:
    arn = kms.create_key()
    writer = postgresql.create_engine()
    Base.metadata.create_all(writer)
    attach(writer, SqlKeyStore(keyrings.aws_kms(arn)), create=True)
    with writer.begin() as connection:
        connection.execute(
            insert(PATIENT),
            [{"id": uuid.UUID(int=n), "ssn": str(n)} for n in range(10_000)],
        )
    reader = postgresql.create_engine()
    encryption = attach(reader, SqlKeyStore(keyrings.aws_kms(arn)))
    kms_proxy.reset()
    with Session(reader) as session:
        read = {patient.id.int: patient.ssn for patient in session.scalars(select(Patient))}
    assert read == {n: str(n) for n in range(10_000)}
    assert kms_proxy.counts == {"Decrypt": 1}
    assert encryption.stats.opened == 10_000
    assert encryption.stats.keys.store_calls == 1


def test_a_missing_key_made_later_is_found(engine: Engine) -> None:
    encryption = attach(engine, SqlKeyStore(keyrings.local(secrets.token_bytes(32))))
    _refused_flush(engine, ConfigurationError)
    encryption.keys.create_table()
    _refused_flush(engine, KeyNotFoundError)
    encryption.keys.create("default")
    with Session(engine) as session:
        session.add(Patient(**ROW))
        session.commit()
