"""One table, two programs: ours, and AWS's client with its hierarchical keyring, unmodified."""

from __future__ import annotations

import pytest
from aws_cryptographic_material_providers.keystore import models
from aws_encryption_sdk.identifiers import AlgorithmSuite
from sqlalchemy.orm import Session

from encfields import attach
from encfields.interop import column_context, materials_manager
from tests.dynamodb import fleet
from tests.interop.model import Base, Note, Patient
from tests.interop.raw import store as put
from tests.interop.raw import stored

SUITE = AlgorithmSuite.AES_256_GCM_HKDF_SHA512_COMMIT_KEY


@pytest.fixture
def engine(backend):
    engine = backend.create_engine()
    Base.metadata.create_all(engine)
    return engine


@pytest.fixture
def stock_store(kms, table_name, arn):
    return fleet.key_store(kms, table_name, arn)


def test_a_column_is_read_and_written_by_the_stock_keyring(engine, store, stock_store, client):
    store.create("default")
    attach(engine, store)
    with Session(engine) as session:
        session.add(Patient(id=42, ssn="123-45-6789"))
        session.commit()
    context = column_context(Patient.ssn, {"id": 42})
    keyring = fleet.hierarchical_keyring(stock_store)
    plaintext, header = client.decrypt(
        source=stored(engine, "patient.ssn", 42), keyring=keyring, encryption_context=context
    )
    assert plaintext == b"123-45-6789"
    (edk,) = header.encrypted_data_keys
    assert edk.key_provider.provider_id == "aws-kms-hierarchy"
    assert edk.key_provider.key_info == b"default"

    message, _ = client.encrypt(
        source=b"987-65-4321", keyring=keyring, encryption_context=context, algorithm=SUITE
    )
    put(engine, "patient.ssn", 42, message)
    with Session(engine) as session:
        assert session.get_one(Patient, 42).ssn == "987-65-4321"


def test_a_tenants_key_that_the_stock_key_store_made_serves_us(engine, store, stock_store, client):
    stock_store.create_key(
        models.CreateKeyInput(
            branch_key_identifier="tenant/7", encryption_context={"made by": "an administrator"}
        )
    )
    assert [one.id for one in store.list()] == ["tenant/7"]
    attach(engine, store)
    with Session(engine) as session:
        session.add(Note(id=1, tenant_id=7, body="first"))
        session.commit()
    context = column_context(Note.body, {"id": 1, "tenant_id": 7})
    plaintext, _ = client.decrypt(
        source=stored(engine, "note.body", 1),
        keyring=fleet.hierarchical_keyring(stock_store, "tenant/7"),
        encryption_context=context,
    )
    assert plaintext == b"first"


def test_either_side_may_rotate(sqlite, store, stock_store, client):
    store.create("default")
    encryption = attach(sqlite.create_engine(), store)
    context = {"a": "1"}

    def theirs() -> bytes:
        message, _ = client.encrypt(
            source=b"v",
            keyring=fleet.hierarchical_keyring(stock_store),
            encryption_context=context,
            algorithm=SUITE,
        )
        return bytes(message)

    messages = [encryption.seal(b"v", context), theirs()]
    encryption.keys.rotate("default")
    messages += [encryption.seal(b"v", context), theirs()]
    stock_store.version_key(models.VersionKeyInput(branch_key_identifier="default"))
    encryption._cache.clear()
    messages += [encryption.seal(b"v", context), theirs()]
    assert len(store.list()) == 3
    for message in messages:
        assert encryption.open(message, context) == b"v"
        keyring = fleet.hierarchical_keyring(stock_store)
        assert client.decrypt(source=message, keyring=keyring)[0] == b"v"


def test_our_materials_manager_stands_on_this_store_as_on_any_other(store, stock_store, client):
    store.create("default")
    manager, context = materials_manager(store), {"a": "1"}
    keyring = fleet.hierarchical_keyring(stock_store)
    ours, _ = client.encrypt(source=b"v", materials_manager=manager, encryption_context=context)
    theirs, _ = client.encrypt(
        source=b"v", keyring=keyring, encryption_context=context, algorithm=SUITE
    )
    for message, keys in ((ours, {"keyring": keyring}), (theirs, {"materials_manager": manager})):
        assert client.decrypt(source=message, encryption_context=context, **keys)[0] == b"v"


def test_both_see_the_same_beacon_key(store, stock_store):
    store.create("default")
    found = stock_store.get_beacon_key(models.GetBeaconKeyInput(branch_key_identifier="default"))
    assert found.beacon_key_materials.beacon_key == store.beacon("default")
