"""No altered message opens, whatever was altered, and every refusal is an error of ours."""

from __future__ import annotations

import os
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encfields.errors import EncFieldsError
from encfields.message import open_, read_header, seal
from tests.message.conftest import KEY_IDS
from tests.message.fuzz import MUTATIONS, Corpus, run, stock_forms


@pytest.fixture(scope="module")
def others(key):
    return stock_forms(key)


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
            open_(message, b"", lambda *_: pytest.fail("a key was asked for"), KEY_IDS)


def test_random_mutations_are_refused(corpus):
    kinds: Counter[str] = Counter()
    refusals = run(corpus, 8_000, seed=20_24, kinds=kinds)
    assert refusals.total() == 8_000
    assert refusals["genuine"] == 0
    assert set(kinds) == {mutation.__name__ for mutation in MUTATIONS}
    assert refusals["TamperedError"] > 500
    assert refusals["MalformedMessageError"] > 500
    assert refusals["ContextMismatchError"] > 50
