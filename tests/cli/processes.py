"""The command in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.servers.backends import Backend

ROOT = Path(__file__).parents[2]

COMMAND = ("-m", "encfields.cli")
# What runs in the background, as CI may, has its children ignore Ctrl-C from their start.
COMMAND_IN_A_TERMINAL = (
    "-c",
    """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from encfields.cli.terminal import run
sys.exit(run())
""",
)


def start(
    backend: Backend, *arguments: str, program: tuple[str, str] = COMMAND
) -> subprocess.Popen[str]:
    """Start the command on a database.

    :param program: what Python is to run.
    """
    return subprocess.Popen(
        [sys.executable, *program, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT / "src"),
            "ENCFIELDS_DATABASE_URL": backend.url_text,
        },
    )
