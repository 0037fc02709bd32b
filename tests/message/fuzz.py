"""Mutation fuzzing of the reader: no altered message opens, and no foreign exception escapes.

    python tests/message/fuzz.py --count 200000 [--seed 1]

Every mutation is drawn from a seeded generator, so a finding is repeated with its seed.
"""

from __future__ import annotations

import argparse
import os
import random
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence

from encfields.context import serialize
from encfields.errors import EncFieldsError, KeyNotFoundError
from encfields.keys.branch_key import BranchKey
from encfields.message import open_, seal

CONTEXT = serialize({"enc:column": "patient.ssn", "enc:row:id": "42"})
OTHER_CONTEXT = serialize({"enc:column": "patient.ssn", "enc:row:id": "43"})


class Accepted(AssertionError):
    """An altered message opened."""


class Corpus:
    """Genuine messages, and what opens them.

    :param more: further messages sealed for :data:`CONTEXT` under `key`, in other forms.
    """

    def __init__(self, key: BranchKey, more: Sequence[bytes] = ()) -> None:
        self.keys = {(key.id, key.version): key}
        self.messages = [seal(bytes(size), CONTEXT, key) for size in (0, 1, 11, 200, 5000)]
        self.messages += [seal(b"other row", OTHER_CONTEXT, key), *more]
        self.genuine = set(self.messages)

    def find_key(self, key_id: str, version: str) -> BranchKey:
        try:
            return self.keys[key_id, version]
        except KeyError:
            raise KeyNotFoundError("no such key", key_id=key_id) from None

    def check(self, message: bytes, context: bytes = CONTEXT) -> str:
        """Name of the error that refuses `message`.

        :raises Accepted: it opened though it is none of the genuine messages.
        """
        try:
            open_(message, context, self.find_key)
        except EncFieldsError as error:
            return type(error).__name__
        if message not in self.genuine:
            raise Accepted(f"opened: {message.hex()}")
        return "genuine"


def flip(rng: random.Random, message: bytearray, other: bytes) -> None:
    message[rng.randrange(len(message))] ^= 1 << rng.randrange(8)


def replace(rng: random.Random, message: bytearray, other: bytes) -> None:
    start = rng.randrange(len(message))
    end = min(len(message), start + rng.randrange(1, 40))
    message[start:end] = rng.randbytes(end - start)


def edit_length(rng: random.Random, message: bytearray, other: bytes) -> None:
    """Overwrite a big-endian field with a value that parsers trip over."""
    start = rng.randrange(len(message))
    value = rng.choice([0, 1, 2, 91, 93, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF])
    size = rng.choice([2, 4, 8])
    message[start : start + size] = (value & (1 << 8 * size) - 1).to_bytes(size, "big")


def truncate(rng: random.Random, message: bytearray, other: bytes) -> None:
    del message[rng.randrange(len(message)) :]


def extend(rng: random.Random, message: bytearray, other: bytes) -> None:
    message += rng.randbytes(rng.randrange(1, 40))


def insert(rng: random.Random, message: bytearray, other: bytes) -> None:
    start = rng.randrange(len(message))
    message[start:start] = rng.randbytes(rng.randrange(1, 8))


def delete(rng: random.Random, message: bytearray, other: bytes) -> None:
    start = rng.randrange(len(message))
    del message[start : start + rng.randrange(1, 40)]


def splice(rng: random.Random, message: bytearray, other: bytes) -> None:
    """The start of one message and the end of another."""
    cut = rng.randrange(len(message))
    message[cut:] = other[rng.choice([cut, rng.randrange(len(other))]) :]


def transplant(rng: random.Random, message: bytearray, other: bytes) -> None:
    """A stretch of one message at the same place in another."""
    start = rng.randrange(min(len(message), len(other)))
    end = start + rng.randrange(1, 120)
    message[start:end] = other[start:end]


Mutation = Callable[[random.Random, bytearray, bytes], None]
MUTATIONS: tuple[Mutation, ...] = (
    flip, replace, edit_length, truncate, extend, insert, delete, splice, transplant,
)  # fmt: skip


def run(corpus: Corpus, count: int, seed: int) -> Counter[str]:
    """Try `count` mutations; how each was refused.

    :raises Accepted: an altered message opened. Any other exception is a defect, too.
    """
    rng = random.Random(seed)
    refusals: Counter[str] = Counter()
    for _ in range(count):
        message = bytearray(rng.choice(corpus.messages))
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            if message:
                rng.choice(MUTATIONS)(rng, message, rng.choice(corpus.messages))
        refusals[corpus.check(bytes(message))] += 1
    return refusals


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    options = parser.parse_args()
    print(f"seed {options.seed}")
    started = time.perf_counter()
    key = BranchKey("default", str(uuid.uuid4()), os.urandom(32))
    for name, times in run(Corpus(key), options.count, options.seed).most_common():
        print(f"{times:>9}  {name}")
    print(f"{options.count} mutations, none accepted, {time.perf_counter() - started:.1f} s")


if __name__ == "__main__":
    main()
