"""SIGINT and SIGTERM end a run between two batches; only the coordinator handles Ctrl-C."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class SignalledStop(threading.Event):
    """A stop event that tells whether somebody pressed Ctrl-C."""

    by_interrupt = False


@contextmanager
def stopping_on_signals(stop: threading.Event) -> Iterator[None]:
    """Set `stop` at the first signal; a second SIGINT interrupts as usual.

    Outside the main thread Python allows no handlers, so signals are left alone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        if isinstance(stop, SignalledStop):
            stop.by_interrupt = number == signal.SIGINT
        stop.set()

    before = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


@contextmanager
def children_ignoring_interrupts() -> Iterator[None]:
    """Start child processes with SIGINT blocked, from their first import on.

    A terminal sends it to every process; one that is still importing would print a traceback. The
    caller receives it afterwards.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    # Python's resource tracker unblocks signals when it starts, so start it first.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
