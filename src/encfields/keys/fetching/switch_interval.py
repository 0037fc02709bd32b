"""Keeps an event loop responsive while another thread fetches a key.

Opening a key takes some 10 ms of Python on another thread. Python lets a thread run for 5 ms
(``sys.getswitchinterval()``) before it switches, which would delay the event loop each time it
wakes. So threads switch sooner while a key is fetched beside an event loop, and only then. The
setting is process-wide: it is restored unless the application changed it meanwhile, and left alone
if it is already shorter.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from encfields.keys.forking import in_forked_child

INTERVAL = 0.0005
"""Seconds after which a thread yields. Shorter intervals make the fetch slower and the loop no
faster: see ``benchmarks/event_loop.py``."""


class _SwitchInterval:
    """The interval while at least one thread asks for a short one: the shortest asked for."""

    def __init__(self) -> None:
        self._start_afresh()

    def _start_afresh(self) -> None:
        self._lock = threading.Lock()
        self._asked: list[float] = []
        self._before: float | None = None
        self._set = 0.0

    def shorten(self, interval: float) -> None:
        with self._lock:
            self._asked.append(interval)
            self._apply()

    def restore(self, interval: float) -> None:
        with self._lock:
            self._asked.remove(interval)
            if self._asked:
                self._apply()
            else:
                self._put_back()

    def _apply(self) -> None:
        shortest, now = min(self._asked), sys.getswitchinterval()
        if self._before is None:
            if now <= shortest:
                return
            self._before = now
        elif not self._is_ours(now):
            return
        self._set = min(shortest, self._before)
        sys.setswitchinterval(self._set)

    def _put_back(self) -> None:
        before, self._before = self._before, None
        if before is not None and self._is_ours(sys.getswitchinterval()):
            sys.setswitchinterval(before)

    def _is_ours(self, now: float) -> bool:
        """Whether the application has not changed it meanwhile."""
        return abs(now - self._set) < self._set / 10

    def after_fork(self) -> None:
        """The child has none of the threads that asked."""
        self._put_back()
        self._start_afresh()


_interval = _SwitchInterval()
in_forked_child(_interval.after_fork)


@contextmanager
def short_switch_interval(interval: float = INTERVAL) -> Iterator[None]:
    """Make every thread yield to others soon.

    :param interval: seconds after which it does.
    """
    _interval.shorten(interval)
    try:
        yield
    finally:
        _interval.restore(interval)
