"""Run a command with the tests' database servers at hand.

usage: python -m tests.servers [--ways url,private,running,install] -- COMMAND...

The command finds the servers' URLs in its environment; what was started for it is stopped when
it ends. The exit status is the command's own.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from types import FrameType

from tests.servers.process import ServerError
from tests.servers.provision import WAYS, servers


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.servers", description=__doc__)
    parser.add_argument("--ways", default=",".join(WAYS), help="ways to get a server, by commas")
    parser.add_argument("command", nargs="+")
    arguments = parser.parse_args()
    ways = arguments.ways.split(",")
    if unknown := set(ways) - set(WAYS):
        parser.error(f"unknown way {', '.join(sorted(unknown))}; known are {', '.join(WAYS)}")

    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, _leave)
    try:
        with servers(ways) as urls:
            return _run(arguments.command, {**os.environ, **urls})
    except ServerError as error:
        print(error, file=sys.stderr)
        return 3


def _run(command: list[str], environment: dict[str, str]) -> int:
    with subprocess.Popen(command, env=environment) as process:
        try:
            return process.wait()
        except KeyboardInterrupt:
            return process.wait()  # The terminal told the command as well.
        except BaseException:
            process.terminate()
            raise


def _leave(number: int, frame: FrameType | None) -> None:
    """Turn a request to end into an exception, so that the servers are stopped on the way."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
