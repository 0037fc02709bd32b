"""What an encryption counts, and what prefetch() saves."""

from __future__ import annotations

import secrets

import pytest
from sqlalchemy import Engine, insert, select, update
from sqlalchemy.orm import Session

from encfields import attach
from encfields.engine import engine_encryption
from encfields.testing import attach_locally, local_store
from tests.attach.model import ID, OTHER, PATIENT, ROW, Patient
from tests.servers.backends import Backend
from tests.turns import databases_by_turns

pytestmark = databases_by_turns


def test_each_value_is_counted_once(engine: Engine) -> None:
    encryption = attach_locally(engine)
    with engine.begin() as connection:
        connection.execute(insert(PATIENT), [ROW, {"id": OTHER, "ssn": None}])
        connection.execute(update(PATIENT).where(PATIENT.c.id == OTHER).values(ssn="x"))
        assert (encryption.stats.sealed, encryption.stats.opened) == (2, 0)
        connection.execute(select(PATIENT)).all()
        assert (encryption.stats.sealed, encryption.stats.opened) == (2, 2)


def test_values_outside_sqlalchemy_are_counted(engine: Engine) -> None:
    encryption = attach_locally(engine)
    encryption.open(encryption.seal(b"x", {}), {})
    assert (encryption.stats.sealed, encryption.stats.opened) == (1, 1)


def test_a_value_that_does_not_open_is_not_counted(engine: Engine) -> None:
    encryption = attach_locally(engine)
    message = encryption.seal(b"x", {})
    with pytest.raises(Exception, match="sealed for"):
        encryption.open(message, {"other": "place"})
    assert encryption.stats.opened == 0


def test_prefetch_loads_the_keys_so_that_no_value_waits(backend: Backend, engine: Engine) -> None:
    key = secrets.token_bytes(32)
    first = attach(engine, local_store(key), create=True)
    first.keys.rotate("default")
    first.keys.create("other")
    with engine.begin() as connection:
        connection.execute(insert(PATIENT), ROW)
    cold = backend.create_engine()
    encryption = attach(cold, local_store(key))
    assert encryption.prefetch() == 3
    calls = encryption.stats.keys.store_calls
    with Session(cold) as session:
        assert session.get_one(Patient, ID).ssn == ROW["ssn"]
        session.add(Patient(id=OTHER, ssn="x"))
        session.commit()
    assert encryption.stats.keys.store_calls == calls


def test_prefetch_of_some_keys(backend: Backend, engine: Engine) -> None:
    key = secrets.token_bytes(32)
    attach(engine, local_store(key), create=True).keys.create("other")
    encryption = attach(backend.create_engine(), local_store(key))
    assert encryption.prefetch(["other"]) == 1
    assert encryption.prefetch([]) == 0
    assert encryption.prefetch() == 2


async def test_aprefetch_is_prefetch_for_a_coroutine(backend: Backend, engine: Engine) -> None:
    key = secrets.token_bytes(32)
    engine_encryption(attach(engine, local_store(key), create=True)).active_key("default")
    encryption = attach(backend.create_engine(), local_store(key))
    assert await encryption.aprefetch(["default"]) == 1
