"""The machine and the versions that benchmarks ran on.

python -m benchmarks.report.machine --json
"""

from __future__ import annotations

import json
import os
import platform
import re
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from sqlalchemy import create_engine

from benchmarks.support.databases import databases

PROCESSORS = Path("/proc/cpuinfo")
PACKAGES = (
    "encfields",
    "encfields-native",
    "SQLAlchemy",
    "cryptography",
    "psycopg",
    "asyncpg",
    "PyMySQL",
    "fastapi",
    "aws-encryption-sdk",
    "SQLAlchemy-Utils",
    "advanced-alchemy",
)


def processor() -> str:
    """Its name, as far as the machine tells it."""
    told = PROCESSORS.read_text() if PROCESSORS.exists() else ""
    found = re.search(r"^model name\s*:\s*(.+)$", told, re.MULTILINE)
    return found[1] if found else platform.machine()


def servers() -> dict[str, str]:
    """The databases' versions, by their names."""
    found = {}
    for url in databases(None, sqlite=True):
        engine = create_engine(url)
        with engine.connect():
            numbers = engine.dialect.server_version_info or ()
        is_mariadb = getattr(engine.dialect, "is_mariadb", False)
        name = "mariadb" if is_mariadb else engine.dialect.name
        found[name] = ".".join(str(number) for number in numbers if isinstance(number, int))
        engine.dispose()
    return found


def packages() -> dict[str, str]:
    """The versions of those that are installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def main() -> None:
    told = {
        "date": datetime.now(UTC).date().isoformat(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "system": platform.system(),
        "python": platform.python_version(),
        "servers": servers(),
        "packages": packages(),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
