"""No wrapping key and no branch key shows in anything that is printed, logged or pickled."""

from __future__ import annotations

import base64
import copy
import logging
import pickle
import secrets
import traceback
from typing import Any

import pytest
from sqlalchemy import Engine, insert, select

from encfields import Encryption, SqlKeyStore, attach, keyrings
from encfields.errors import KeyAccessError
from encfields.testing import assert_absent
from tests.leaks.model import Base, Patient, secrets_of_a_patient
from tests.servers.backends import Backend
from tests.servers.kms_proxy import KmsProxy
from tests.servers.moto import Kms
from tests.turns import databases_by_turns, on_each_database

pytestmark = databases_by_turns

ROW: dict[str, Any] = {"id": 1, "name": "a", **secrets_of_a_patient()}


class Keys:
    """An attached engine that has stored and read a value, and the secrets behind it."""

    def __init__(self, backend: Backend) -> None:
        self.wrapping = secrets.token_bytes(32)
        self.engine: Engine = backend.create_engine(echo=True)
        self.store = SqlKeyStore(keyrings.local(self.wrapping))
        self.encryption: Encryption = attach(self.engine, self.store, create=True)
        Base.metadata.create_all(self.engine)
        with self.engine.begin() as connection:
            connection.execute(insert(Patient), [ROW])
            connection.execute(select(Patient.ssn)).all()
        self.encryption.keys.rotate("default")
        self.branch = self.store.active("default").material
        self.beacon = self.store.beacon("default")

    def assert_nothing_shows(self, *places: object) -> None:
        __tracebackhide__ = True
        for secret in (self.wrapping, self.branch, self.beacon):
            assert_absent(secret, *places)


@pytest.fixture
def keys(backend: Backend, log: pytest.LogCaptureFixture) -> Keys:
    return Keys(backend)


@on_each_database
def test_in_any_log(backend: Backend, log: pytest.LogCaptureFixture) -> None:
    keys = Keys(backend)
    assert any("INSERT INTO patient" in record.getMessage() for record in log.records)
    assert any(record.levelno == logging.DEBUG for record in log.records)
    keys.assert_nothing_shows(log.records, log.text)


def test_in_any_repr(keys: Keys) -> None:
    encryption, store = keys.encryption, keys.store
    keys.assert_nothing_shows(
        encryption, encryption.keys, encryption.stats, encryption.keys.list(), store,
        store._wrapper.current, store.keyring, store.active("default"), keys.engine,
        keys.engine.dialect, vars(encryption), vars(store),
    )  # fmt: skip


@on_each_database
def test_the_password_of_the_database_does_not_show(keys: Keys) -> None:
    password = keys.engine.url.password
    shown = repr(keys.encryption)
    assert not password or password not in shown
    assert keys.engine.dialect.name in shown


@pytest.mark.parametrize("dump", [pickle.dumps, copy.deepcopy])
def test_keys_and_keyrings_are_never_pickled(keys: Keys, dump: Any) -> None:
    key = keys.store.active("default")
    if dump is pickle.dumps:
        with pytest.raises(TypeError) as caught:
            dump(key)
        keys.assert_nothing_shows(caught.value)
    with pytest.raises(TypeError) as caught:
        dump(keys.store.keyring)
    keys.assert_nothing_shows(caught.value)


@pytest.mark.parametrize("name", ["encryption", "store"])
def test_an_encryption_or_a_store_is_never_pickled(keys: Keys, name: str) -> None:
    with pytest.raises((TypeError, AttributeError, pickle.PicklingError)) as caught:
        pickle.dumps(getattr(keys, name))
    keys.assert_nothing_shows(caught.value)


def test_in_the_error_of_a_wrong_wrapping_key(keys: Keys, backend: Backend) -> None:
    wrong = secrets.token_bytes(32)
    engine = backend.create_engine()
    attach(engine, SqlKeyStore(keyrings.local(wrong)))
    with pytest.raises(KeyAccessError) as caught, engine.connect() as connection:
        connection.execute(select(Patient.ssn)).all()
    printed = "".join(traceback.format_exception(caught.value))
    keys.assert_nothing_shows(caught.value, printed)
    assert_absent(wrong, caught.value, printed)


def test_in_the_key_table(keys: Keys) -> None:
    with keys.engine.connect() as connection:
        keys.assert_nothing_shows(list(connection.execute(select(keys.store.table)).mappings()))


def test_what_kms_answers_is_not_logged_by_us_by_botocore_or_the_aws_library(
    backend: Backend, kms: Kms, kms_proxy: KmsProxy, caplog: pytest.LogCaptureFixture
) -> None:
    arn = kms.create_key()
    with caplog.at_level(logging.DEBUG):
        first = backend.create_engine()
        attach(first, SqlKeyStore(keyrings.aws_kms(arn)), create=True).prefetch()
        engine = backend.create_engine()
        store = SqlKeyStore(keyrings.aws_kms(arn))
        attach(engine, store).prefetch()
        branch = store.active("default").material
    (decrypt, *_) = [call for call in kms_proxy.calls if call.action == "Decrypt"]
    answer = kms.client().decrypt(
        CiphertextBlob=base64.b64decode(decrypt.request["CiphertextBlob"]),
        EncryptionContext=decrypt.request["EncryptionContext"],
    )
    assert {"botocore", "aws_encryption_sdk"} <= {r.name.split(".")[0] for r in caplog.records}
    for secret in (answer["Plaintext"], branch):
        assert_absent(secret, caplog.records, caplog.text)
