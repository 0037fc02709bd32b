"""Reports a run's progress to a callback."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import Protocol

from encfields.bulk.runs.run_row import Run
from encfields.bulk.runs.store import Totals

REPORT_SECONDS = 0.5
"""Seconds between reports; each costs one sum over the run's ranges."""

_RATE_SECONDS = 30.0
"""Seconds over which the rate is measured."""


@dataclass(frozen=True, slots=True)
class ProgressState:
    """The progress of a run, over all its workers.

    :param table: the table's name.
    :param sweep: 0 while the table is rewritten, then the number of the sweep.
    :param rows_done: rows looked at in this pass.
    :param rows_total: the table's rows, estimated when the run was recorded.
    :param rows_written: rows rewritten. :param quarantined: values that do not open.
    :param rows_per_second: over the last half minute.
    :param seconds_left: estimate for this pass; ``None`` while unknown.
    :param paused: why the run pauses, or ``None``.
    """

    table: str
    sweep: int
    rows_done: int
    rows_total: int
    rows_written: int
    quarantined: int
    rows_per_second: float
    seconds_left: float | None
    paused: str | None


class Progress(Protocol):
    """Called about twice a second, from the thread that called ``run()``."""

    def __call__(self, state: ProgressState) -> None: ...


class ProgressReporter:
    """Calls back with a run's :class:`ProgressState`, at most twice a second.

    :param progress: the callback; ``None`` for none.
    """

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._reported_at = 0.0
        self._pass = -1
        self._points: deque[tuple[float, int]] = deque()
        self.paused: str | None = None

    @property
    def is_wanted(self) -> bool:
        """Whether there is a callback."""
        return self._progress is not None

    @property
    def is_due(self) -> bool:
        """Whether it is time for another report."""
        return self.is_wanted and time.monotonic() - self._reported_at >= REPORT_SECONDS

    def report(self, run: Run, totals: Totals) -> None:
        """Report now."""
        if self._progress is None:
            return
        now = self._reported_at = time.monotonic()
        if run.pass_number != self._pass:
            self._pass = run.pass_number
            self._points.clear()
        self._points.append((now, totals.seen_here))
        while now - self._points[0][0] > _RATE_SECONDS:
            self._points.popleft()
        rate = self._rate()
        total = max(run.estimated_rows, totals.seen_here)
        left = (total - totals.seen_here) / rate if rate > 0 else None
        self._progress(
            ProgressState(
                table=run.table_name,
                sweep=run.pass_number,
                rows_done=totals.seen_here,
                rows_total=total,
                rows_written=totals.written,
                quarantined=totals.quarantined,
                rows_per_second=rate,
                seconds_left=left,
                paused=self.paused,
            )
        )

    def _rate(self) -> float:
        (start, first), (end, last) = self._points[0], self._points[-1]
        return (last - first) / (end - start) if end > start else 0.0
