"""A bulk run in a process of its own, to be killed: python -m tests.reencrypt.process URL."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

from sqlalchemy import Engine

from encfields import Encryption
from encfields.bulk.reencryption import Options, Reencryption
from tests.reencrypt.support import PATIENT, attach_to

ROOT = Path(__file__).parents[2]


def start(url: str, *arguments: str) -> subprocess.Popen[str]:
    """The run in a process of its own, which prints the run's state and id when it ends."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    command = [sys.executable, "-m", "tests.reencrypt.process", url, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT)


def attach_as_on_windows(url: str) -> tuple[Engine, Encryption]:
    """A worker's setup, after which neither SIGTERM nor its parent's id tells it anything."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    parent = os.getppid()
    os.getppid = lambda: parent
    return attach_to(url, create=False)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--rows-per-second", type=float)
    parser.add_argument("--as-on-windows", action="store_true")
    arguments = parser.parse_args()
    setup = partial(attach_to, arguments.url, create=False)
    if arguments.as_on_windows:
        setup = partial(attach_as_on_windows, arguments.url)
    options = Options(
        batch_rows=50,
        range_rows=200,
        workers=arguments.workers,
        rows_per_second=arguments.rows_per_second,
        lease_seconds=2,
        setup=setup,
    )
    engine, encryption = attach_to(arguments.url, create=False)
    report = Reencryption(engine, encryption, PATIENT, options=options).run()
    print(report.state, report.run_id, flush=True)


if __name__ == "__main__":
    main()
