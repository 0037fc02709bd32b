"""Worker processes end with their coordinator and at its word, also where no signal tells them.

Windows has no SIGTERM to catch, and a child there keeps its dead parent's process id.
"""

from __future__ import annotations

import threading
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.bulk.faults import children_of, rows_written
from tests.bulk.process import attach_as_on_windows, start
from tests.bulk.support import Clinic
from tests.waiting import until


@pytest.fixture
def clinic(postgresql) -> Clinic:
    made = Clinic(postgresql)
    made.fill(400)
    made.rotate()
    return made


def test_workers_end_when_their_coordinator_is_killed(clinic):
    url = clinic.backend.url_text
    setup = partial(attach_as_on_windows, url)
    process = start(url, workers=2, rows_per_second=20, setup=setup)
    try:
        until(lambda: rows_written(clinic) > 0)
        workers = children_of(process.pid)
    finally:
        process.kill()
    assert workers
    until(lambda: not any(is_running(worker) for worker in workers))


def test_workers_that_are_told_to_stop_end_after_the_batch_under_way(clinic):
    stop = threading.Event()
    setup = partial(attach_as_on_windows, clinic.backend.url_text)
    run = clinic.run(workers=2, rows_per_second=100, setup=setup)
    report = run.run(stop=stop, progress=lambda told: stop.set() if told.rows_done else None)

    assert not report.finished
    # A worker that was killed would have kept its range until its lease lapses.
    with clinic.engine.connect() as connection:
        owners = connection.scalars(text("SELECT owner FROM encfields_ranges")).all()
    assert set(owners) == {None}


def is_running(process_id: int) -> bool:
    """Whether it is there, and not only waiting for somebody to ask how it ended."""
    try:
        state = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
