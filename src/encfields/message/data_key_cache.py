"""The data key cache: what messages that were opened before are opened with.

To open a message, its data key is unwrapped and its cipher derived from that, and both are compared
with its header. All of that depends on the branch key and the bytes of the header alone, and takes
most of the time. So the cipher is kept, by these bytes. A message with exactly the same header,
context and header tag included, is opened with it, and its content is authenticated every time.

Only what opened is kept, and only in what was derived from the branch key, so that it is dropped
with that. Of a plaintext nothing is kept.

At most :data:`MOST_KEPT` are kept in a process, for all branch keys together: of two generations,
the older one is dropped when the newer one is full, but for what was used since. This needs no
lock, which a forked child could find locked. Threads may do it at the same time, and an interrupt
may end it halfway: at worst something is derived again, or dropped a generation later.
"""

from __future__ import annotations

import itertools
import weakref

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MOST_KEPT = 8192
"""Most ciphers that are kept in a process, at some 3 KB each."""

LONGEST_HEADER = 1024
"""Most bytes of a header, without its tag, whose cipher is kept: a context may have 65,535."""

_GENERATION = MOST_KEPT // 2

_is_full = itertools.cycle([False] * (_GENERATION - 1) + [True])
"""Counts: one step, which no other thread interrupts, for each that is kept."""


class DataKeyCache:
    """The ciphers of messages under one branch key.

    :ivar newer: by the header and its tag, with which a message starts. (Nothing is kept in
        tuples, which Python's garbage collector would have to look through.)
    :ivar older: the same; these are dropped next.
    :ivar reopened: how many messages were opened with one.
    """

    __slots__ = ("__weakref__", "_ref", "newer", "older", "reopened")

    def __init__(self) -> None:
        self.newer: dict[bytes, AESGCM] = {}
        self.older: dict[bytes, AESGCM] = {}
        self.reopened = 0
        self._ref = weakref.ref(self)

    def __len__(self) -> int:
        return len(self.newer | self.older)  # in one step each, whatever other threads keep

    def __repr__(self) -> str:
        return f"<DataKeyCache of {len(self)}>"

    def find(self, start: bytes) -> AESGCM | None:
        """The cipher of a message, if one with the same header was opened before.

        :param start: its header and the header's tag. A header says itself where it ends, so that
            no other one starts with it.
        """
        cipher = self.newer.get(start)
        if cipher is None:
            cipher = self.older.get(start)
            if cipher is None:
                return None
            self.keep(start, cipher)
        self.reopened += 1
        return cipher

    def keep(self, start: bytes, cipher: AESGCM) -> None:
        """Keep the cipher of a message that was opened with it."""
        if next(_is_full):
            _start_generation()
        self.newer[start] = cipher
        _filled.add(self._ref)  # after that, so that nothing is kept which will not be dropped

    def drop_older(self) -> None:
        """Drop the older generation; the newer one becomes it."""
        self.older, self.newer = self.newer, {}


_filled: set[weakref.ref[DataKeyCache]] = set()
"""Those that have something, and some that have nothing any more or are gone."""


def _start_generation() -> None:
    for ref in list(_filled):
        cache = ref()
        if cache is None:
            _filled.discard(ref)
            continue
        cache.drop_older()
        if not cache.older:
            _filled.discard(ref)
            if cache.newer or cache.older:  # another thread kept something meanwhile
                _filled.add(ref)
