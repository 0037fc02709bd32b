"""The data key cache: what was opened before is opened faster, and nothing else opens."""

from __future__ import annotations

import itertools
import os
import random
import signal
import sys
import threading
import uuid
import weakref
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from encfields.branch_key import BranchKey
from encfields.context import RowContext
from encfields.message import data_key_cache, one_pass
from encfields.message.data_key_cache import LONGEST_HEADER, MOST_KEPT, DataKeyCache
from tests.native.conftest import compiled_core

ROW = RowContext("patient.ssn", ["id"])
VALUE = b"123-45-6789"
CIPHER = AESGCM(bytes(32))


@pytest.fixture(params=["python", "native"])
def core(request) -> ModuleType:
    """Each core."""
    return one_pass if request.param == "python" else compiled_core()


def new_key(*, keeps: bool = True, id: str = "tenant/42") -> BranchKey:
    key = BranchKey(id, str(uuid.uuid4()), os.urandom(32))
    key.keeps_data_keys = keeps
    return key


@pytest.fixture
def key() -> BranchKey:
    return new_key()


def derived(core: ModuleType, key: BranchKey) -> Any:
    """What holds the data keys that are kept; ``None`` if Python keeps none."""
    held: Any = key.wrapping if core is one_pass else key.compiled
    return held.data_keys if core is one_pass else held


def kept(core: ModuleType, key: BranchKey) -> int:
    """How many messages of a key can be opened faster."""
    found = derived(core, key)
    return len(found or ()) if core is one_pass else int(found.kept)


def reopened(core: ModuleType, key: BranchKey) -> int:
    """How many messages of a key were."""
    return int(derived(core, key).reopened)


def place(row: int) -> bytes:
    return ROW.serialize([str(row)])


def opened(core: ModuleType, message: bytes, context: bytes, key: BranchKey) -> bytes | None:
    found: bytes | None = core.open_kept(message, context, key.id, lambda *_: key)
    return found


@pytest.fixture(params=["message", "cell", "rows"])
def open_in_place(request, core) -> Callable[[bytes, int, BranchKey], bytes | None]:
    """Opens the message that a row has, in each way that a value is read."""

    def as_message(message: bytes, row: int, key: BranchKey) -> bytes | None:
        return opened(core, message, place(row), key)

    def cell_of(message: bytes, row: int, key: BranchKey) -> tuple[bytes, one_pass.CellReader]:
        reader = core.CellReader(b"abcdef", ROW.head, ROW.parts, ["integer"], [key.id])
        return b"abcdef:%d:" % row + message, reader

    def as_cell(message: bytes, row: int, key: BranchKey) -> bytes | None:
        cell, reader = cell_of(message, row, key)
        return reader.open(cell, lambda *_: key)

    def in_a_row(message: bytes, row: int, key: BranchKey) -> bytes | None:
        cell, reader = cell_of(message, row, key)
        found, _ = core.open_rows([(cell,)], [(0, reader, bytes)], lambda *_: key)
        return getattr(found[0][0], "value", None)

    if request.param == "rows" and core.open_rows is None:
        pytest.skip("Python opens cells one by one")
    return {"message": as_message, "cell": as_cell, "rows": in_a_row}[request.param]


# -- what is faster -----------------------------------------------------------------------------


def test_what_was_opened_before_is_opened_with_what_is_kept(core, key, open_in_place):
    for size in (0, 11, 5000, 100_000):
        value = os.urandom(size)
        message = core.seal(value, place(1), key)
        before = reopened(core, key)
        assert open_in_place(message, 1, key) == value
        assert reopened(core, key) == before
        assert [open_in_place(message, 1, key) for _ in range(3)] == [value] * 3
        assert reopened(core, key) == before + 3
    assert kept(core, key) == 4


def test_new_content_of_a_row_is_what_is_read_next(core, key, open_in_place):
    for value in (b"old", b"new", b""):
        message = core.seal(value, place(1), key)
        assert [open_in_place(message, 1, key) for _ in range(2)] == [value] * 2


def test_a_core_opens_again_what_either_core_sealed(core, key, open_in_place):
    message = one_pass.seal(VALUE, place(1), key)
    assert message is not None
    assert [open_in_place(message, 1, key) for _ in range(2)] == [VALUE] * 2


def test_find_key_is_asked_every_time(core, key):
    message = core.seal(VALUE, place(1), key)
    asked: list[tuple[str, str]] = []

    def find_key(key_id: str, version: str) -> BranchKey:
        asked.append((key_id, version))
        return key

    for _ in range(3):
        assert core.open_kept(message, place(1), key.id, find_key) == VALUE
    assert asked == [(key.id, key.version)] * 3


# -- what does not open -------------------------------------------------------------------------


def test_no_altered_bit_of_what_was_opened_before_opens(core, key, open_in_place):
    message = core.seal(VALUE, place(1), key)
    assert open_in_place(message, 1, key) == VALUE
    altered = bytearray(message)
    for at in range(len(message)):
        for bit in range(8):
            altered[at] ^= 1 << bit
            assert open_in_place(bytes(altered), 1, key) is None, (at, bit)
            altered[at] ^= 1 << bit
    assert kept(core, key) == 1
    assert open_in_place(message, 1, key) == VALUE


def test_no_cut_and_no_extension_of_what_was_opened_before_opens(core, key, open_in_place):
    message = core.seal(VALUE, place(1), key)
    assert open_in_place(message, 1, key) == VALUE
    for size in range(len(message)):
        assert open_in_place(message[:size], 1, key) is None
    for tail in (b"\0", message, message[-40:]):
        assert open_in_place(message + tail, 1, key) is None


def test_no_part_of_another_message_fits_one_that_was_opened_before(core, key, open_in_place):
    messages = [core.seal(value, place(1), key) for value in (VALUE, VALUE[::-1])]
    assert [open_in_place(message, 1, key) for message in messages] == [VALUE, VALUE[::-1]]
    one, other = messages
    for at in range(1, len(one)):
        assert open_in_place(one[:at] + other[at:], 1, key) in (
            (VALUE[::-1],) if one[:at] == other[:at] else (None,)
        )


def test_it_opens_in_no_other_place_and_under_no_other_key(core, key, open_in_place):
    message = core.seal(VALUE, place(1), key)
    assert open_in_place(message, 1, key) == VALUE

    assert open_in_place(message, 2, key) is None
    elsewhere = RowContext("patient.note", ["id"]).serialize(["1"])
    assert opened(core, message, elsewhere, key) is None
    assert open_in_place(message, 1, new_key()) is None
    # As of a key store that was rolled back, or another one in the same process.
    namesake = BranchKey(key.id, key.version, os.urandom(32))
    namesake.keeps_data_keys = True
    assert [open_in_place(message, 1, namesake) for _ in range(2)] == [None] * 2
    assert open_in_place(message, 1, new_key(id="tenant/43")) is None
    renamed = BranchKey("tenant/43", key.version, key.material)
    assert core.open_kept(message, place(1), "tenant/43", lambda *_: renamed) is None


def test_another_object_of_the_same_branch_key_derives_its_own(core, key, open_in_place):
    message = core.seal(VALUE, place(1), key)
    assert open_in_place(message, 1, key) == VALUE
    again = BranchKey(key.id, key.version, key.material)
    again.keeps_data_keys = True
    assert open_in_place(message, 1, again) == VALUE
    assert reopened(core, again) == 0


def test_what_does_not_open_is_not_kept(core, key, open_in_place):
    message = core.seal(VALUE, place(1), key)
    bad = message[:-1] + bytes([message[-1] ^ 1])  # its header is authentic
    for _ in range(2):
        assert open_in_place(bad, 1, key) is None
    assert kept(core, key) == 0


# -- how long, and how much ---------------------------------------------------------------------


def test_it_dies_with_what_is_derived_from_the_branch_key(core, key):
    message = core.seal(VALUE, place(1), key)
    opened(core, message, place(1), key)
    gone = weakref.ref(derived(core, key))
    key.wrapping = key.compiled = None
    assert gone() is None  # at once: nothing waits for the garbage collector
    assert opened(core, message, place(1), key) == VALUE
    assert reopened(core, key) == 0


def test_switched_off_it_keeps_nothing(core, open_in_place):
    key = new_key(keeps=False)
    message = core.seal(VALUE, place(1), key)
    assert [open_in_place(message, 1, key) for _ in range(2)] == [VALUE] * 2
    assert kept(core, key) == 0


def test_a_value_that_is_read_as_one_of_many_is_not_kept(core, key):
    message = core.seal(VALUE, place(1), key)
    for _ in range(2):
        assert core.open_(message, place(1), key.id, lambda *_: key) == VALUE
    assert kept(core, key) == 0
    if core is not one_pass:
        assert core.open_many([message], [place(1)], key.id, lambda *_: key) == [VALUE]
        core.reseal_many([message], [place(1)], [place(2)], key, lambda *_: key)
        assert kept(core, key) == 0


def test_a_fetch_of_very_many_rows_does_not_take_the_place_of_what_is_kept(core, key):
    if core.open_rows is None:
        pytest.skip("Python opens cells one by one")
    reader = core.CellReader(b"abcdef", ROW.head, ROW.parts, ["integer"], [key.id])
    message = core.seal(VALUE, place(1), key)
    rows = [(b"abcdef:1:" + message,)] * (MOST_KEPT // 2 + 1)
    assert core.open_rows(rows, [(0, reader, None)], lambda *_: key)[1] == len(rows)
    assert kept(core, key) == 0
    assert core.open_rows(rows[1:], [(0, reader, None)], lambda *_: key)[1] == len(rows) - 1
    assert kept(core, key) == 1


def test_a_header_that_is_very_long_is_not_kept(core, key):
    context = RowContext("patient.ssn", ["id"]).serialize(["x" * LONGEST_HEADER])
    message = core.seal(VALUE, context, key)
    assert [opened(core, message, context, key) for _ in range(2)] == [VALUE] * 2
    assert kept(core, key) == 0


def test_of_many_branch_keys_no_more_is_kept_than_the_bound(core):
    keys = [new_key() for _ in range(100)]
    context, count = place(1), MOST_KEPT // 100 + 30
    messages = [core.seal(VALUE, context, key) for key in keys for _ in range(count)]
    for number, message in enumerate(messages):
        assert opened(core, message, context, keys[number // count]) == VALUE
    assert MOST_KEPT // 4 < sum(kept(core, key) for key in keys) <= MOST_KEPT
    # What was kept last is still there, and what made room opens as ever.
    before = reopened(core, keys[-1])
    assert opened(core, messages[-1], context, keys[-1]) == VALUE
    assert reopened(core, keys[-1]) == before + 1
    assert opened(core, messages[0], context, keys[0]) == VALUE


def test_what_is_used_outlives_what_is_not(core, key):
    context, other = place(1), new_key()
    used, uses = core.seal(VALUE, context, key), 0
    for number in range(MOST_KEPT + MOST_KEPT // 4):
        if number % 50 == 0:
            assert opened(core, used, context, key) == VALUE
            uses += 1
        opened(core, core.seal(b"", context, other), context, other)
    assert reopened(core, key) == uses - 1  # all but the first


def test_its_repr_shows_no_key_and_no_value(core, key):
    opened(core, core.seal(VALUE, place(1), key), place(1), key)
    assert repr(derived(core, key)) in ("<DataKeyCache of 1>", "<CompiledKey>")


# -- threads and forks --------------------------------------------------------------------------


def test_threads_that_keep_and_drop_at_once_read_what_was_sealed(core):
    keys = [new_key() for _ in range(4)]
    sealed = [
        (key, core.seal(b"%d" % row, place(row), key), row) for key in keys for row in range(300)
    ]
    wrong: list[object] = []

    def read(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(4000):
            key, message, row = rng.choice(sealed)
            if rng.random() < 0.01:
                key.wrapping = key.compiled = None
            try:
                found = opened(core, message, place(row), key)
            except BaseException as error:
                wrong.append(error)
            else:
                if found != b"%d" % row:
                    wrong.append(found)

    in_threads(read)
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_that_is_forked_while_threads_read_reads_too(core, key):
    sealed = [(core.seal(VALUE, place(row), key), place(row)) for row in range(50)]
    is_over = threading.Event()

    def read() -> None:
        while not is_over.is_set():
            for message, context in sealed:
                opened(core, message, context, new_key())
                opened(core, message, context, key)

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(10):
            child = os.fork()
            if not child:
                signal.alarm(30)  # ends a child that waits for a lock
                found = [opened(core, message, context, key) for message, context in sealed]
                os._exit(0 if found == [VALUE] * len(sealed) else 1)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        is_over.set()
        for thread in threads:
            thread.join()


def test_a_storm_of_threads_over_thousands_of_keys_keeps_the_bound(monkeypatch):
    """Of which some find the generation full while the one before is still being dropped."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    monkeypatch.setattr(data_key_cache, "_is_full", itertools.cycle([False] * 511 + [True]))
    caches = [DataKeyCache() for _ in range(3000)]
    wrong: list[BaseException] = []

    def keep(seed: int) -> None:
        try:
            for number in range(4000):
                cache = caches[(seed * 4000 + number * 7) % 3000]
                cache.keep(b"%d %d" % (seed, number), CIPHER)
            assert repr(caches[seed])
        except BaseException as error:
            wrong.append(error)

    try:
        in_threads(keep, 20)
    finally:
        sys.setswitchinterval(interval)
    assert not wrong
    for number in range(2 * 512):  # so that all that the threads left is dropped
        caches[0].keep(b"%d" % number, CIPHER)
    assert sum(len(cache) for cache in caches[1:]) == 0


def test_an_interrupt_while_a_generation_is_dropped_leaves_nothing_for_ever(monkeypatch):
    monkeypatch.setattr(data_key_cache, "_is_full", itertools.cycle([False] * 9 + [True]))
    caches = [DataKeyCache() for _ in range(8)]
    for cache in caches:
        cache.keep(b"old", CIPHER)

    def interrupted(cache: DataKeyCache) -> None:
        raise KeyboardInterrupt

    def keep_ten() -> None:
        for _ in range(10):
            caches[0].keep(b"new", CIPHER)

    with monkeypatch.context() as patched:
        patched.setattr(DataKeyCache, "drop_older", interrupted)
        with pytest.raises(KeyboardInterrupt):
            keep_ten()
    for _ in range(30):
        caches[0].keep(b"new", CIPHER)
    assert [len(cache) for cache in caches] == [1] + [0] * 7


def in_threads(work: Callable[[int], None], count: int = 4) -> None:
    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
