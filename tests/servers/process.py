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
from contextlib import suppress
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
    :param parent: where to make the directory; default the system's place for such.
    """

    def __init__(self, name: str, user: str | None = None, parent: Path | None = None) -> None:
        self.name = name
        self.directory = Path(tempfile.mkdtemp(prefix=f"encfields-{name}-", dir=parent))
        self._process: subprocess.Popen[bytes] | None = None
        self._user_id: int | None = None
        self._group_id: int | None = None
        self._extra_groups: list[int] | None = None
        if user is not None:
            account = pwd.getpwnam(user)
            self._user_id, self._group_id = account.pw_uid, account.pw_gid
            self._extra_groups = []
        self._give(self.directory)

    def make_directory(self, name: str) -> Path:
        """A directory within its own that the server may write to."""
        made = self.directory / name
        made.mkdir()
        self._give(made)
        return made

    def _give(self, path: Path) -> None:
        if self._user_id is not None and self._group_id is not None:
            os.chown(path, self._user_id, self._group_id)

    @property
    def has_ended(self) -> bool:
        """Whether it is not running: not started, ended, or ended by itself."""
        return self._process is None or self._process.poll() is not None

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
        timeout: float = 180.0,
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

    def end(self, sign: signal.Signals = signal.SIGTERM) -> None:
        """End the server and keep its directory, to start it again. Safe to call twice."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.send_signal(sign)
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def crash(self) -> None:
        """Kill the server and every process of its own at once, as a crash of the machine does."""
        if self._process is None:
            return
        # Stopped, it starts no other child between the look and the kill.
        self._process.send_signal(signal.SIGSTOP)
        children = _children_of(self._process.pid)
        for process_id in (self._process.pid, *children):
            with suppress(ProcessLookupError):
                os.kill(process_id, signal.SIGKILL)
        self.end(signal.SIGKILL)
        # They are not ours to wait for, and the server does not start beside one of them.
        while any(_is_alive(process_id) for process_id in children):
            time.sleep(0.01)

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> None:
        """End the server and remove its directory. Safe to call twice."""
        self.end(sign)
        shutil.rmtree(self.directory, ignore_errors=True)


def _children_of(process_id: int) -> list[int]:
    """A process's children; where the system does not tell, none: they see that it is gone."""
    entries = (_stat(int(path.name)) for path in Path("/proc").glob("[0-9]*"))
    return [child for child, _, parent in filter(None, entries) if parent == process_id]


def _is_alive(process_id: int) -> bool:
    # A zombie holds nothing any more, and who is to bury it may take long.
    found = _stat(process_id)
    return found is not None and found[1] not in "ZX"


def _stat(process_id: int) -> tuple[int, str, int] | None:
    """Process id, state and parent's id; ``None`` when there is no such process."""
    try:
        fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return process_id, fields[0], int(fields[1])
