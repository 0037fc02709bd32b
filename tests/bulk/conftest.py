"""A filled database for bulk runs."""

from __future__ import annotations

import pytest

from tests.bulk.support import ROWS, Clinic


@pytest.fixture
def clinic(backend) -> Clinic:
    """Patients on each database in turn."""
    made = Clinic(backend)
    made.fill(ROWS)
    return made


@pytest.fixture
def told(monkeypatch):
    """Progress is told after every batch."""
    monkeypatch.setattr("encfields.bulk.runs.progress.REPORT_SECONDS", 0.0)
