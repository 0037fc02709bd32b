"""The stock AWS client opens what we write, and we open what it writes."""

from __future__ import annotations

import base64
import json
import os
import uuid

import pytest
from aws_encryption_sdk.exceptions import AWSEncryptionSDKClientError
from aws_encryption_sdk.identifiers import AlgorithmSuite
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from encfields.branch_key import BranchKey
from encfields.context import serialize
from encfields.errors import ContextMismatchError, MalformedMessageError, TamperedError
from encfields.message import open_, read_header, seal, sealed_size
from tests.message import stock
from tests.message.conftest import CONTEXT, KEY_IDS
from tests.message.published import published

SUITE = AlgorithmSuite.AES_256_GCM_HKDF_SHA512_COMMIT_KEY

# Surrogates have no UTF-8; "aws-crypto-" is the SDK's own prefix.
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
contexts = st.dictionaries(
    text.filter(lambda name: name and not name.startswith("aws-crypto-")), text, max_size=6
)
modest = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def client():
    return stock.client()


@pytest.fixture(scope="module")
def keyring(key):
    return stock.hierarchical_keyring(key)


def stock_seal(client, keyring, plaintext, pairs, frame_length=4096):
    message, _ = client.encrypt(
        source=plaintext,
        keyring=keyring,
        encryption_context=pairs,
        frame_length=frame_length,
        algorithm=SUITE,
    )
    return message


@modest
@given(pairs=contexts, plaintext=st.binary(max_size=300))
def test_the_stock_client_opens_what_we_seal(client, keyring, key, pairs, plaintext):
    message = seal(plaintext, serialize(pairs), key)
    opened, header = client.decrypt(source=message, keyring=keyring, encryption_context=pairs)
    assert opened == plaintext
    assert header.encryption_context == pairs
    assert header.algorithm == SUITE


@modest
@given(pairs=contexts, plaintext=st.binary(max_size=300))
def test_we_open_what_the_stock_client_seals(client, keyring, find_key, pairs, plaintext):
    message = stock_seal(client, keyring, plaintext, pairs)
    assert open_(message, serialize(pairs), find_key, KEY_IDS) == plaintext


@modest
@given(key_id=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30))
def test_branch_key_ids_in_any_script_agree_both_ways(client, key_id):
    key = BranchKey(key_id, str(uuid.uuid4()), os.urandom(32))
    keyring = stock.hierarchical_keyring(key)
    ours, theirs = seal(b"v", b"", key), stock_seal(client, keyring, b"v", {})
    assert client.decrypt(source=ours, keyring=keyring)[0] == b"v"
    assert open_(theirs, b"", lambda *name: {(key.id, key.version): key}[name], (key.id,)) == b"v"


@pytest.mark.parametrize("size", [0, 1, 11, 4095])
def test_one_frame_has_the_same_form_and_size_as_the_stock_clients(
    client, keyring, key, context, size
):
    theirs = stock_seal(client, keyring, bytes(size), CONTEXT)
    ours = seal(bytes(size), context, key)
    assert len(theirs) == len(ours) == sealed_size(size, len(context), len(key.id_bytes))
    assert read_header(theirs).frame_length == read_header(ours).frame_length


@pytest.mark.parametrize("size", [4097, 100_000, 3_000_000])
def test_the_stock_client_opens_our_larger_frames(client, keyring, key, context, size):
    plaintext = os.urandom(size)
    message = seal(plaintext, context, key)
    assert client.decrypt(source=message, keyring=keyring)[0] == plaintext


@pytest.mark.parametrize("frame_length", [128, 512, 4096, 0], ids=lambda size: f"frame-{size}")
@pytest.mark.parametrize("size", [0, 1, 127, 128, 129, 1024, 10_000])
def test_we_open_several_frames_and_unframed_bodies(
    client, keyring, find_key, context, frame_length, size
):
    plaintext = os.urandom(size)
    message = stock_seal(client, keyring, plaintext, CONTEXT, frame_length)
    assert open_(message, context, find_key, KEY_IDS) == plaintext


def test_we_open_a_multi_keyrings_message_by_its_hierarchical_data_key(
    client, keyring, key, find_key, context
):
    raw = stock.raw_aes_keyring(os.urandom(32))
    other = BranchKey(key.id, str(uuid.uuid4()), os.urandom(32))
    for members in [(keyring, raw), (raw, keyring), (stock.hierarchical_keyring(other), keyring)]:
        message = stock_seal(client, stock.multi_keyring(*members), b"value", CONTEXT)
        find = lambda key_id, version: other if version == other.version else key  # noqa: E731
        assert open_(message, context, find, KEY_IDS) == b"value"
    # Of two branch keys, one that cannot be opened any more leaves the other.
    lost = BranchKey(other.id, other.version, os.urandom(32))
    find = lambda _, version: lost if version == lost.version else key  # noqa: E731
    assert open_(message, context, find, KEY_IDS) == b"value"


def test_awss_published_static_branch_key_opens_both_ways(client, context):
    entry = json.loads(published("mpl-static-branch-key.json").read_text())
    entry = entry["keys"]["static-branch-key-1"]
    material = base64.b64decode(entry["branchKey"])
    key = BranchKey(entry["key-id"], entry["branchKeyVersion"], material)
    keyring = stock.hierarchical_keyring(key)
    ours, theirs = seal(b"v", context, key), stock_seal(client, keyring, b"v", CONTEXT)
    assert client.decrypt(source=ours, keyring=keyring, encryption_context=CONTEXT)[0] == b"v"
    find = lambda *name: {(key.id, key.version): key}[name]  # noqa: E731
    assert open_(theirs, context, find, (key.id,)) == b"v"


def test_the_stock_client_refuses_our_message_in_another_context(client, keyring, key, context):
    moved = {**CONTEXT, "enc:row:id": "43"}
    with pytest.raises(AWSEncryptionSDKClientError):
        client.decrypt(
            source=seal(b"value", context, key), keyring=keyring, encryption_context=moved
        )


def test_a_stock_message_of_another_keyring_is_refused_by_name(client, context, find_key):
    keyring = stock.raw_aes_keyring(os.urandom(32), namespace="vault")
    message = stock_seal(client, keyring, b"value", CONTEXT)
    with pytest.raises(MalformedMessageError, match="'vault'") as caught:
        open_(message, context, find_key, KEY_IDS)
    assert caught.value.reason == "keyring"
    assert caught.value.offset == 37 + len(context)


def test_a_stock_message_with_the_same_name_and_other_material_is_refused(client, key, context):
    impostor = BranchKey(key.id, key.version, os.urandom(32))
    message = stock_seal(client, stock.hierarchical_keyring(impostor), b"value", CONTEXT)
    with pytest.raises(TamperedError):
        open_(message, context, lambda key_id, version: key, KEY_IDS)


def test_a_stock_message_of_another_row_is_refused(client, keyring, context, find_key):
    message = stock_seal(client, keyring, b"value", {**CONTEXT, "enc:row:id": "43"})
    with pytest.raises(ContextMismatchError):
        open_(message, context, find_key, KEY_IDS)
