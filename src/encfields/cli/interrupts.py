"""Ctrl-C, whatever becomes of the exception by which Python tells of it.

Python raises ``KeyboardInterrupt`` wherever the program happens to be. In the body of a class that
is just imported it becomes a ``RuntimeError`` (before Python 3.12), in a driver an error of the
database, and in a callback of the garbage collector it is printed and forgotten.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    UnraisableHookArgs = sys.UnraisableHookArgs
else:
    UnraisableHookArgs = Any

_AGAIN_SECONDS = 0.05


class Interrupts:
    """What this process was told by signals.

    :ivar pressed: somebody pressed Ctrl-C, and no run was there to take it as its stop.
    :ivar terminated: SIGTERM came while something had to be ended in order.
    """

    def __init__(self) -> None:
        self.pressed = self.terminated = False

    @property
    def ended(self) -> bool:
        """Whether a signal has ended the command, though an error of another kind arrived."""
        return self.pressed or self.terminated

    def press(self, number: int, frame: FrameType | None) -> None:
        """The handler of Ctrl-C: note it, and interrupt as Python's own does."""
        self.pressed = True
        raise KeyboardInterrupt

    @contextmanager
    def sigterm_ends_in_order(self) -> Iterator[None]:
        """Have SIGTERM interrupt as Ctrl-C does, where what was begun must be undone or finished.

        Elsewhere it ends the process at once, also where a driver waits without looking up.
        """

        def terminate(number: int, frame: FrameType | None) -> None:
            self.terminated = True
            raise KeyboardInterrupt

        if (
            threading.current_thread() is not threading.main_thread()
            or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
        ):
            yield
            return
        signal.signal(signal.SIGTERM, terminate)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


interrupts = Interrupts()
"""Those of this process."""


def unraisable(told: UnraisableHookArgs) -> None:
    """Python's hook for errors that nobody could catch: interrupt again, where it is heard."""
    if not isinstance(told.exc_value, KeyboardInterrupt):
        sys.__unraisablehook__(told)
        return
    again = threading.Timer(_AGAIN_SECONDS, _interrupt_main_thread)
    again.daemon = True
    with suppress(RuntimeError):  # the interpreter ends anyway
        again.start()


def _interrupt_main_thread() -> None:
    number = signal.SIGTERM if interrupts.terminated else signal.SIGINT
    main = threading.main_thread().ident
    if hasattr(signal, "pthread_kill") and main is not None:
        signal.pthread_kill(main, number)  # it may wait, and has to look up
    else:
        signal.raise_signal(number)
