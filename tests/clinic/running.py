"""The example application as a process of its own, and a browser."""

from __future__ import annotations

import http.client
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from scripts.make_venv import apt_install
from tests.servers.backends import Backend
from tests.servers.process import HOST, free_port
from tests.waiting import until as wait_until

ROOT = Path(__file__).resolve().parents[2]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
"""Options without which Chromium calls its maker."""


@contextmanager
def clinic_on(backend: Backend, kms: str) -> Iterator[str]:
    """The application, answering.

    :returns: its address.
    """
    port = free_port()
    url = backend.url
    if backend.name == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    environment = {
        **os.environ,
        "CLINIC_DATABASE_URL": url.render_as_string(hide_password=False),
        "CLINIC_KMS": kms,
        "CLINIC_PORT": str(port),
    }
    command = [sys.executable, "-m", "examples.clinic"]
    with subprocess.Popen(command, cwd=ROOT, env=environment) as process:
        try:
            wait_until(lambda: process.poll() is not None or _answers(port))
            assert process.poll() is None, "the application does not start"
            yield f"http://{HOST}:{port}"
        finally:
            process.terminate()


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=60)
    try:
        connection.request("GET", "/meter")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


@contextmanager
def chromium() -> Iterator[Browser]:
    """Chromium without a window: the one of this machine, or Debian's."""
    found = [path for name in BROWSERS if (path := shutil.which(name))]
    if not found and apt_install("chromium"):
        found = [path for name in BROWSERS if (path := shutil.which(name))]
    if not found:
        pytest.fail("there is no Chromium: install your system's package of it")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found[0], args=[*QUIET])
        yield browser
        browser.close()
