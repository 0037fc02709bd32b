"""The one pass and the long way: the same outcome, for every message there can be."""

from __future__ import annotations

import os
import random
import uuid
from collections import Counter
from typing import Any

import pytest

from encfields.branch_key import BranchKey
from encfields.context import serialize
from encfields.errors import EncFieldsError, KeyDestroyedError
from encfields.message import core, one_pass, open_, seal
from encfields.message.body import FRAME_LENGTH
from encfields.message.keys import RANDOM_BYTES
from tests.message.conftest import CONTEXT, KEY_IDS
from tests.message.fuzz import MUTATIONS, Corpus, mutate, stock_forms

SIZES = (0, 1, 11, 250, FRAME_LENGTH - 1, FRAME_LENGTH, FRAME_LENGTH + 1, 100_000)


@pytest.fixture
def long_way(monkeypatch):
    """Calls a function while nothing is sealed or opened in one pass."""

    def call(function, *arguments):
        with monkeypatch.context() as patch:
            patch.setattr(core, "open_", lambda *anything: None)
            patch.setattr(core, "seal", lambda *anything: None)
            return function(*arguments)

    return call


def outcome(function, *arguments):
    """What a function returns, or what its error tells."""
    try:
        return function(*arguments)
    except EncFieldsError as error:
        return type(error), error.reason, error.message, getattr(error, "offset", None)


@pytest.fixture
def assert_alike(long_way, find_key):
    """Asserts that a message has one outcome, and returns that."""

    def check(message, context, key_ids=KEY_IDS, find=find_key):
        quick = outcome(open_, message, context, find, key_ids)
        assert quick == long_way(outcome, open_, message, context, find, key_ids), message.hex()
        return quick

    return check


def random_case(rng):
    """A branch key, a context and a plaintext."""
    key_id = rng.choice(["default", "tenant/42", "mandant/größe", "k" * 255])
    key = BranchKey(key_id, str(uuid.UUID(int=rng.getrandbits(128))), rng.randbytes(32))
    pairs = {"enc:column": "t.c", f"enc:row:{rng.choice('abcü')}": "x" * rng.randrange(300)}
    if not rng.randrange(8):
        pairs = {}
    size = rng.choice([0, 1, 11, 100, FRAME_LENGTH, FRAME_LENGTH + 1, rng.randrange(9000)])
    return key, serialize(pairs), rng.randbytes(size)


class Given(Corpus):
    """Messages that are given, to be altered."""

    def __init__(self, messages: list[bytes]) -> None:
        self.messages = messages
        self.genuine = set(messages)


def test_it_answers_for_what_this_library_writes(key, find_key, context):
    for size in SIZES:
        plaintext = os.urandom(size)
        message = one_pass.seal(plaintext, context, key)
        assert message is not None
        assert one_pass.open_(message, context, key.id, find_key) == plaintext


@pytest.mark.parametrize("size", SIZES)
def test_of_the_same_random_bytes_both_make_the_same_message(
    monkeypatch, long_way, key, context, size
):
    drawn = os.urandom(RANDOM_BYTES)
    plaintext = os.urandom(size)
    with monkeypatch.context() as patch:
        patch.setattr(os, "urandom", lambda count: drawn[:count])
        # The compiled core draws its own; tests/native compares what it makes.
        made = one_pass.seal(plaintext, context, key)
        assert made == long_way(seal, plaintext, context, key)


def test_ten_thousand_random_messages_open_alike(assert_alike):
    rng = random.Random(15)
    for _ in range(10_000 // 4):
        key, context, plaintext = random_case(rng)
        message, find = seal(plaintext, context, key), lambda key_id, version: key  # noqa: B023
        altered = mutate(rng, Given([message]), Counter())
        assert assert_alike(message, context, (key.id,), find) == plaintext
        assert isinstance(assert_alike(altered, context, (key.id,), find), tuple)
        assert isinstance(assert_alike(message, context + b"\0", (key.id,), find), tuple)
        assert isinstance(assert_alike(message, context, ("another",), find), tuple)


def test_every_flipped_bit_has_one_outcome(assert_alike, key, context):
    message = seal(b"123-45-6789", context, key)
    for offset in range(len(message)):
        for bit in range(8):
            altered = bytearray(message)
            altered[offset] ^= 1 << bit
            assert isinstance(assert_alike(bytes(altered), context), tuple)


def test_every_truncation_and_every_tail_has_one_outcome(assert_alike, key, context):
    message = seal(b"123-45-6789", context, key)
    for size in range(len(message)):
        assert isinstance(assert_alike(message[:size], context), tuple)
    for tail in (b"\0", b"\xff", message, os.urandom(16)):
        assert isinstance(assert_alike(message + tail, context), tuple)


def test_the_stock_clients_forms_have_one_outcome(assert_alike, key, context):
    rng = random.Random(16)
    forms = stock_forms(key)
    for message in forms:
        assert isinstance(assert_alike(message, context), bytes)
    for _ in range(200 * len(MUTATIONS)):
        assert_alike(mutate(rng, Given(forms), Counter()), context)


def test_the_key_store_is_called_only_for_whole_messages_of_the_right_place(key, context):
    def destroyed(key_id, version):
        raise KeyDestroyedError("gone", key_id=key_id, reason="destroyed")

    message = seal(b"value", context, key)
    with pytest.raises(KeyDestroyedError):
        one_pass.open_(message, context, key.id, destroyed)
    elsewhere = serialize({**CONTEXT, "enc:row:id": "43"})
    for one, place, key_id in (
        (message, elsewhere, key.id),
        (message, context, "tenant/43"),
        (message[:-1], context, key.id),
        (message + b"\0", context, key.id),
        (b"\1" + message[1:], context, key.id),
    ):
        assert one_pass.open_(one, place, key_id, destroyed) is None


def test_what_is_no_bytes_goes_the_long_way(key, find_key, context):
    of_another_type: Any = context.hex()
    message = seal(b"value", context, key)
    assert one_pass.open_(memoryview(message), context, key.id, find_key) is None
    assert one_pass.open_(of_another_type, context, key.id, find_key) is None
    assert one_pass.open_(message, of_another_type, key.id, find_key) is None
    assert one_pass.seal(memoryview(b"value"), context, key) is None
    assert one_pass.seal(of_another_type, context, key) is None
    assert one_pass.seal(b"value", bytes(65_536), key) is None


def test_a_key_id_that_no_store_holds_goes_the_long_way(context, find_key):
    key = BranchKey("k" * 1021, str(uuid.uuid4()), os.urandom(32))
    message = seal(b"value", context, key)
    assert one_pass.open_(message, context, key.id, lambda key_id, version: key) is None
    endless = BranchKey("k" * 65_536, str(uuid.uuid4()), os.urandom(32))
    assert one_pass.seal(b"value", context, endless) is None
