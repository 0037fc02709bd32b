"""Build the compiled core and install it into a virtual environment, where that can be done.

usage: PYTHON scripts/build_native.py [--into FOLDER]
  --into FOLDER  put a wheel and a source distribution there, and install nothing

Run by the Python of the environment. What is built is kept in the user's cache folder by what it
was built from, so that it is built once. Where there is no Rust, or its packages cannot be had,
this says so and ends well: everything runs without. A core that does not build is a failure.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NATIVE = ROOT / "native"
REQUIREMENTS = ROOT / "requirements" / "native.txt"
INSTALLED = Path(sys.prefix) / ".native"
"""In the environment: from what the core was built that is installed there."""

OFFLINE_SECONDS = 300
"""How long the packages of Rust and the build tool may take to be fetched."""


class CannotBuildError(Exception):
    """Why the core is not built on this machine."""


def main(into: Path | None = None) -> None:
    try:
        digest = _digest(_toolchain())
        if into is not None:
            _distribute(digest, into)
            return
        if not (INSTALLED.exists() and INSTALLED.read_text() == digest):
            INSTALLED.unlink(missing_ok=True)
            _install(_wheel(digest))
            INSTALLED.write_text(digest)
    except CannotBuildError as error:
        if into is None:
            INSTALLED.unlink(missing_ok=True)
        print(f"the compiled core is neither built nor tested, Python does its work: {error}")
    else:
        print("the compiled core is built and installed")


def _toolchain() -> str:
    """What the compiler says of itself.

    :raises CannotBuildError: there is none, or it is too old, or lacks a C compiler.
    """
    if shutil.which("cargo") is None or shutil.which("rustc") is None:
        raise CannotBuildError("cargo and rustc are not installed")
    if shutil.which(os.environ.get("CC", "cc")) is None:
        raise CannotBuildError("there is no C compiler")
    told = _output("rustc", "-vV")
    release = next(line for line in told.splitlines() if line.startswith("release: "))
    wanted = tomllib.loads((NATIVE / "Cargo.toml").read_text())["package"]["rust-version"]
    if _numbers(release.removeprefix("release: ")) < _numbers(wanted):
        raise CannotBuildError(f"it takes Rust {wanted}, and this is {release}")
    return told


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.partition("-")[0].split(".")[:2]]


def _digest(toolchain: str) -> str:
    """Stands for all that a wheel is built from."""
    digest = hashlib.sha256(f"{toolchain}\n{platform.platform()}\n".encode())
    for path in sorted(NATIVE.rglob("*")):
        if path.is_file() and "target" not in path.parts:
            digest.update(f"{path.relative_to(NATIVE)}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:32]


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "encfields-native"


def _wheel(digest: str) -> Path:
    """The wheel, built unless it was before."""
    folder = _cache() / digest
    found = next(folder.glob("*.whl"), None)
    if found is None:
        _fetch()
        print("building the compiled core, which takes a minute or two the first time", flush=True)
        environment = {**os.environ, "CARGO_TARGET_DIR": str(_cache() / "target")}
        unfinished = folder.with_suffix(f".{os.getpid()}")
        build = [str(Path(sys.prefix) / "bin" / "maturin"), "build", "--release", "--locked"]
        command = [*build, "--offline", "--quiet", "--interpreter", sys.executable]
        _run([*command, "--out", str(unfinished)], cwd=NATIVE, env=environment)
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.rename(folder)
        found = next(folder.glob("*.whl"))
    return found


def _fetch() -> None:
    """Have the build tool and the packages of Rust at hand.

    :raises CannotBuildError: they cannot be had.
    """
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "-qq"]
    _attempt([*pip, "--no-input", "--require-hashes", "-r", str(REQUIREMENTS)], "maturin")
    manifest = ["--manifest-path", str(NATIVE / "Cargo.toml")]
    _attempt(["cargo", "fetch", "--locked", "--quiet", *manifest], "the packages of Rust")


def _attempt(command: list[str], what: str) -> None:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=OFFLINE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise CannotBuildError(f"{what} cannot be fetched in {OFFLINE_SECONDS} seconds") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        raise CannotBuildError(f"{what} cannot be fetched: {last.strip()}")


def _install(wheel: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "-qq"]
    _run([*pip, "--no-deps", "--no-index", "--force-reinstall", str(wheel)])


def _distribute(digest: str, folder: Path) -> None:
    """Put what is uploaded to a package index into a folder."""
    shutil.copy(_wheel(digest), folder)
    _fetch()
    maturin = str(Path(sys.prefix) / "bin" / "maturin")
    _run([maturin, "sdist", "--out", str(folder.resolve())], cwd=NATIVE)


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _run(command: list[str], *, cwd: Path | None = None, env: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, cwd=cwd, env=env, check=False)
    if done.returncode:
        sys.exit(f"failed ({done.returncode}): {' '.join(command)}")


if __name__ == "__main__":
    match sys.argv[1:]:
        case []:
            main()
        case ["--into", folder]:
            main(Path(folder))
        case _:
            sys.exit(__doc__)
