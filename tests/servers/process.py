"""Throwaway server processes: a free port, a private directory, a clean end."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

HOST = "127.0.0.1"


class ServerError(RuntimeError):
    """A server that the tests need cannot be had; the text says what to do."""


def free_port() -> int:
    """A TCP port on the loopback address that nothing listens on right now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def unprivileged_user(*names: str) -> str | None:
    """The user to run a server as, which must not be root.

    :param names: users to prefer, such as the one that the server's package made.
    :returns: a user's name, or ``None`` to stay who we are.
    """
    if os.geteuid() != 0:
        return None
    for name in (*names, "nobody"):
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return name
    raise ServerError("running as root, and there is no other user to start a server as")


class ServerProcess:
    """One server in a temporary directory of its own; removed with everything in it.

    :param name: what it is, for messages and the directory's name.
    :param user: user to run as, or ``None`` for the current one.
    """

    def __init__(self, name: str, user: str | None = None) -> None:
        self.name = name
        self.directory = Path(tempfile.mkdtemp(prefix=f"encfields-{name}-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._user_id: int | None = None
        self._group_id: int | None = None
        self._extra_groups: list[int] | None = None
        if user is not None:
            account = pwd.getpwnam(user)
            self._user_id, self._group_id = account.pw_uid, account.pw_gid
            self._extra_groups = []
            os.chown(self.directory, account.pw_uid, account.pw_gid)

    def run(self, command: Sequence[str | Path]) -> None:
        """Run a preparing step to its end.

        :raises ServerError: with the step's own output, when it fails.
        """
        done = subprocess.run(
            command,
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            user=self._user_id,
            group=self._group_id,
            extra_groups=self._extra_groups,
        )
        if done.returncode:
            output = done.stdout.decode(errors="replace")
            raise ServerError(f"{self.name}: {command[0]} failed:\n{output}")

    def start(
        self,
        command: Sequence[str | Path],
        ready: Callable[[], bool],
        *,
        environment: dict[str, str] | None = None,
        timeout: float = 60.0,
    ) -> None:
        """Start the server and wait until it answers.

        :param ready: asks the server; ``False`` while it does not answer yet.
        :param timeout: seconds until it counts as failed.
        :raises ServerError: with the server's log, when it ends or does not answer in time.
        """
        with (self.directory / "server.log").open("wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C in the terminal is for pytest, which stops the server in its turn.
                start_new_session=True,
                user=self._user_id,
                group=self._group_id,
                extra_groups=self._extra_groups,
            )
        deadline = time.monotonic() + timeout
        while not ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                log_text = (self.directory / "server.log").read_text(errors="replace")
                self.stop()
                raise ServerError(f"{self.name} did not start:\n{log_text[-4000:]}")
            time.sleep(0.05)

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> None:
        """End the server and remove its directory. Safe to call twice."""
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.send_signal(sign)
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)
