"""The command in a process of its own."""

from __future__ import annotations

import os
from pathlib import Path

from tests import forked
from tests.servers.backends import Backend

ROOT = Path(__file__).parents[2]

IMPORTED = ("encfields.cli.main", "encfields.testing")
"""What a forked command need not import."""

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


def start(backend: Backend, *arguments: str, program: tuple[str, str] = COMMAND) -> forked.Command:
    """Start the command on a database.

    :param program: what Python is to run.
    """
    return forked.Command(
        *program,
        *arguments,
        folder=Path.cwd(),
        environment=environment_for(backend),
        imported=IMPORTED,
    )


def environment_for(backend: Backend) -> dict[str, str]:
    """The environment variables with which the command is on a database."""
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT / "src"),
        "ENCFIELDS_DATABASE_URL": backend.url_text,
    }
