"""A process that is forked after attach() reads and writes with keys that it fetches itself."""

from __future__ import annotations

import os
import secrets
import traceback
import uuid

import pytest
from sqlalchemy import Engine, insert
from sqlalchemy.orm import Session

from encfields import Encryption, SqlKeyStore, attach, keyrings
from encfields.testing import local_store
from tests.attach.model import ID, OTHER, PATIENT, ROW, Base, Patient
from tests.servers.backends import Backend
from tests.servers.kms_proxy import KmsProxy
from tests.servers.moto import Kms

CHILDREN = 3


def _in_child(engine: Engine, encryption: Encryption, number: int) -> int:
    """What a forked child does; its exit status."""
    try:
        engine.dispose(close=False)
        with Session(engine) as session:
            assert session.get_one(Patient, ID).ssn == ROW["ssn"]
            session.add(Patient(id=uuid.UUID(int=100 + number), ssn=f"child {number}"))
            session.commit()
        assert encryption.stats.keys.store_calls >= 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _fork(engine: Engine, encryption: Encryption) -> list[int]:
    children = []
    for number in range(CHILDREN):
        pid = os.fork()
        if pid == 0:
            os._exit(_in_child(engine, encryption, number))
        children.append(pid)
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
def test_forked_children_read_and_write(postgresql: Backend, warm: bool) -> None:
    key = secrets.token_bytes(32)
    first = postgresql.create_engine()
    Base.metadata.create_all(first)
    attach(first, local_store(key), create=True)
    with first.begin() as connection:
        connection.execute(insert(PATIENT), ROW)
    engine = postgresql.create_engine()
    encryption = attach(engine, local_store(key))
    if warm:
        encryption.prefetch()
    assert _fork(engine, encryption) == [0] * CHILDREN
    with Session(engine) as session:
        for number in range(CHILDREN):
            child = session.get_one(Patient, uuid.UUID(int=100 + number))
            assert child.ssn == f"child {number}"


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forked_children_ask_kms_through_clients_of_their_own(
    postgresql: Backend, kms: Kms, kms_proxy: KmsProxy
) -> None:
    engine = postgresql.create_engine()
    Base.metadata.create_all(engine)
    encryption = attach(engine, SqlKeyStore(keyrings.aws_kms(kms.create_key())), create=True)
    with engine.begin() as connection:
        connection.execute(insert(PATIENT), [ROW, {"id": OTHER, "ssn": "x"}])
    kms_proxy.reset()
    assert _fork(engine, encryption) == [0] * CHILDREN
    # One to read, one to write: the active version is asked for under its own name.
    assert kms_proxy.counts["Decrypt"] <= 2 * CHILDREN
    assert kms_proxy.counts["Decrypt"] >= CHILDREN
