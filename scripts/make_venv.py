"""Make a virtual environment and install locked requirements and this package into it.

usage: PYTHON scripts/make_venv.py [--alone] [--over BASE] VENV REQUIREMENTS...
  --alone      install the requirements only, not this package
  --over BASE  have the packages of another environment as well, and install only what it has not,
               or in another version: most of two environments is often the same

Needs nothing but the standard library of the Python that runs it. Distributions take ``venv``
or ``ensurepip`` out of Python, so several ways are tried before a package is asked for. Whatever
pip that brings, the locked one takes its place: old ones take twice as long for the same.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

OLDEST = (3, 11)
ROOT = Path(__file__).resolve().parent.parent


def main(
    venv: Path, requirements: list[str], *, alone: bool = False, base: Path | None = None
) -> None:
    if sys.version_info < OLDEST:
        sys.exit(f"encfields needs Python 3.11 or newer; {sys.executable} is {sys.version}")
    python = venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    is_new = not usable(python)
    if is_new:
        create(venv, with_pip=base is None and not has("pip"))
    if base:
        see_packages_of(base, python)
    elif is_new:
        install_pip(python)
    for requirement in requirements:
        print(f"installing {requirement} into {venv}", flush=True)
        install(python, "--require-hashes", "-r", requirement)
    if alone:
        return
    # The build backend is in the lock, so the build fetches nothing of its own.
    install(python, "--no-build-isolation", "--editable", str(ROOT))


def install(python: Path, *what: str, pip: tuple[str, ...] = ()) -> None:
    """Install what names all that it depends on itself.

    :param pip: how to run pip; by default the environment's own.
    """
    pip = pip or (str(python), "-m", "pip")
    # Twice quiet: errors are shown, warnings about this machine's pip configuration are not.
    # Most modules are never imported; what is, Python compiles by then.
    quiet = ("-qq", "--no-input", "--no-compile", "--no-deps")
    run([*pip, "--disable-pip-version-check", "install", *quiet, *what])


def install_pip(python: Path) -> None:
    """Install the locked pip into an environment, by its own pip or that of this Python."""
    others = () if usable(python) else (sys.executable, "-m", "pip", "--python", str(python))
    install(python, "--require-hashes", "-r", str(ROOT / "requirements" / "pip.txt"), pip=others)


def create(venv: Path, *, with_pip: bool = True) -> None:
    """Make ``venv``, by whichever way this Python has.

    :param with_pip: with a pip of its own, where no other can do its work.
    """
    shutil.rmtree(venv, ignore_errors=True)
    if not with_pip and has("venv"):
        run([sys.executable, "-m", "venv", "--without-pip", str(venv)])
    elif has("ensurepip") and has("venv"):
        run([sys.executable, "-m", "venv", str(venv)])
    elif has("virtualenv"):
        run([sys.executable, "-m", "virtualenv", "--quiet", str(venv)])
    elif apt_install(f"python{sys.version_info.major}.{sys.version_info.minor}-venv"):
        run([sys.executable, "-m", "venv", str(venv)])
    else:
        sys.exit(
            f"{sys.executable} cannot make a virtual environment: it has neither ensurepip nor "
            "virtualenv. Install your system's python3-venv package (Debian, Ubuntu) or "
            "virtualenv, then run this again."
        )


def see_packages_of(base: Path, python: Path) -> None:
    """Have an environment find the packages of another of the same Python, after its own."""
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    base_python = base.absolute() / python.relative_to(python.parents[1])
    own, others = (
        Path(subprocess.check_output([each, "-c", ask], text=True).strip())
        for each in (python, base_python)
    )
    # This package's own such file is not read there: it is installed into each environment.
    (own / "base.pth").write_text(f"{others}\n")


def apt_install(*packages: str) -> bool:
    """Install Debian packages where this user may.

    :returns: whether apt-get was there and allowed.
    """
    if shutil.which("apt-get") is None:
        return False
    as_root = [] if os.geteuid() == 0 else ["sudo", "--non-interactive"]
    if as_root and (
        shutil.which("sudo") is None or subprocess.run([*as_root, "true"], check=False).returncode
    ):
        return False
    environment = [*as_root, "env", "DEBIAN_FRONTEND=noninteractive"]
    print(f"installing {' '.join(packages)} with apt-get", flush=True)
    run([*environment, "apt-get", "update"], quiet=True)
    run(
        [*environment, "apt-get", "install", "-y", "--no-install-recommends", *packages],
        quiet=True,
    )
    return True


def has(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def usable(python: Path) -> bool:
    """Whether an environment is there, has pip, and is of the Python that runs this."""
    if not python.exists():
        return False
    probe = "import sys, pip; print(*sys.version_info[:2])"
    answer = subprocess.run([str(python), "-c", probe], capture_output=True, text=True, check=False)
    return answer.stdout.split() == [str(part) for part in sys.version_info[:2]]


def run(command: list[str], *, quiet: bool = False) -> None:
    """Run one step, and end here if it fails.

    :param quiet: show its output only when it fails.
    """
    output = subprocess.PIPE if quiet else None
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, check=False
    )
    if done.returncode:
        shown = done.stdout.decode(errors="replace") if quiet else ""
        sys.exit(f"{shown}failed ({done.returncode}): {' '.join(command)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--alone", action="store_true")
    parser.add_argument("--over", type=Path)
    parser.add_argument("venv", type=Path)
    parser.add_argument("requirements", nargs="+")
    options = parser.parse_args()
    main(options.venv, options.requirements, alone=options.alone, base=options.over)
