"""Build what is released, install it into clean environments, and run the quick start there.

usage: PYTHON scripts/try_release.py PYTHONS...
  PYTHONS  interpreters, one of each version: what scripts/find_python.sh --all prints

For each interpreter a new environment gets the wheel as a user would install it, with the newest
versions of what it depends on, and runs the page docs/quick-start.md in an empty folder.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from scripts.make_venv import ROOT

QUICK_START = ROOT / "docs" / "quick-start.md"


def main(pythons: list[str]) -> None:
    with tempfile.TemporaryDirectory(prefix="encfields-release-") as name:
        folder = Path(name)
        run([sys.executable, "-m", "hatchling", "build", "-d", str(folder / "dist")], ROOT)
        (wheel,) = (folder / "dist").glob("encfields-*.whl")
        (source,) = (folder / "dist").glob("encfields-*.tar.gz")
        print(f"built {wheel.name} and {source.name}", flush=True)
        for python in pythons:
            try_on(python, wheel, folder / Path(python).name)


def try_on(python: str, wheel: Path, folder: Path) -> None:
    """Install the wheel into a new environment of this interpreter, and run the page."""
    folder.mkdir()
    run([python, "-m", "venv", str(folder / "venv")], folder)
    installed = folder / "venv" / "bin" / "python"
    run([str(installed), "-m", "pip", "install", "-qq", f"{wheel}[cli]"], folder)
    (folder / "quick_start.py").write_text(code_of(QUICK_START.read_text()))
    run([str(installed), "quick_start.py"], folder)
    run([str(installed.with_name("encfields")), "--version"], folder)
    print(f"the quick start runs on {Path(python).name}", flush=True)


def code_of(page: str) -> str:
    """The page's Python, in its order."""
    return "\n".join(part.partition("\n```")[0] for part in page.split("```python\n")[1:])


def run(command: list[str], folder: Path) -> None:
    """Run a command in a folder; its output is shown if it fails."""
    done = subprocess.run(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout}")


if __name__ == "__main__":
    main(sys.argv[1:])
