"""A filled database for bulk runs."""

from __future__ import annotations

import pytest

from tests.bulk.support import Clinic


@pytest.fixture
def clinic(backend) -> Clinic:
    """500 patients on each database in turn, and a key that was rotated since."""
    made = Clinic(backend)
    made.fill(500)
    return made


@pytest.fixture
def told(monkeypatch):
    """Progress is told after every batch."""
    monkeypatch.setattr("encfields.bulk.runs.progress.REPORT_SECONDS", 0.0)
