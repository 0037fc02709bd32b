"""The example application: its pages, and what a visitor does with them in a browser.

What it needs is installed by ``make test-app`` in an environment of its own. Where there is a web
framework and no browser, the pages alone are tested; elsewhere all of it is left out.
"""

from __future__ import annotations

import os
from importlib.util import find_spec

import pytest

FOR_PAGES = ("fastapi", "jinja2", "multipart", "httpx2")
FOR_A_BROWSER = ("uvicorn", "playwright")
missing = [name for name in (*FOR_PAGES, *FOR_A_BROWSER) if find_spec(name) is None]
asked = os.environ.get("ENCFIELDS_TEST_CLINIC")

if missing and asked == "all":
    raise pytest.UsageError(f"there is no {', '.join(missing)}: make test-app")
if set(missing) & set(FOR_PAGES):
    if asked:
        raise pytest.UsageError(f"there is no {', '.join(missing)}: make test-app")
    collect_ignore_glob = ["test_*.py"]
elif missing or asked == "pages":
    collect_ignore_glob = ["test_browser.py"]
