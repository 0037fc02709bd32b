"""A file system of a few megabytes, to be full."""

from __future__ import annotations

import errno
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.servers.process import ServerError

_BLOCK = bytes(4096)


class SmallDisk:
    """A small file system of our own, gone after :meth:`close`.

    :param megabytes: its size.
    :ivar directory: its root.
    :raises ServerError: this user may not mount one; says what to do.
    """

    def __init__(self, megabytes: int) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="encfields-disk-"))
        self._ballast = self.directory / "ballast"
        # Others pass through, to directories of their own.
        options = f"size={megabytes}m,mode=711,uid={os.getuid()},gid={os.getgid()}"
        done = _as_root("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.directory))
        if done.returncode:
            self.directory.rmdir()
            raise ServerError(
                "a full disk needs a small file system, and this user may not mount one "
                f"({done.stderr.strip()}): run the tests as root, in a container with "
                "CAP_SYS_ADMIN, or as a user with sudo and no password"
            )

    def directory_for(self, user: str | None) -> Path:
        """A new directory that belongs to a user."""
        made = Path(tempfile.mkdtemp(dir=self.directory))
        if user is not None:
            account = pwd.getpwnam(user)
            shutil.chown(made, account.pw_uid, account.pw_gid)
        return made

    def fill(self) -> None:
        """Take what is free of it, to the last block."""
        with self._ballast.open("ab", buffering=0) as file:
            try:
                while True:
                    file.write(_BLOCK)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise

    def free(self) -> None:
        """Give back what :meth:`fill` took."""
        self._ballast.unlink(missing_ok=True)

    def close(self) -> None:
        """Unmount it, whatever is still open on it."""
        _as_root("umount", "-l", str(self.directory))
        self.directory.rmdir()


def _as_root(*command: str) -> subprocess.CompletedProcess[str]:
    sudo = [] if os.geteuid() == 0 or shutil.which("sudo") is None else ["sudo", "-n"]
    return subprocess.run([*sudo, *command], capture_output=True, text=True, check=False)
