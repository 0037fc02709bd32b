"""The compiled core does what `encfields.message.one_pass` does: by bytes, and by `None`."""

from __future__ import annotations

import os
import pickle
import random
import uuid
from collections import Counter
from typing import Any

import pytest

from encfields.branch_key import BranchKey
from encfields.context import serialize
from encfields.message import one_pass, open_, read_header, seal, sealed_size
from encfields.message.body import FRAME_LENGTH
from tests.message.fuzz import CONTEXT, Corpus, mutate, stock_forms
from tests.message.stock import client, hierarchical_keyring

CASES = 10_000


@pytest.fixture
def rng():
    return random.Random(15)


def a_key(rng: random.Random) -> BranchKey:
    name = "".join(rng.choices("aé/€%~𝄞 ", k=rng.randrange(1, 60)))
    return BranchKey(name, str(uuid.UUID(bytes=rng.randbytes(16))), rng.randbytes(32))


def a_case(rng: random.Random) -> tuple[bytes, bytes]:
    """A plaintext and a context."""
    size = rng.choice([0, 1, 11, 11, 11, 200, FRAME_LENGTH, FRAME_LENGTH + 1])
    pairs = {f"k{i}": "v" * rng.randrange(40) for i in range(rng.randrange(4))}
    return rng.randbytes(size), serialize(pairs)


@pytest.mark.parametrize("writer", ["native", "python"])
def test_each_opens_what_the_other_seals(native, rng, writer):
    one, other = (native, one_pass) if writer == "native" else (one_pass, native)
    key = a_key(rng)
    for number in range(CASES):
        if number % 100 == 0:
            key = a_key(rng)
        plaintext, context = a_case(rng)
        message = one.seal(plaintext, context, key)
        assert len(message) == sealed_size(len(plaintext), len(context), len(key.id_bytes))
        found = other.open_(message, context, key.id, lambda key_id, version: key)  # noqa: B023
        assert found == plaintext


def test_each_hides_and_indexes_as_the_other_does(native, rng):
    """Blind indexes are stored; what is hidden in memory may be read by either."""
    for size in range(200):
        key, iv, data = rng.randbytes(32), rng.randbytes(12), rng.randbytes(size)
        assert native.index_code(key, data) == one_pass.index_code(key, data)
        one, other = native.Cipher(key), one_pass.Cipher(key)
        hidden = one.encrypt(iv, data, None)
        assert hidden == other.encrypt(iv, data, None)
        assert one.decrypt(iv, hidden, None) == data
        altered = bytes([hidden[0] ^ 1]) + hidden[1:]
        assert one.decrypt(iv, altered, None) is None
    assert "Cipher" in repr(one)
    with pytest.raises(TypeError):
        pickle.dumps(one)


@pytest.mark.parametrize("short", [b"", bytes(11), bytes(15), "text", None])
def test_it_hides_and_indexes_nothing_but_bytes(native, short):
    cipher = native.Cipher(bytes(32))
    assert cipher.encrypt(short, b"value", None) is None
    assert cipher.decrypt(bytes(12), short, None) is None
    assert cipher.encrypt(bytes(12), b"value", b"associated") is None
    assert native.index_code(short, b"value") is None


def test_the_key_is_asked_for_by_the_id_and_version_that_python_asks_for(native, key, context):
    message = seal(b"value", context, key)
    asked: list[tuple[str, str]] = []

    def find_key(key_id: str, version: str) -> BranchKey:
        asked.append((key_id, version))
        return key

    assert native.open_(message, context, key.id, find_key) == b"value"
    assert one_pass.open_(message, context, key.id, find_key) == b"value"
    assert asked == [(key.id, key.version)] * 2


def test_no_altered_bit_opens(native, key, find_key, context):
    message = bytearray(native.seal(b"value", context, key))
    for place in range(len(message)):
        for bit in range(8):
            message[place] ^= 1 << bit
            altered = bytes(message)
            # Another version is asked for, and may be had.
            assert native.open_(altered, context, key.id, lambda key_id, version: key) is None
            message[place] ^= 1 << bit
    assert native.open_(bytes(message), context, key.id, find_key) == b"value"


def test_no_cut_and_no_extension_opens(native, key, find_key, context):
    message = native.seal(b"value", context, key)
    for size in range(len(message)):
        assert native.open_(message[:size], context, key.id, find_key) is None
    assert native.open_(message + b"\0", context, key.id, find_key) is None


def test_mutated_messages_have_the_same_answer(native, rng, key):
    corpus = Corpus(key)
    (key_id,) = corpus.key_ids
    kept: Any = BranchKey(key.id, key.version, key.material)
    kept.keeps_data_keys = True
    for message in corpus.messages:  # so that what is altered was opened before
        for core in (one_pass, native):
            core.open_kept(message, CONTEXT, key_id, lambda *_: kept)
    assert kept.compiled.kept == len(kept.wrapping.data_keys) > 0
    for _ in range(CASES):
        message = mutate(rng, corpus, Counter())
        expected = one_pass.open_(message, CONTEXT, key_id, lambda key_id, version: key)
        assert native.open_(message, CONTEXT, key_id, lambda key_id, version: key) == expected
        for core in (one_pass, native):
            assert core.open_kept(message, CONTEXT, key_id, lambda *_: kept) == expected


@pytest.mark.parametrize("size", [64 * 1024 - 1, 64 * 1024 + 1, 1024 * 1024])
def test_a_long_value_has_one_frame_of_its_own_length(native, key, find_key, context, size):
    plaintext = os.urandom(size)
    message = native.seal(plaintext, context, key)

    assert read_header(message).frame_length == size
    assert one_pass.open_(message, context, key.id, find_key) == plaintext
    assert native.open_(message, context, key.id, find_key) == plaintext
    assert native.open_(bytes([*message[:-1], message[-1] ^ 1]), context, key.id, find_key) is None


def test_what_it_seals_opens_in_the_stock_client(native, key, context):
    message = native.seal(b"123-45-6789", context, key)
    plaintext, _ = client().decrypt(source=message, keyring=hierarchical_keyring(key))
    assert plaintext == b"123-45-6789"


def test_what_only_the_stock_client_writes_is_left_to_python(native, key, find_key):
    for message in stock_forms(key):
        assert native.open_(message, read_header(message).context, key.id, find_key) is None
        assert open_(message, read_header(message).context, find_key, (key.id,)) == bytes(300)


@pytest.mark.parametrize("other", [bytearray, memoryview, lambda data: data.decode("latin-1")])
def test_what_is_not_bytes_is_left_to_python(native, key, find_key, context, other):
    message = native.seal(b"value", context, key)

    assert native.open_(other(message), context, key.id, find_key) is None
    assert native.open_(message, other(context), key.id, find_key) is None
    assert native.seal(other(b"value"), context, key) is None
    assert native.seal(b"value", other(context), key) is None


def test_what_the_format_cannot_hold_is_left_to_python(native, key):
    long = BranchKey("k" * 0x10000, key.version, key.material)

    assert native.seal(b"value", bytes(0x10000), key) is None
    assert native.seal(b"value", b"", long) is None
    assert native.open_(b"\x02\x04\x78", b"", "\ud800", lambda key_id, version: key) is None


@pytest.fixture
def context() -> bytes:
    return CONTEXT
