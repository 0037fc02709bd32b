"""The unmodified AWS client opens and writes column values through our materials manager."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import uuid
from pathlib import Path
from typing import Any

import pytest
from aws_cryptographic_material_providers.mpl.client import AwsCryptographicMaterialProviders
from aws_cryptographic_material_providers.mpl.config import MaterialProvidersConfig
from aws_cryptographic_material_providers.mpl.models import (
    CreateRequiredEncryptionContextCMMInput,
)
from aws_encryption_sdk import CommitmentPolicy, EncryptionSDKClient
from aws_encryption_sdk.exceptions import AWSEncryptionSDKClientError
from aws_encryption_sdk.identifiers import AlgorithmSuite
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from encfields import Encryption, SqlKeyStore
from encfields.branch_key import BranchKey
from encfields.context import COLUMN_KEY, RowContext, serialize
from encfields.errors import (
    BindingError,
    ConfigurationError,
    ContextMismatchError,
    KeyNotFoundError,
    MalformedMessageError,
    TamperedError,
    UnknownIdentityError,
)
from encfields.interop import column_context, column_key, materials_manager
from encfields.keys.store import KeyStore
from encfields.keys.versions import KeyVersion
from encfields.message import open_, seal
from tests.interop.model import Note, Patient
from tests.interop.raw import store, stored
from tests.message import stock

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
contexts = st.dictionaries(
    text.filter(lambda name: name and not name.startswith("aws-crypto-")), text, max_size=6
)
modest = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def manager(encryption: Encryption) -> Any:
    return materials_manager(encryption)


def opened(client: Any, message: bytes, manager: Any, context: dict[str, str] | None) -> bytes:
    plaintext: bytes = client.decrypt(
        source=message, materials_manager=manager, encryption_context=context
    )[0]
    return plaintext


# -- a real column, both directions --------------------------------------------------------------


def test_the_stock_client_opens_what_a_column_holds(engine, client, manager):
    with Session(engine) as session:
        session.add(Patient(id=42, ssn="123-45-6789 č", notes={"a": 1}))
        session.commit()
    context = column_context(Patient.ssn, {"id": 42})
    assert context == {"enc:column": "patient.ssn", "enc:row:id": "42"}
    assert opened(client, stored(engine, "patient.ssn", 42), manager, context) == (
        "123-45-6789 č".encode()
    )
    context = column_context(Patient.__table__.c.notes, {"id": 42})
    assert opened(client, stored(engine, "patient.notes", 42), manager, context) == b'{"a":1}'


@pytest.mark.parametrize("size", [0, 11, 4097, 100_000])
def test_the_application_reads_what_the_stock_client_wrote(engine, client, manager, size):
    with Session(engine) as session:
        session.add(Patient(id=42, ssn="old"))
        session.commit()
    context = column_context(Patient.ssn, {"id": 42})
    message, header = client.encrypt(
        source=b"x" * size, materials_manager=manager, encryption_context=context
    )
    assert header.algorithm == AlgorithmSuite.AES_256_GCM_HKDF_SHA512_COMMIT_KEY
    store(engine, "patient.ssn", 42, message)
    with Session(engine) as session:
        assert session.get_one(Patient, 42).ssn == "x" * size


def test_a_tenants_key_is_chosen_from_the_context(engine, encryption, client):
    with Session(engine) as session:
        session.add(Note(id=1, tenant_id=7, body="first"))
        session.commit()
    manager = materials_manager(encryption, key=column_key(Note.body))
    context = column_context(Note.body, {"id": 1, "tenant_id": 7})
    assert opened(client, stored(engine, "note.body", 1), manager, context) == b"first"
    message, header = client.encrypt(
        source=b"second", materials_manager=manager, encryption_context=context
    )
    (edk,) = header.encrypted_data_keys
    assert edk.key_provider.provider_id == "aws-kms-hierarchy"
    assert edk.key_provider.key_info == b"tenant/7"
    store(engine, "note.body", 1, message)
    with Session(engine) as session:
        assert session.get_one(Note, 1).body == "second"


def test_another_tenants_key_is_refused_unless_it_is_a_former_one(engine, encryption, client):
    context = column_context(Note.body, {"id": 1, "tenant_id": 7})
    forged = encryption.seal(b"forged", context, key="tenant/8")
    asked = dict(encryption.stats.keys.by_key)
    manager = materials_manager(encryption, key=column_key(Note.body))
    with pytest.raises(TamperedError, match=r"tenant/8.*tenant/7"):
        opened(client, forged, manager, context)
    assert dict(encryption.stats.keys.by_key) == asked
    manager = materials_manager(encryption, key=column_key(Note.body), former_keys=["tenant/8"])
    assert opened(client, forged, manager, context) == b"forged"


def test_the_columns_key_is_that_of_its_own_places_only(encryption):
    key_id = column_key(Note.body)
    assert key_id(column_context(Note.body, {"id": 1, "tenant_id": 7})) == "tenant/7"
    assert column_key(Patient.ssn)({"enc:column": "patient.ssn", "enc:row:id": "1"}) == "default"
    for context in ({}, {"enc:row:tenant_id": "7"}, column_context(Patient.ssn, {"id": 1})):
        with pytest.raises(ContextMismatchError):
            key_id(context)


def test_a_key_store_alone_serves_another_process(backend, engine, encryption, client):
    with Session(engine) as session:
        session.add(Patient(id=1, ssn="one"))
        session.commit()
    keyring = encryption._store.keyring
    elsewhere = SqlKeyStore(keyring, engine=backend.create_engine())
    manager = materials_manager(elsewhere)
    context = column_context(Patient.ssn, {"id": 1})
    assert opened(client, stored(engine, "patient.ssn", 1), manager, context) == b"one"


def test_after_a_rotation_both_versions_open_and_the_new_one_writes(sqlite, client):
    store_, manager = _local(sqlite)
    before, _ = client.encrypt(source=b"v", materials_manager=manager, encryption_context={})
    old, new = store_.active("default").version, store_.rotate("default").version
    fresh = materials_manager(store_)
    after, header = client.encrypt(source=b"v", materials_manager=fresh, encryption_context={})
    (edk,) = header.encrypted_data_keys
    assert edk.encrypted_data_key[28:44] == uuid.UUID(new).bytes
    assert old != new
    for message in (before, after):
        assert client.decrypt(source=message, materials_manager=fresh)[0] == b"v"


# -- property tests against our own writer and reader, and AWS's hierarchical keyring --------------


@pytest.fixture(scope="module")
def key() -> BranchKey:
    return BranchKey("tenant/42", str(uuid.uuid4()), os.urandom(32))


class OneKey(KeyStore):
    """A key store of one key."""

    name = "one"

    def __init__(self, key: BranchKey) -> None:
        self.key = key

    def active(self, key_id: str) -> BranchKey:
        return self.key

    def version(self, key_id: str, version: str) -> BranchKey:
        if (key_id, version) != (self.key.id, self.key.version):
            raise KeyNotFoundError("no such key", key_id=key_id)
        return self.key

    def beacon(self, key_id: str) -> bytes:
        return bytes(32)

    def create(self, key_id: str) -> KeyVersion:
        raise AssertionError("nobody asks for it")

    rotate = create

    def list(self) -> list[KeyVersion]:
        return []


@pytest.fixture(scope="module")
def module_manager(key):
    return materials_manager(OneKey(key), key=key.id)


@pytest.fixture(scope="module")
def keyring(key):
    return stock.hierarchical_keyring(key)


@modest
@given(pairs=contexts, plaintext=st.binary(max_size=300))
def test_any_context_and_value_agree_with_our_writer_and_reader(
    client, key, module_manager, pairs, plaintext
):
    ours = seal(plaintext, serialize(pairs), key)
    assert opened(client, ours, module_manager, pairs) == plaintext
    theirs, _ = client.encrypt(
        source=plaintext, materials_manager=module_manager, encryption_context=pairs
    )
    assert open_(theirs, serialize(pairs), lambda *_: key, (key.id,)) == plaintext


@modest
@given(pairs=contexts, plaintext=st.binary(max_size=300))
def test_it_stands_in_for_awss_hierarchical_keyring(
    client, keyring, module_manager, pairs, plaintext
):
    suite = AlgorithmSuite.AES_256_GCM_HKDF_SHA512_COMMIT_KEY
    theirs, _ = client.encrypt(
        source=plaintext, keyring=keyring, encryption_context=pairs, algorithm=suite
    )
    assert opened(client, theirs, module_manager, pairs) == plaintext
    ours, _ = client.encrypt(
        source=plaintext, materials_manager=module_manager, encryption_context=pairs
    )
    assert client.decrypt(source=ours, keyring=keyring, encryption_context=pairs)[0] == plaintext


@modest
@given(
    column=text.filter(bool),
    row=st.dictionaries(text.filter(bool), text, min_size=1, max_size=4),
    size=st.one_of(st.integers(0, 300), st.sampled_from([4095, 4096, 4097, 70_000])),
)
def test_the_context_of_any_column_and_row_is_the_stock_clients(
    client, key, keyring, module_manager, column, row, size
):
    context, plaintext = RowContext(column, list(row)), bytes(size)
    message = seal(plaintext, context.serialize(list(row.values())), key)
    pairs = context.as_dict(list(row.values()))
    for keys in ({"keyring": keyring}, {"materials_manager": module_manager}):
        opened_, _ = client.decrypt(source=message, encryption_context=pairs, **keys)
        assert opened_ == plaintext
    other = {**pairs, COLUMN_KEY: column + "x"}
    for keys in ({"keyring": keyring}, {"materials_manager": module_manager}):
        with pytest.raises((ContextMismatchError, AWSEncryptionSDKClientError)):
            client.decrypt(source=message, encryption_context=other, **keys)


def test_several_frames_and_members_of_a_multi_keyring_open(client, key, keyring, module_manager):
    plaintext = os.urandom(10_000)
    raw = stock.raw_aes_keyring(os.urandom(32))
    for members in ((keyring, raw), (raw, keyring)):
        message, _ = client.encrypt(
            source=plaintext,
            keyring=stock.multi_keyring(*members),
            encryption_context={"a": "b"},
            frame_length=512,
            algorithm=AlgorithmSuite.AES_256_GCM_HKDF_SHA512_COMMIT_KEY,
        )
        assert opened(client, message, module_manager, {"a": "b"}) == plaintext


def test_threads_share_one(client, key, module_manager):
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            context = {"thread": str(number)}
            for _ in range(20):
                message, _header = client.encrypt(
                    source=b"v", materials_manager=module_manager, encryption_context=context
                )
                assert opened(client, message, module_manager, context) == b"v"
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


# -- the context is checked ------------------------------------------------------------------------


def test_a_value_of_another_row_is_refused_and_both_are_named(engine, client, manager):
    with Session(engine) as session:
        session.add_all([Patient(id=1, ssn="one"), Patient(id=2, ssn="two")])
        session.commit()
    store(engine, "patient.ssn", 1, stored(engine, "patient.ssn", 2))
    expected = column_context(Patient.ssn, {"id": 1})
    with pytest.raises(ContextMismatchError) as caught:
        opened(client, stored(engine, "patient.ssn", 1), manager, expected)
    assert caught.value.expected == expected
    assert caught.value.found == {"enc:column": "patient.ssn", "enc:row:id": "2"}


@pytest.mark.parametrize(
    "given_context", [None, {}, {"a": "1"}, {"a": "1", "b": "3"}, {"a": "1", "b": "2", "c": "3"}]
)
def test_no_context_a_part_of_it_and_more_than_it_are_refused(
    client, key, module_manager, given_context
):
    message = seal(b"v", serialize({"a": "1", "b": "2"}), key)
    with pytest.raises(ContextMismatchError):
        opened(client, message, module_manager, given_context)


def test_on_request_a_part_of_the_context_is_enough_but_never_another(client, key):
    manager = materials_manager(OneKey(key), key=key.id, require_context=False)
    message = seal(b"v", serialize({"a": "1", "b": "2"}), key)
    for given_context in (None, {}, {"a": "1"}, {"a": "1", "b": "2"}):
        assert opened(client, message, manager, given_context) == b"v"
    for given_context in ({"a": "2"}, {"c": "3"}, {"a": "1", "c": "3"}):
        with pytest.raises(ContextMismatchError):
            opened(client, message, manager, given_context)


def test_awss_required_context_manager_over_it_stores_a_pair_less(client, key, module_manager):
    providers = AwsCryptographicMaterialProviders(config=MaterialProvidersConfig())
    required = providers.create_required_encryption_context_cmm(
        CreateRequiredEncryptionContextCMMInput(
            underlying_cmm=module_manager, required_encryption_context_keys=["a"]
        )
    )
    # A column value stores its whole context: what is not stored is not ours to open.
    with pytest.raises(AWSEncryptionSDKClientError):
        client.encrypt(source=b"v", materials_manager=required, encryption_context={"a": "1"})


# -- refusals --------------------------------------------------------------------------------------


def test_every_altered_byte_is_refused(client, key, module_manager):
    message = seal(b"value", serialize({"a": "1"}), key)
    for place in range(len(message)):
        altered = bytearray(message)
        altered[place] ^= 1
        with pytest.raises(Exception):  # noqa: B017, PT011  the stock client's and ours
            opened(client, bytes(altered), module_manager, {"a": "1"})


def test_an_altered_data_key_is_our_error(client, key, module_manager):
    message = bytearray(seal(b"value", b"", key))
    start = bytes(message).index(b"\x00\x5c") + 2
    message[start] ^= 1
    with pytest.raises(TamperedError):
        opened(client, bytes(message), module_manager, {})


def test_a_message_of_other_keyrings_is_refused(client, module_manager):
    raw = stock.raw_aes_keyring(os.urandom(32))
    committed, _ = client.encrypt(
        source=b"v", keyring=raw, algorithm=AlgorithmSuite.AES_256_GCM_HKDF_SHA512_COMMIT_KEY
    )
    with pytest.raises(MalformedMessageError) as caught:
        opened(client, committed, module_manager, {})
    assert caught.value.reason == "keyring"


def test_a_signed_suite_is_refused_in_both_directions(client, keyring, module_manager):
    signed = AlgorithmSuite.AES_256_GCM_HKDF_SHA512_COMMIT_KEY_ECDSA_P384
    message, _ = client.encrypt(source=b"v", keyring=keyring, algorithm=signed)
    with pytest.raises(MalformedMessageError) as caught:
        opened(client, message, module_manager, {})
    assert caught.value.reason == "suite"
    with pytest.raises(ConfigurationError):
        client.encrypt(source=b"v", materials_manager=module_manager, algorithm=signed)


def test_a_client_that_forbids_commitment_writes_nothing(module_manager):
    client = EncryptionSDKClient(commitment_policy=CommitmentPolicy.FORBID_ENCRYPT_ALLOW_DECRYPT)
    with pytest.raises(ConfigurationError):
        client.encrypt(source=b"v", materials_manager=module_manager, encryption_context={})


def test_what_the_key_store_lacks_is_said_in_our_words(client, key):
    stranger = BranchKey("stranger", str(uuid.uuid4()), os.urandom(32))
    manager = materials_manager(OneKey(key), key="stranger")
    with pytest.raises(KeyNotFoundError):
        opened(client, seal(b"v", b"", stranger), manager, {})


def test_an_unusable_context_is_refused(client, module_manager):
    with pytest.raises((BindingError, AWSEncryptionSDKClientError)):
        client.encrypt(
            source=b"v",
            materials_manager=module_manager,
            encryption_context={"aws-crypto-x": "reserved"},
        )


def test_column_context_says_what_is_missing():
    with pytest.raises(ConfigurationError):
        column_context(Patient.id, {"id": 1})
    with pytest.raises(UnknownIdentityError, match="tenant_id"):
        column_context(Note.body, {"id": 1})
    with pytest.raises(UnknownIdentityError):
        column_context(Patient.ssn, {"id": "one"})


def test_no_key_shows(key, module_manager):
    assert key.material.hex() not in repr(module_manager)


# -- the example -----------------------------------------------------------------------------------


def test_the_example_runs():
    script = Path(__file__).parents[2] / "examples" / "interop.py"
    told = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=240)
    assert told.returncode == 0, told.stderr
    assert "the stock client opens: 123-45-6789" in told.stdout
    assert "the application reads what it wrote: 111-22-3333" in told.stdout
    assert "refused: the value was sealed for" in told.stdout
    # From Python 3.13 on, closing what it did not open is reported of AWS's client, and only that.
    reported = [line for line in told.stderr.splitlines() if line.startswith("Exception ignored")]
    assert len(reported) <= 1
    assert all("<aws_encryption_sdk.streaming_client" in line for line in reported)
    assert reported or told.stderr == ""


def _local(backend: Any) -> tuple[SqlKeyStore, Any]:
    from encfields import keyrings

    made = SqlKeyStore(keyrings.local(os.urandom(32)), engine=backend.create_engine())
    made.create_table()
    made.create("default")
    return made, materials_manager(made)
