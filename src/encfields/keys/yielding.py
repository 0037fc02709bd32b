"""Letting an event loop go on while another thread fetches a key.

Opening a key is some 10 ms of Python on another thread. Python lets a thread run for 5 ms
(``sys.getswitchinterval()``) before it gives way, so that the event loop would come late by as
much each time it wakes. While a key is fetched beside an event loop, and only then, threads give
way sooner. The setting is the whole process's: it is put back, unless the application changed it
meanwhile, and one that is shorter already is left alone.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from encfields.keys.forking import in_forked_child

INTERVAL = 0.0005
"""Seconds after which a thread gives way. Shorter ones make the fetch slower and the loop no
quicker: see ``benchmarks/event_loop.py``."""


class _SwitchInterval:
    """The interval while at least one thread asks for a short one."""

    def __init__(self) -> None:
        self._start_afresh()

    def _start_afresh(self) -> None:
        self._lock = threading.Lock()
        self._holders = 0
        self._before: float | None = None

    def shorten(self) -> None:
        with self._lock:
            self._holders += 1
            before = sys.getswitchinterval()
            if self._before is None and before > INTERVAL:
                self._before = before
                sys.setswitchinterval(INTERVAL)

    def restore(self) -> None:
        with self._lock:
            self._holders -= 1
            if self._holders == 0:
                self._put_back()

    def _put_back(self) -> None:
        before, self._before = self._before, None
        if before is not None and abs(sys.getswitchinterval() - INTERVAL) < INTERVAL / 10:
            sys.setswitchinterval(before)

    def after_fork(self) -> None:
        """The child has none of the threads that asked."""
        self._put_back()
        self._start_afresh()


_interval = _SwitchInterval()
in_forked_child(_interval.after_fork)


@contextmanager
def yielding() -> Iterator[None]:
    """Have every thread give way to others soon."""
    _interval.shorten()
    try:
        yield
    finally:
        _interval.restore()
