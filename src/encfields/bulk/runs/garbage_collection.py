"""Keeping Python's garbage collector from walking a whole program for the sake of batches.

A batch is some thousands of objects that live for milliseconds and are in no cycle: they are gone
as soon as nothing names them. But the collector looks for cycles several times a batch, and what
is still there then makes it walk through all objects of the program before long: a third of the
processor time that a run took. So while a run works, it waits for more objects than batches hold.

The setting is the whole process's: it is put back, unless the application changed it meanwhile, and
one that is as large already, or turned off, is left alone. Cycles are still found, only later.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from encfields.keys.forking import in_forked_child

YOUNG_OBJECTS = 25_000
"""So many more objects than before make the collector look: those of two batches are fewer, unless
rows have very many encrypted columns."""


class _Threshold:
    """The collector's threshold while at least one run works."""

    def __init__(self) -> None:
        self._start_afresh()

    def _start_afresh(self) -> None:
        self._lock = threading.Lock()
        self._runs = 0
        self._before: int | None = None

    def lift(self) -> None:
        with self._lock:
            self._runs += 1
            now = gc.get_threshold()[0]
            if self._runs == 1 and 0 < now < YOUNG_OBJECTS:
                self._before = now
                gc.set_threshold(YOUNG_OBJECTS)

    def restore(self) -> None:
        with self._lock:
            self._runs -= 1
            if not self._runs:
                self._put_back()

    def _put_back(self) -> None:
        before, self._before = self._before, None
        if before is not None and gc.get_threshold()[0] == YOUNG_OBJECTS:
            gc.set_threshold(before)

    def after_fork(self) -> None:
        """The child has none of the threads in which runs work."""
        self._put_back()
        self._start_afresh()


_threshold = _Threshold()
in_forked_child(_threshold.after_fork)


@contextmanager
def fewer_collections() -> Iterator[None]:
    """Have the collector look for garbage less often."""
    _threshold.lift()
    try:
        yield
    finally:
        _threshold.restore()
