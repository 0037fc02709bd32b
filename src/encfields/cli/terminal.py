"""Entry point in a terminal: Ctrl-C ends the command without a traceback at any time."""

from __future__ import annotations

import atexit
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

from encfields.cli import exits
from encfields.cli.interrupts import interrupts, unraisable


def run() -> int:
    """Run the command, from its first import to its end.

    :returns: the exit status, see :mod:`encfields.cli.exits`.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return _main()()  # a background process ignores Ctrl-C
    # The last thing that Python does before it removes its handlers.
    atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)
    sys.unraisablehook = unraisable
    try:
        signal.signal(signal.SIGINT, _leave)
        command = _main()
        signal.signal(signal.SIGINT, interrupts.press)
        return command()
    except KeyboardInterrupt:  # a second one, while the first was handled
        return exits.INTERRUPTED
    finally:
        signal.signal(signal.SIGINT, _leave)
        if interrupts.terminated:  # as the process would have ended without its handler
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.raise_signal(signal.SIGTERM)


def _main() -> Callable[[], int]:
    """The command, whose imports take a second or so."""
    from encfields.cli.main import main

    return main


def _leave(number: int, frame: FrameType | None) -> None:
    """Exit at once: nothing has begun yet, or all is done and Python waits for its threads."""
    os._exit(exits.INTERRUPTED)
