"""No altered message opens, whatever was altered, and every refusal is an error of ours."""

from __future__ import annotations

import os

import pytest
from aws_encryption_sdk.identifiers import AlgorithmSuite
from hypothesis import given
from hypothesis import strategies as st

from encfields.errors import EncFieldsError
from encfields.message import open_, read_header, seal
from tests.message import stock
from tests.message.conftest import CONTEXT
from tests.message.fuzz import Corpus, run


@pytest.fixture(scope="module")
def others(key):
    """Stock messages in the forms that we read and do not write: frames, unframed, two keys."""
    client, keyring = stock.client(), stock.hierarchical_keyring(key)
    both = stock.multi_keyring(keyring, stock.raw_aes_keyring(os.urandom(32)))
    forms = [(keyring, 128), (keyring, 0), (both, 4096)]
    return [
        client.encrypt(
            source=bytes(300),
            keyring=member,
            encryption_context=CONTEXT,
            frame_length=frame_length,
            algorithm=AlgorithmSuite.AES_256_GCM_HKDF_SHA512_COMMIT_KEY,
        )[0]
        for member, frame_length in forms
    ]


@pytest.fixture(scope="module")
def corpus(key, others):
    return Corpus(key, others)


def test_every_genuine_message_opens(corpus, others):
    for message in [*others, *corpus.messages[:5]]:
        assert corpus.check(message) == "genuine"


def test_every_bit_of_every_byte_is_authenticated(corpus, key, context):
    message = seal(b"value", context, key)
    for offset in range(len(message)):
        for bit in range(8):
            altered = bytearray(message)
            altered[offset] ^= 1 << bit
            assert corpus.check(bytes(altered)) != "genuine"


def test_every_byte_of_frames_unframed_bodies_and_multi_keyrings_is_authenticated(corpus, others):
    for message in others:
        for offset in range(len(message)):
            altered = bytearray(message)
            altered[offset] ^= 0xFF
            assert corpus.check(bytes(altered)) != "genuine"


def test_every_truncation_is_malformed_or_of_another_context(corpus, key, context, others):
    for message in [seal(b"value", context, key), *others]:
        for size in range(len(message)):
            assert corpus.check(message[:size]) == "MalformedMessageError"


def test_every_extension_is_malformed(corpus, key, context, others):
    for message in [seal(b"value", context, key), *others]:
        for tail in (b"\x00", b"\xff", os.urandom(16), message):
            assert corpus.check(message + tail) == "MalformedMessageError"


def test_no_splice_of_two_messages_of_one_row_opens(corpus, key, context):
    """An attacker with two versions of a value cannot mix them into a third."""
    first, second = seal(b"value 1", context, key), seal(b"value 2", context, key)
    for cut in range(1, len(first)):
        spliced = first[:cut] + second[cut:]
        if spliced not in (first, second):
            assert corpus.check(spliced) == "TamperedError"


def test_swapped_frames_are_refused(corpus, others):
    framed = others[0]
    start = read_header(framed).body_offset
    frame = 4 + 12 + 128 + 16
    first, second = framed[start : start + frame], framed[start + frame : start + 2 * frame]
    rest = framed[start + 2 * frame :]
    assert corpus.check(framed[:start] + second + first + rest) == "MalformedMessageError"
    renumbered = second[:0] + first[:4] + second[4:] + second[:4] + first[4:]
    assert corpus.check(framed[:start] + renumbered + rest) == "TamperedError"


def test_dropped_last_frames_are_refused(corpus, others):
    framed = others[0]
    start = read_header(framed).body_offset
    frame = 4 + 12 + 128 + 16
    final = framed[start + 2 * frame :]
    assert corpus.check(framed[: start + frame] + final) == "MalformedMessageError"


@given(st.binary(max_size=600))
def test_no_bytes_make_a_foreign_exception(garbage):
    for message in (garbage, b"\x02\x04\x78" + garbage):
        with pytest.raises(EncFieldsError):
            open_(message, b"", lambda *_: pytest.fail("a key was asked for"))


def test_random_mutations_are_refused(corpus):
    refusals = run(corpus, 8_000, seed=20_24)
    assert refusals["TamperedError"] > 500
    assert refusals["MalformedMessageError"] > 500
    assert refusals["ContextMismatchError"] > 50
