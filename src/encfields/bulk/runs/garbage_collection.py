"""Runs Python's garbage collector less often while a run works.

A batch makes thousands of short-lived objects, none of them in a cycle. At the default threshold
the collector runs several times per batch and soon walks every object of the program, which took a
third of a run's processor time. So during a run the threshold exceeds the objects of a batch.

The threshold is process-wide. It is restored unless the application changed it meanwhile, and left
alone if it is already as large, or off. Cycles are still collected, only later.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from encfields.keys.forking import in_forked_child

YOUNG_OBJECTS = 25_000
"""New objects that trigger a collection: more than two batches make, unless rows have very many
encrypted columns."""


class _Threshold:
    """Raises the collector's threshold while at least one run works."""

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
        """A forked child has no threads that work on runs."""
        self._put_back()
        self._start_afresh()


_threshold = _Threshold()
in_forked_child(_threshold.after_fork)


@contextmanager
def fewer_collections() -> Iterator[None]:
    """Collect garbage less often."""
    _threshold.lift()
    try:
        yield
    finally:
        _threshold.restore()
