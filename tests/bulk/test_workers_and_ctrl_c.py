"""Ctrl-C in a terminal reaches every process; a worker that is still importing does not show it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """\
import multiprocessing, signal

def tell():
    print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []), flush=True)

if __name__ == "__main__":
    from encfields.bulk.runs.signals import children_ignoring_interrupts

    for _ in range(2):
        worker = multiprocessing.get_context("spawn").Process(target=tell)
        with children_ignoring_interrupts():
            worker.start()
        worker.join()
    tell()
"""


def test_a_worker_hears_none_from_its_start_on_and_its_coordinator_does(tmp_path: Path) -> None:
    """A process of its own: Python's helper of started processes has to come up as well."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, program], capture_output=True, text=True, timeout=240, check=True
    )
    assert (done.stdout, done.stderr) == ("True\nTrue\nFalse\n", "")
