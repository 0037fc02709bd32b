"""What a sealed value looks like, byte for byte, and how large it is."""

from __future__ import annotations

import mmap
import struct
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encfields.branch_key import BranchKey
from encfields.context import deserialize, serialize
from encfields.errors import BindingError, ValueEncodingError
from encfields.message import (
    MAGIC,
    MAX_CONTENT_BYTES,
    open_,
    read_header,
    seal,
    sealed_size,
)
from tests.message.conftest import CONTEXT, KEY_IDS


def test_a_message_starts_with_version_2_and_suite_0478(key, context):
    assert MAGIC == b"\x02\x04\x78"
    assert seal(b"value", context, key)[:3] == MAGIC


def test_every_field_stands_where_the_specification_puts_it(key, context):
    message = seal(b"value", context, key)
    key_id = key.id.encode()
    layout = struct.Struct(
        f">B2s32s H{len(context)}s H H17s H{len(key_id)}s H16s12s16s48s B I 32s 16s"
        " 4s I 12s I 5s 16s"
    )
    assert layout.size == len(message)
    (version, suite, _, aad_size, aad, edks, provider_size, provider, info_size, info,
     wrapped_size, _, _, key_version, _, content_type, frame_length, _, _,
     mark, sequence, iv, content_size, _, _) = layout.unpack(message)  # fmt: skip
    assert (version, suite) == (2, b"\x04\x78")
    assert (aad_size, aad) == (len(context), context)
    assert (edks, provider_size, provider) == (1, 17, b"aws-kms-hierarchy")
    assert (info_size, info, wrapped_size) == (len(key_id), key_id, 92)
    assert key_version == uuid.UUID(key.version).bytes
    assert (content_type, frame_length) == (2, 4096)
    assert (mark, sequence, iv) == (b"\xff" * 4, 1, bytes(11) + b"\x01")
    assert content_size == 5


def test_the_header_says_key_version_and_context_without_any_key(key, context):
    header = read_header(seal(b"value", context, key))
    assert (header.key_id, header.version) == (key.id, key.version)
    assert deserialize(header.context) == CONTEXT


def test_two_messages_of_one_value_share_no_random_part(key, context):
    first, second = (read_header(seal(b"value", context, key)) for _ in range(2))
    assert first.message_id != second.message_id
    assert first.commitment != second.commitment, "each has a data key of its own"
    assert first.keys[0].salt != second.keys[0].salt
    assert first.keys[0].iv != second.keys[0].iv


@given(
    plaintext=st.binary(max_size=9000),
    pairs=st.dictionaries(st.text(max_size=20), st.text(max_size=60), max_size=5),
    key_id=st.text(min_size=1, max_size=40),
)
def test_the_size_is_known_exactly_beforehand(plaintext, pairs, key_id):
    key = BranchKey(key_id, str(uuid.uuid4()), bytes(32))
    context = serialize(pairs)
    message = seal(plaintext, context, key)
    assert len(message) == sealed_size(len(plaintext), len(context), len(key_id.encode()))
    assert open_(message, context, lambda key_id, version: key, (key.id,)) == plaintext


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 1_000_000])
def test_every_value_is_one_final_frame(key, context, find_key, size):
    message = seal(bytes(size), context, key)
    assert read_header(message).frame_length == max(4096, size)
    assert len(message) == sealed_size(size, len(context), len(key.id_bytes))
    assert open_(message, context, find_key, KEY_IDS) == bytes(size)


def test_an_empty_value_is_a_value(key, context, find_key):
    assert open_(seal(b"", context, key), context, find_key, KEY_IDS) == b""


def test_a_value_of_50_megabytes_works(key, context, find_key):
    plaintext = bytes(50_000_000)
    assert open_(seal(plaintext, context, key), context, find_key, KEY_IDS) == plaintext


@pytest.mark.parametrize("form", [bytearray, memoryview])
def test_bytes_like_values_and_messages_are_taken(key, context, find_key, form):
    message = seal(form(b"value"), form(context), key)
    assert open_(form(message), form(context), find_key, KEY_IDS) == b"value"
    assert read_header(form(message)).key_id == key.id


def test_a_value_too_large_for_one_frame_is_refused_before_it_is_copied(key, context):
    untouched = memoryview(mmap.mmap(-1, MAX_CONTENT_BYTES + 1))  # takes no memory until it is read
    with pytest.raises(ValueEncodingError) as caught:
        seal(untouched, context, key)
    assert caught.value.reason == "too-long"
    assert str(MAX_CONTENT_BYTES) in str(caught.value)


def test_a_context_longer_than_its_length_field_is_refused(key, find_key):
    longest = bytes(0xFFFF)
    assert open_(seal(b"value", longest, key), longest, find_key, KEY_IDS) == b"value"
    with pytest.raises(BindingError) as caught:
        seal(b"value", bytes(0x10000), key)
    assert caught.value.reason == "context-too-long"


def test_a_branch_key_id_longer_than_its_length_field_is_refused(context):
    key = BranchKey("k" * 0x10000, str(uuid.uuid4()), bytes(32))
    with pytest.raises(BindingError) as caught:
        seal(b"value", context, key)
    assert caught.value.reason == "key-id-too-long"


@pytest.mark.parametrize("value", [None, "text", 7, ["x"]])
def test_a_value_that_is_not_bytes_is_refused_by_its_type(key, context, value):
    with pytest.raises(ValueEncodingError, match=type(value).__name__):
        seal(value, context, key)


@pytest.mark.parametrize("context", [None, CONTEXT, "text"])
def test_a_context_that_is_not_bytes_is_refused(key, context):
    with pytest.raises(BindingError, match=type(context).__name__):
        seal(b"value", context, key)
