"""Waiting for what is going to happen, however busy the machine: never for a set time."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic, sleep
from typing import TypeVar

E = TypeVar("E", bound=Exception)

PATIENCE = 120.0
"""Seconds after which what was waited for does not come any more."""

PAUSES = (0.002, 0.05)
"""Seconds between the first two looks, and the most between two: to look takes of what is waited
for, where cores are few."""


def until(condition: Callable[[], object], what: str = "what was waited for") -> None:
    """Wait until a condition holds.

    :param what: what it waits for, for the failure's text.
    :raises AssertionError: after :data:`PATIENCE`.
    """
    end = monotonic() + PATIENCE
    pause, longest = PAUSES
    while not condition():
        assert monotonic() < end, f"{what} did not happen within {PATIENCE:g} s"
        sleep(pause)
        pause = min(1.5 * pause, longest)


def until_raises(error: type[E], ask: Callable[[], object]) -> E:
    """Ask again and again until the answer is an error of this class.

    :param ask: its answer until then does not matter; any other error is passed on.
    :returns: the error.
    :raises AssertionError: after :data:`PATIENCE`.
    """
    raised: list[E] = []

    def has_raised() -> bool:
        try:
            ask()
        except error as caught:
            raised.append(caught)
        return bool(raised)

    until(has_raised, error.__name__)
    return raised[0]
