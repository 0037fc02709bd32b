"""A bulk run in a process of its own, to be killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import partial

from sqlalchemy import Engine

from encfields import Encryption
from encfields.bulk.reencryption import Options, Reencryption
from tests.bulk.support import PATIENT, attach_to
from tests.forked import Program

Setup = Callable[[], tuple[Engine, Encryption]]


def start(
    url: str, *, rows_per_second: float, workers: int = 1, setup: Setup | None = None
) -> Program:
    """The run in a process of its own; its result is the run's state and id.

    :param setup: a worker's, if not that of the process.
    """
    return Program(_run, url, rows_per_second, workers, setup)


def _run(
    url: str, rows_per_second: float, workers: int, setup: Setup | None
) -> tuple[str, str | None]:
    own_setup = partial(attach_to, url, create=False)
    options = Options(
        batch_rows=50,
        range_rows=200,
        workers=workers,
        rows_per_second=rows_per_second,
        lease_seconds=2,
        setup=setup or own_setup,
    )
    engine, encryption = own_setup()
    report = Reencryption(engine, encryption, PATIENT, options=options).run()
    return report.state, report.run_id


def attach_as_on_windows(url: str) -> tuple[Engine, Encryption]:
    """A worker's setup, after which neither SIGTERM nor its parent's id tells it anything."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    parent = os.getppid()
    os.getppid = lambda: parent
    return attach_to(url, create=False)
