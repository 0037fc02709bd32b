"""Mutation fuzzing of the reader: no altered message opens, and no foreign exception escapes.

    python -m tests.message.fuzz --count 200000 [--seed 1]

Messages are altered, truncated, extended and spliced, in every form that the reader takes: ours,
and the stock client's with several frames, unframed and with two data keys. Only what differs
from every genuine message is counted. Mutations are drawn from a seeded generator, and a message
that opened is printed.
"""

from __future__ import annotations

import argparse
import os
import random
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence

from encfields.branch_key import BranchKey
from encfields.context import serialize
from encfields.errors import EncFieldsError, KeyNotFoundError
from encfields.message import open_, seal

PAIRS = {"enc:column": "patient.ssn", "enc:row:id": "42"}
CONTEXT = serialize(PAIRS)
OTHER_CONTEXT = serialize({"enc:column": "patient.ssn", "enc:row:id": "43"})


class Accepted(AssertionError):
    """An altered message opened."""


class Corpus:
    """Genuine messages, and what opens them.

    :param more: further messages sealed for :data:`CONTEXT` under `key`, in other forms.
    """

    def __init__(self, key: BranchKey, more: Sequence[bytes] = ()) -> None:
        self.keys = {(key.id, key.version): key}
        self.key_ids = (key.id,)
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
            open_(message, context, self.find_key, self.key_ids)
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


def mutate(rng: random.Random, corpus: Corpus, kinds: Counter[str]) -> bytes:
    """A message that is none of the genuine ones; `kinds` counts what was done to it."""
    while True:
        message = bytearray(rng.choice(corpus.messages))
        chosen = [rng.choice(MUTATIONS) for _ in range(rng.choice((1, 1, 1, 2, 3)))]
        for mutation in chosen:
            if message:
                mutation(rng, message, rng.choice(corpus.messages))
        mutated = bytes(message)
        if mutated not in corpus.genuine:
            kinds.update(mutation.__name__ for mutation in chosen)
            return mutated


def run(corpus: Corpus, count: int, seed: int, kinds: Counter[str] | None = None) -> Counter[str]:
    """Try `count` altered messages; how each was refused.

    :param kinds: counts the mutations by kind; a message may have had several.
    :raises Accepted: an altered message opened. Any other exception is a defect, too.
    """
    rng = random.Random(seed)
    kinds = Counter() if kinds is None else kinds
    refusals: Counter[str] = Counter()
    for _ in range(count):
        refusals[corpus.check(mutate(rng, corpus, kinds))] += 1
    return refusals


def stock_forms(key: BranchKey) -> list[bytes]:
    """Stock messages in the forms that we read and do not write: frames, unframed, two keys."""
    from aws_encryption_sdk.identifiers import AlgorithmSuite

    from tests.message import stock

    client, keyring = stock.client(), stock.hierarchical_keyring(key)
    both = stock.multi_keyring(keyring, stock.raw_aes_keyring(os.urandom(32)))
    return [
        client.encrypt(
            source=bytes(300),
            keyring=member,
            encryption_context=PAIRS,
            frame_length=frame_length,
            algorithm=AlgorithmSuite.AES_256_GCM_HKDF_SHA512_COMMIT_KEY,
        )[0]
        for member, frame_length in [(keyring, 128), (keyring, 0), (both, 4096)]
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    options = parser.parse_args()
    print(f"seed {options.seed}")
    started = time.perf_counter()
    key = BranchKey("default", str(uuid.uuid4()), os.urandom(32))
    kinds: Counter[str] = Counter()
    refusals = run(Corpus(key, stock_forms(key)), options.count, options.seed, kinds)
    for title, counts in ("mutations", kinds), ("refused with", refusals):
        print(f"{title}:")
        for name, times in counts.most_common():
            print(f"{times:>9}  {name}")
    seconds = time.perf_counter() - started
    print(f"{refusals.total()} altered messages, none accepted, {seconds:.1f} s")


if __name__ == "__main__":
    main()
