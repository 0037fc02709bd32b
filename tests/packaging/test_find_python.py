"""The commands find a Python that no path leads to."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "find_python.sh"
NAME = f"python{sys.version_info.major}.{sys.version_info.minor}"


@pytest.mark.parametrize("folder", [".pyenv/versions/3.x", ".local/share/uv/python/cpython-3.x"])
def test_one_that_a_version_manager_keeps_to_itself(tmp_path: Path, folder: str) -> None:
    place = tmp_path / folder / "bin"
    place.mkdir(parents=True)
    # A link would have it look for its modules beside the link.
    (place / NAME).write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (place / NAME).chmod(0o755)
    path = tmp_path / "path"
    path.mkdir()
    for tool in ("sh", "cat", "printf"):
        if found := shutil.which(tool):
            (path / tool).symlink_to(found)
    environment = {"HOME": str(tmp_path), "PATH": str(path)}
    everywhere = subprocess.run(
        ["sh", str(SCRIPT), "--all"], env=environment, capture_output=True, text=True, check=True
    )
    # What is below /usr/local or /opt is of this machine, and may be found as well.
    assert str(place / NAME) in everywhere.stdout.split("\n")
    one = subprocess.run(
        ["sh", str(SCRIPT)], env=environment, capture_output=True, text=True, check=True
    )
    assert os.access(one.stdout.strip(), os.X_OK)
