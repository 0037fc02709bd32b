"""Shows a run's progress: a bar in a terminal, timestamped lines in a log file."""

from __future__ import annotations

import datetime as dt
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

from encfields.bulk.runs.progress import ProgressState

if TYPE_CHECKING:
    from rich.console import Console, RenderableType


def title_of(state: ProgressState) -> str:
    """The table, and the number of the sweep."""
    return f"{state.table}, sweep {state.sweep}" if state.sweep else state.table


def notes_on(state: ProgressState) -> list[str]:
    """Quarantined values and a pause, if any."""
    notes = [f"{state.quarantined:,} values do not open"] if state.quarantined else []
    return [*notes, f"paused: {state.paused}"] if state.paused else notes


def clock(seconds: float) -> str:
    """A duration as hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


# -- in a terminal ------------------------------------------------------------------

NARROW, WIDE = 72, 100
"""Terminal widths below which only the share and the time left are shown beside the bar, and above
which the bar no longer grows."""


class ProgressBar:
    """A terminal bar with rate and remaining time: ``with ProgressBar() as bar``.

    :param console: a ``rich`` console; default standard error. Needs ``encfields[cli]``.
    """

    def __init__(self, console: Console | None = None) -> None:
        from rich.console import Console

        self._console = console or Console(stderr=True)
        self._bar: Any = _bar_on(self._console)
        self._tasks: dict[tuple[str, int], Any] = {}

    def __enter__(self) -> ProgressBar:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def __call__(self, state: ProgressState) -> None:
        name = (state.table, state.sweep)
        done, total = state.rows_done, state.rows_total
        fields: dict[str, Any] = {
            "counts": f"{short(done)}/{short(total)}",
            "share": f"{done / total if total else 1:.0%}",
            "rate": f"{short(state.rows_per_second)} rows/s",
            "left": "" if state.seconds_left is None else f"{clock(state.seconds_left)} left",
            "notes": ", ".join(notes_on(state)),
        }
        if name not in self._tasks:
            title = _shortened(title_of(state), self._console.width)
            self._tasks[name] = self._bar.add_task(title, total=total, **fields)
        self._bar.update(self._tasks[name], completed=done, total=total, **fields)


def _bar_on(console: Console) -> Any:
    from rich.progress import BarColumn, Progress, TextColumn
    from rich.text import Text

    class Bar(Progress):
        """Adds a line below with notes."""

        def get_renderables(self) -> Any:
            table: RenderableType = self.make_tasks_table(self.tasks)
            yield table
            for task in self.tasks:
                if task.fields["notes"]:
                    yield Text(f"  {task.description}: {task.fields['notes']}", style="yellow")

    names = ["share", "left"] if console.width < NARROW else ["share", "counts", "rate", "left"]
    # Table names are not markup.
    texts = [
        TextColumn(f"{{task.fields[{name}]}}", justify="right", markup=False) for name in names
    ]
    return Bar(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=40 if console.width > WIDE else None),
        *texts,
        console=console,
        expand=console.width <= WIDE,
    )


def _shortened(title: str, width: int) -> str:
    longest = 12 if width < NARROW else 24
    return title if len(title) <= longest else f"{title[: longest - 1]}…"


def short(number: float) -> str:
    """A number in at most five characters."""
    for factor, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= 10 * factor:
            return f"{number / factor:.{0 if number >= 100 * factor else 1}f}{unit}"
    return f"{number:.0f}"


# -- in a log file ------------------------------------------------------------------

EVERY_SECONDS = 30.0
"""Seconds between two lines without news."""


class TimedLog:
    """Writes lines that begin with the time in UTC, at most one per interval.

    :param stream: where to write; default ``sys.stderr`` at the time of writing.
    :param every: seconds between two lines.
    :param begins_at_once: whether the first line is written without delay.
    :param now: monotonic clock, in seconds.
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

    def write(self, text: str, *, is_news: bool = False) -> None:
        """Write a line, if it is due.

        :param is_news: write it now.
        """
        if not is_news and self._now() < self._due:
            return
        self._due = self._now() + self._every
        stream = sys.stderr if self._stream is None else self._stream
        stream.write(f"{dt.datetime.now(dt.UTC):%Y-%m-%dT%H:%M:%SZ} {text}\n")
        stream.flush()


class ProgressLog:
    """Lines for a log file, instead of :class:`~encfields.bulk.reencryption.ProgressBar`.

    One when a table begins and ends, when a run pauses or continues, when the first value does not
    open, and every half minute.

    :param stream: where to write; default standard error. :param every: seconds between two lines.
    """

    def __init__(self, stream: TextIO | None = None, *, every: float = EVERY_SECONDS) -> None:
        self._log = TimedLog(stream, every=every)
        self._last_news: tuple[object, ...] = ()

    def __call__(self, state: ProgressState) -> None:
        is_done = state.rows_done >= state.rows_total
        news = (state.table, state.sweep, bool(state.paused), state.quarantined > 0, is_done)
        self._log.write(line_of(state), is_news=news != self._last_news)
        self._last_news = news


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
