"""The databases' own tools for copies, as an administrator calls them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from sqlalchemy import URL

from tests.servers import postgresql


def tool(*names: str) -> str:
    """The first of some programs that is there; without any the test is skipped."""
    binaries = postgresql.installed()
    for name in names:
        beside = None if binaries is None else binaries / name
        found = str(beside) if beside and beside.exists() else shutil.which(name)
        if found:
            return found
    pytest.skip(f"{' or '.join(names)} is not installed")


def run(command: list[str], stdin: bytes | None = None, **environment: str) -> bytes:
    """Run it; its output, and a failure with what it says."""
    done = subprocess.run(
        command, input=stdin, capture_output=True, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def pg(name: str, url: URL, *options: str, stdin: bytes | None = None) -> bytes:
    """One of PostgreSQL's tools on a database."""
    plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
    return run([tool(name), "--dbname", plain, *options], stdin)


def psql(url: URL, script: bytes) -> None:
    """Have statements run; the first that fails fails all."""
    pg("psql", url, "-q", "-v", "ON_ERROR_STOP=1", stdin=script)


def my(names: tuple[str, ...], url: URL, *options: str, stdin: bytes | None = None) -> bytes:
    """One of MariaDB's tools on a database, under one of its names."""
    place = ["--host", url.host or "", "--port", str(url.port), "--user", url.username or ""]
    ending = [*options, url.database or ""]
    return run(
        [tool(*names), "--no-defaults", "--protocol=tcp", *place, *ending],
        stdin,
        MYSQL_PWD=url.password or "",
    )


def sqlite_shell(file: Path, script: str) -> bytes:
    """SQLite's shell on a file."""
    return run([tool("sqlite3"), str(file)], script.encode())
