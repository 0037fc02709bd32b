"""The progress of a run in a log file: a line with its time, now and then."""

from __future__ import annotations

import datetime as dt
import sys
import time
from collections.abc import Callable
from typing import TextIO

from encfields.bulk.runs.progress import ProgressState, clock, notes_on, title_of

EVERY_SECONDS = 30.0
"""Between two lines that tell no news."""


class TimedLog:
    """Writes lines that begin with the time in UTC, no oftener than makes sense.

    :param stream: where to; default standard error as it is when a line is written.
    :param every: seconds between two lines.
    :param begins_at_once: whether the first line does not wait for so long.
    :param now: seconds of a clock that never goes back.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        every: float = EVERY_SECONDS,
        begins_at_once: bool = True,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        self._every = every
        self._now = now
        self._due = now() + (0 if begins_at_once else every)

    def tell(self, text: str, *, is_news: bool = False) -> None:
        """Write a line, if it is time for one.

        :param is_news: it is time at once.
        """
        if not is_news and self._now() < self._due:
            return
        self._due = self._now() + self._every
        stream = sys.stderr if self._stream is None else self._stream
        stream.write(f"{dt.datetime.now(dt.UTC):%Y-%m-%dT%H:%M:%SZ} {text}\n")
        stream.flush()


class ProgressLog:
    """Lines for a log file, in place of :class:`~encfields.bulk.reencryption.ProgressBar`.

    One when a table is begun and when it is done, when a run pauses or goes on, when values turn
    up that do not open, and every half minute.

    :param stream: where to; default standard error. :param every: seconds between two lines.
    """

    def __init__(self, stream: TextIO | None = None, *, every: float = EVERY_SECONDS) -> None:
        self._log = TimedLog(stream, every=every)
        self._told: tuple[object, ...] = ()

    def __call__(self, state: ProgressState) -> None:
        is_done = state.rows_done >= state.rows_total
        news = (state.table, state.sweep, bool(state.paused), state.quarantined > 0, is_done)
        self._log.tell(line_of(state), is_news=news != self._told)
        self._told = news


def line_of(state: ProgressState) -> str:
    """A state as one line."""
    share = state.rows_done / state.rows_total if state.rows_total else 1.0
    parts = [
        f"{title_of(state)}: {state.rows_done:,} of {state.rows_total:,} rows ({share:.0%})",
        f"{state.rows_written:,} written",
    ]
    if state.rows_per_second:
        parts.append(f"{state.rows_per_second:,.0f} rows/s")
    if state.seconds_left:
        parts.append(f"{clock(state.seconds_left)} left")
    return ", ".join([*parts, *notes_on(state)])
