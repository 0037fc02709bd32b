"""The example application: its pages, and what a visitor does with them in a browser.

What it needs is installed by ``make test-app`` in an environment of its own; elsewhere these files
are left out.
"""

from __future__ import annotations

import os
from importlib.util import find_spec

import pytest

NEEDED = ("fastapi", "jinja2", "multipart", "uvicorn", "playwright", "httpx2")
missing = [name for name in NEEDED if find_spec(name) is None]

if missing:
    collect_ignore_glob = ["test_*.py"]
    if os.environ.get("ENCFIELDS_TEST_CLINIC") == "all":
        raise pytest.UsageError(f"there is no {', '.join(missing)}: make test-app")
