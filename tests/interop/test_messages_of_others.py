"""A message of AWS's SDK that lacks what a column demands is told what that is.

The other SDKs write the same bytes: ``golden/test_other_sdks.py``, ``conformance/``.
"""

from __future__ import annotations

import base64
import os
from typing import Any

import pytest
from aws_encryption_sdk import CommitmentPolicy, EncryptionSDKClient
from aws_encryption_sdk.identifiers import AlgorithmSuite
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from encfields import Encryption
from encfields.engine import engine_encryption
from encfields.errors import (
    ContextMismatchError,
    DecryptionError,
    MalformedMessageError,
    TamperedError,
)
from encfields.interop import column_context, materials_manager
from tests.interop.model import Base, Patient
from tests.interop.raw import store
from tests.message import stock
from tests.servers.backends import Backend

OURS = AlgorithmSuite.AES_256_GCM_HKDF_SHA512_COMMIT_KEY
CONTEXT = column_context(Patient.ssn, {"id": 1})
COLUMN, ROW = CONTEXT


@pytest.fixture
def engine(sqlite: Backend) -> Engine:
    engine = sqlite.create_engine()
    Base.metadata.create_all(engine)
    return engine


@pytest.fixture
def keyring(encryption: Encryption) -> Any:
    """AWS's hierarchical keyring, over the column's own branch key."""
    return stock.hierarchical_keyring(engine_encryption(encryption).active_key("default"))


@pytest.fixture
def column(engine: Engine, encryption: Encryption) -> Any:
    """Reads what lies in the column, after it was put there past us."""
    with Session(engine) as session:
        session.add(Patient(id=1, ssn="written here"))
        session.commit()

    def read(message: bytes) -> str | None:
        store(engine, "patient.ssn", 1, message)
        with Session(engine) as session:
            return session.get_one(Patient, 1).ssn

    return read


def sealed(client: Any, context: dict[str, str] = CONTEXT, **how: Any) -> bytes:
    message, _ = client.encrypt(source=b"123-45-6789", encryption_context=context, **how)
    return bytes(message)


def refusal(column: Any, message: bytes) -> DecryptionError:
    with pytest.raises(DecryptionError, match=r"patient\.ssn, row id=1") as caught:
        column(message)
    return caught.value


def test_what_lacks_nothing_is_read(column, client, keyring):
    assert column(sealed(client, keyring=keyring, algorithm=OURS)) == "123-45-6789"
    unframed = sealed(client, keyring=keyring, algorithm=OURS, frame_length=0)
    assert column(unframed) == "123-45-6789"


def test_of_several_data_keys_the_columns_own_is_enough(column, client, keyring):
    both = stock.multi_keyring(keyring, stock.raw_aes_keyring(os.urandom(32)))
    assert column(sealed(client, keyring=both, algorithm=OURS)) == "123-45-6789"


def test_a_suite_that_signs_is_told_so(column, client, keyring):
    error = refusal(column, sealed(client, keyring=keyring))
    assert isinstance(error, MalformedMessageError)
    assert error.reason == "suite"
    assert "0x0578, not 0x0478: it signs its messages" in str(error)
    assert "commit" not in error.message.partition("Whoever")[0]


@pytest.mark.parametrize("signed", [False, True])
def test_the_error_for_a_suite_without_key_commitment_names_the_policy(column, keyring, signed):
    lax = EncryptionSDKClient(commitment_policy=CommitmentPolicy.FORBID_ENCRYPT_ALLOW_DECRYPT)
    suite = (
        AlgorithmSuite.AES_256_GCM_IV12_TAG16_HKDF_SHA384_ECDSA_P384
        if signed
        else AlgorithmSuite.AES_256_GCM_IV12_TAG16_HKDF_SHA256
    )
    error = refusal(column, sealed(lax, keyring=keyring, algorithm=suite))
    assert error.reason == "suite"
    assert "does not commit to its key" in str(error)
    assert "RequireEncryptRequireDecrypt" in str(error)
    assert ("signs its messages" in str(error)) is signed


def test_the_data_keys_of_other_keyrings_are_named(column, client, encryption):
    raw = stock.raw_aes_keyring(os.urandom(32))
    message = sealed(client, keyring=raw, algorithm=OURS)
    error = refusal(column, message)
    assert error.reason == "keyring"
    assert "no data key of the AWS KMS hierarchical keyring" in str(error)
    with pytest.raises(MalformedMessageError, match="must use a hierarchical keyring") as caught:
        client.decrypt(
            source=message,
            materials_manager=materials_manager(encryption),
            encryption_context=CONTEXT,
        )
    assert caught.value.reason == "keyring"


def test_another_branch_key_is_named(column, client, encryption):
    encryption.keys.create("other")
    other = stock.hierarchical_keyring(engine_encryption(encryption).active_key("other"))
    error = refusal(column, sealed(client, keyring=other, algorithm=OURS))
    assert isinstance(error, TamperedError)
    assert "the branch key 'other', but only 'default' is allowed" in str(error)


@pytest.mark.parametrize("lacking", [[COLUMN], [ROW], [COLUMN, ROW]])
def test_pairs_that_the_context_lacks_are_named(column, client, keyring, lacking):
    context = {name: text for name, text in CONTEXT.items() if name not in lacking}
    error = refusal(column, sealed(client, context, keyring=keyring, algorithm=OURS))
    assert isinstance(error, ContextMismatchError)
    assert f"lacks {', '.join(map(repr, lacking))}." in str(error)


def test_pairs_that_a_materials_manager_left_out_of_the_message_are_named(column, client, keyring):
    leaving_out = stock.required_context_manager(keyring, [ROW])
    error = refusal(column, sealed(client, materials_manager=leaving_out, algorithm=OURS))
    assert f"lacks {ROW!r}. " in str(error)
    assert "required encryption context keys" in str(error)


def test_a_pair_too_many_is_told_so_and_another_place_is_as_ever(column, client, keyring):
    more = {**CONTEXT, "application": "other"}
    error = refusal(column, sealed(client, more, keyring=keyring, algorithm=OURS))
    assert "has pairs that the place does not have" in str(error)
    elsewhere = {**CONTEXT, ROW: "2"}
    error = refusal(column, sealed(client, elsewhere, keyring=keyring, algorithm=OURS))
    assert "it was moved or copied here" in str(error)


@pytest.mark.parametrize("suite", [OURS, None])
@pytest.mark.parametrize(
    "form, encode",
    [
        ("base64", base64.b64encode),
        ("base64", base64.urlsafe_b64encode),
        ("hex", lambda message: message.hex().encode()),
        ("hex", lambda message: b"\\x" + message.hex().encode()),
        ("hex", lambda message: b"0x" + message.hex().upper().encode()),
    ],
    ids=["base64", "urlsafe", "hex", "bytea", "0x"],
)
def test_a_message_that_was_stored_as_text_is_told_so(column, client, keyring, suite, form, encode):
    message = sealed(client, keyring=keyring, **({"algorithm": suite} if suite else {}))
    assert refusal(column, encode(message)).reason == form
