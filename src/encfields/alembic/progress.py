"""Progress of a run in a migration: into Alembic's log, where a terminal's bar has no place."""

from __future__ import annotations

import logging
import time

from encfields.bulk.runs.progress import ProgressState

LOG_SECONDS = 10.0


class LoggedProgress:
    """Writes a line about every :data:`LOG_SECONDS`.

    :param log: where to.
    """

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._logged_at = time.monotonic()

    def __call__(self, state: ProgressState) -> None:
        now = time.monotonic()
        if now - self._logged_at < LOG_SECONDS:
            return
        self._logged_at = now
        self._log.info(
            "%s: %d of about %d rows, %.0f rows/s%s%s",
            state.table,
            state.rows_done,
            state.rows_total,
            state.rows_per_second,
            f", about {state.seconds_left:.0f} s left" if state.seconds_left is not None else "",
            f", pausing: {state.paused}" if state.paused else "",
        )
