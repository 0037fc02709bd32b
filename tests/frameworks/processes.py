"""Server processes of a framework, started for a test and ended with it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PATIENCE = 240.0
"""Seconds to wait for a process, on a machine that is busy with other things."""


@contextmanager
def running(arguments: list[str], folder: Path, **environment: str) -> Iterator[Path]:
    """Run a Python program in `folder` while the block lasts.

    :returns: the file that its output goes to.
    """
    output = folder / "output.txt"
    with output.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=folder,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
        try:
            yield output
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(60)
            process.kill()
            process.wait()


def wait_for(happened: Callable[[], bool], output: Path) -> None:
    """Wait until something has happened.

    :raises AssertionError: it did not; the process's output is told.
    """
    end = time.monotonic() + PATIENCE
    while not happened():
        if time.monotonic() > end:
            raise AssertionError(output.read_text())
        time.sleep(0.1)
