"""Many values at once: what one by one gives, in the same order."""

from __future__ import annotations

import os
import threading
import uuid

import pytest

from encfields.branch_key import BranchKey
from encfields.context import serialize
from encfields.errors import KeyUnavailableError
from encfields.message import one_pass, read_header

COUNT = 2_500
"""More than the core works on between two looks at what the user wants."""


@pytest.fixture
def old(key) -> BranchKey:
    return BranchKey(key.id, str(uuid.uuid4()), os.urandom(32))


@pytest.fixture
def contexts() -> list[bytes]:
    return [serialize({"enc:row:id": str(number)}) for number in range(COUNT)]


@pytest.fixture
def plaintexts() -> list[bytes]:
    return [b"value %d" % number for number in range(COUNT)]


def test_values_are_sealed_each_for_its_own_context(native, key, find_key, contexts, plaintexts):
    messages = native.seal_many(plaintexts, contexts, key)

    assert len(messages) == COUNT
    for message, context, plaintext in zip(messages, contexts, plaintexts, strict=True):
        assert one_pass.open_(message, context, key.id, find_key) == plaintext
    for part in ("message_id", "commitment", "tag"):
        assert len({getattr(read_header(one), part) for one in messages}) == COUNT


def test_values_are_opened_and_each_version_is_asked_for_once(
    native, key, old, contexts, plaintexts
):
    asked: list[str] = []

    def find_key(key_id, version):
        asked.append(version)
        return {key.version: key, old.version: old}[version]

    messages = [
        one_pass.seal(plaintext, context, key if number % 3 else old)
        for number, (plaintext, context) in enumerate(zip(plaintexts, contexts, strict=True))
    ]
    assert native.open_many(messages, contexts, key.id, find_key) == plaintexts
    assert sorted(asked) == sorted([key.version, old.version])


def test_values_are_sealed_anew_and_their_plaintexts_never_leave(
    native, key, old, contexts, plaintexts
):
    keys = {key.version: key, old.version: old}
    moved = [serialize({"enc:row:id": f"moved {number}"}) for number in range(COUNT)]
    messages = native.seal_many(plaintexts, contexts, old)
    resealed = native.reseal_many(messages, contexts, moved, key, lambda _, version: keys[version])

    assert {read_header(one).version for one in resealed} == {key.version}
    assert native.open_many(resealed, moved, key.id, lambda key_id, version: key) == plaintexts


def test_what_is_left_to_python_is_none_in_its_place(native, key, find_key, contexts):
    contexts = contexts[:3]
    good = native.seal_many([b"a", b"b", b"c"], contexts, key)
    moved = [good[1], good[1], good[0]]

    assert native.open_many(moved, contexts, key.id, find_key) == [None, b"b", None]
    assert native.reseal_many(moved, contexts, contexts, key, find_key)[::2] == [None, None]
    mixed = [b"a", "b", bytearray(b"c")]
    assert [one is None for one in native.seal_many(mixed, contexts, key)] == [False, True, True]
    assert native.open_many([], [], key.id, find_key) == []


@pytest.mark.parametrize("error", [KeyUnavailableError("KMS is away"), KeyboardInterrupt()])
def test_what_finding_a_key_raises_passes(native, key, contexts, error):
    messages = native.seal_many([b"a"], contexts[:1], key)

    def find_key(key_id, version):
        raise error

    with pytest.raises(type(error)) as caught:
        native.open_many(messages, contexts[:1], key.id, find_key)
    assert caught.value is error
    with pytest.raises(type(error)):
        native.open_(messages[0], contexts[0], key.id, find_key)


def test_other_threads_run_beside_a_batch(native, key, contexts, plaintexts):
    """While a batch is worked on, another thread gets the interpreter many times."""
    turns, done = [0], threading.Event()

    def count():
        while not done.is_set():
            turns[0] += 1

    other = threading.Thread(target=count)
    other.start()
    try:
        for _ in range(20):
            before = turns[0]
            native.seal_many(plaintexts, contexts, key)
            if turns[0] > before:
                break
        else:
            raise AssertionError("no other thread ran")
    finally:
        done.set()
        other.join()


def test_many_threads_share_a_key(native, key, find_key, contexts, plaintexts):
    failures: list[BaseException] = []

    def work():
        try:
            for context, plaintext in zip(contexts[:300], plaintexts, strict=False):
                message = native.seal(plaintext, context, key)
                assert native.open_(message, context, key.id, find_key) == plaintext
            messages = native.seal_many(plaintexts, contexts, key)
            assert native.open_many(messages, contexts, key.id, find_key) == plaintexts
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
