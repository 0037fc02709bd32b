"""What a value is, told from any number of its first bytes: the same as from all, or nothing."""

from __future__ import annotations

import os
import uuid

import pytest
from aws_encryption_sdk.identifiers import AlgorithmSuite
from hypothesis import given
from hypothesis import strategies as st

from encfields.branch_key import BranchKey
from encfields.bulk.survey.stored_value import State, examine
from encfields.context import serialize
from encfields.message import read_header, seal
from tests.message.stock import client, hierarchical_keyring, multi_keyring, raw_aes_keyring

CONTEXT = {"enc:column": "patient.ssn", "enc:row:id": "42"}
KEY = BranchKey("tenant/42", str(uuid.uuid4()), os.urandom(32))
SUITE = AlgorithmSuite.AES_256_GCM_HKDF_SHA512_COMMIT_KEY
OURS = seal(b"x" * 5_000, serialize(CONTEXT), KEY)


def _stock(plaintext: bytes, keyring, frame_length: int = 4096, algorithm=SUITE) -> bytes:
    message, _ = client().encrypt(
        source=plaintext,
        keyring=keyring,
        encryption_context=CONTEXT,
        frame_length=frame_length,
        algorithm=algorithm,
    )
    return bytes(message)


@pytest.fixture(scope="module")
def stock_frames() -> bytes:
    """A message of three frames, as the stock client writes one."""
    return _stock(b"x" * 5_000, hierarchical_keyring(KEY), 2048)


@given(st.integers(0, len(OURS)))
def test_a_head_tells_what_the_whole_tells_or_nothing(size):
    seen = examine(OURS[:size], len(OURS))
    if size < read_header(OURS).body_offset:
        assert seen.state is State.UNKNOWN
    if seen.state is not State.UNKNOWN:
        assert seen.state is State.MESSAGE
        assert seen.header is not None
        assert (seen.header.key_id, seen.header.version) == (KEY.id, KEY.version)


@given(st.integers(300, len(OURS) + 300).filter(lambda length: length != len(OURS)))
def test_a_length_that_is_not_the_messages_own_is_damage(length):
    seen = examine(OURS[:300], length)
    assert seen.state is State.UNKNOWN or seen.state is State.DAMAGED
    seen = examine(OURS[:1024], max(length, 1025))
    assert (seen.state, seen.reason) == (
        State.DAMAGED,
        "truncated" if max(length, 1025) < len(OURS) else "trailing",
    )


@given(st.binary(max_size=600))
def test_no_bytes_are_taken_for_a_message_by_chance(data):
    seen = examine(data, len(data))
    assert seen.state in (State.PLAINTEXT, State.DAMAGED, State.OTHER_FORMAT)
    assert seen.header is None


def test_several_frames_of_the_stock_client_have_to_be_read_whole(stock_frames):
    assert examine(stock_frames[:1024], len(stock_frames)).state is State.UNKNOWN
    assert examine(stock_frames, len(stock_frames)).state is State.MESSAGE
    cut = stock_frames[:-1]
    assert examine(cut, len(cut)) == (State.DAMAGED, None, "truncated")


def test_one_frame_of_the_stock_client_is_told_from_its_head():
    message = _stock(b"x" * 2_000, hierarchical_keyring(KEY))
    assert examine(message[:1024], len(message)).state is State.MESSAGE


def test_a_message_of_another_keyring_is_another_format():
    message = _stock(b"x" * 2_000, raw_aes_keyring(os.urandom(32)))
    for head in (message, message[:1024]):
        assert examine(head, len(message)) == (State.OTHER_FORMAT, None, "keyring")


def test_the_stock_clients_signed_suite_is_another_format():
    signed = AlgorithmSuite.AES_256_GCM_HKDF_SHA512_COMMIT_KEY_ECDSA_P384
    message = _stock(b"x", hierarchical_keyring(KEY), algorithm=signed)
    assert examine(message, len(message)) == (State.OTHER_FORMAT, None, "suite")


def test_a_message_of_several_keyrings_is_ours_if_one_is():
    keyring = multi_keyring(raw_aes_keyring(os.urandom(32)), hierarchical_keyring(KEY))
    seen = examine(message := _stock(b"x", keyring), len(message))
    assert seen.state is State.MESSAGE
    assert seen.header is not None
    assert seen.header.key_id == KEY.id


@pytest.mark.parametrize("value", ["plain text", "", 5, 2.5, True])
def test_what_is_not_bytes_is_plaintext(value):
    assert examine(value, 10).state is State.PLAINTEXT


@pytest.mark.parametrize("type_", [bytearray, memoryview])
def test_other_kinds_of_bytes_that_drivers_give(type_):
    assert examine(type_(OURS), len(OURS)).state is State.MESSAGE
