"""A clinic's table and an Alembic environment, on each of the three databases in turn."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.alembic.project import Clinic, Project
from tests.servers.backends import Backend


@pytest.fixture
def project(tmp_path: Path, backend: Backend) -> Project:
    return Project(tmp_path, backend)


@pytest.fixture
def clinic(backend: Backend) -> Clinic:
    return Clinic(backend)
