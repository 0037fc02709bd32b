"""A process learns of a second beacon key version when a column first asks for it."""

from __future__ import annotations

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, insert, select

from encfields import BlindIndex, EncryptedType, SqlKeyStore, attach, keyrings
from encfields.errors import KeyNotFoundError, KeyUnavailableError
from tests.turns import databases_by_turns

pytestmark = databases_by_turns


def patients(*versions: int) -> Table:
    return Table(
        "patient",
        MetaData(),
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("ssn", EncryptedType(index=BlindIndex(versions=versions))),
    )


def find(engine, table, ssn):
    with engine.connect() as connection:
        return connection.scalars(select(table.c.id).where(table.c.ssn == ssn)).all()


def add(engine, table, row_id, ssn):
    with engine.begin() as connection:
        connection.execute(insert(table), {"id": row_id, "ssn": ssn})


@pytest.fixture
def arn(kms):
    return kms.create_key()


@pytest.fixture
def processes(backend, arn, kms_proxy):
    """Two engines on one database, each with a cache of its own, as two processes have."""
    made = []
    for _ in range(2):
        engine = backend.create_engine()
        keyring = keyrings.aws_kms(arn, max_attempts=1)
        encryption = attach(engine, SqlKeyStore(keyring), create=True)
        made.append((engine, encryption))
    patients(1, 2).create(made[0][0])
    return made


def test_a_version_made_elsewhere_is_used_at_once(processes):
    (there, encryption), (here, _) = processes
    add(here, patients(1), 1, "a")
    encryption.keys.rotate_beacon("default")

    add(here, patients(1, 2), 2, "b")

    assert find(there, patients(2), "b") == [2]
    assert find(here, patients(1, 2), "a") == [1]


def test_a_version_that_does_not_exist_is_looked_for_at_most_once_a_second(processes, kms_proxy):
    engine, _ = processes[0]
    add(engine, patients(1), 1, "a")
    before = kms_proxy.counts.total()
    for _ in range(20):
        with pytest.raises(KeyNotFoundError, match="no version 2, only 1"):
            find(engine, patients(2), "a")
    assert kms_proxy.counts.total() - before < 20


def test_looking_for_a_version_in_an_outage_takes_nothing_from_the_others(processes, kms_proxy):
    engine, _ = processes[0]
    add(engine, patients(1), 1, "a")
    kms_proxy.fail("refuse")

    with pytest.raises(KeyUnavailableError):
        find(engine, patients(2), "a")

    assert find(engine, patients(1), "a") == [1]
