"""SQLAlchemy's source distribution, which has its tests, of the version that is installed."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
from importlib import metadata
from pathlib import Path

PROJECT = Path(__file__).parents[2]


def unpacked(folder: Path) -> Path:
    """The unpacked distribution; downloaded when `folder` does not have it yet.

    :raises LookupError: no lock file has the version.
    """
    version = metadata.version("sqlalchemy")
    tree = folder / f"sqlalchemy-{version}"
    if not tree.exists():
        folder.mkdir(parents=True, exist_ok=True)
        archive = _download(version, folder)
        with tarfile.open(archive) as tar:
            tar.extractall(folder / "unpacking", filter="data")
        # Whole or not at all, should it be interrupted.
        (folder / "unpacking" / tree.name).rename(tree)
    return tree


def _download(version: str, folder: Path) -> Path:
    wanted = folder / "wanted.txt"
    wanted.write_text(_locked(version))
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    # Only its own: what pip builds it with, to read its metadata, may be a wheel.
    command += ["--no-binary", "sqlalchemy", "--dest", str(folder), "--requirement", str(wanted)]
    subprocess.run(command, check=True)
    return folder / f"sqlalchemy-{version}.tar.gz"


def _locked(version: str) -> str:
    """The requirement as a lock file has it: the version and the hashes of its archives."""
    found = re.compile(
        rf"^sqlalchemy=={re.escape(version)} \\\n(?:    --hash=\S+(?: \\)?\n)+", re.M
    )
    for lock in sorted((PROJECT / "requirements").glob("*.txt")):
        if match := found.search(lock.read_text()):
            return match.group()
    raise LookupError(f"no lock file in requirements/ has the installed sqlalchemy=={version}")
