"""Fixtures for the tests of what a flush writes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tests.binding.database import Database
from tests.flush.models import twins
from tests.servers.backends import Backend


@pytest.fixture
def db(backend: Backend) -> Database:
    """An attached engine on an empty database, on each of the three servers in turn."""
    return Database(backend)


@pytest.fixture
def models(db: Database) -> SimpleNamespace:
    """Each kind of model in its plaintext and its encrypted form; row 1 is of tenant 1."""
    made = twins()
    db.create(made.metadata)
    for tenant in (1, 2):
        db.create_key(f"tenant/{tenant}")
    with db.session() as session:
        for kind in KINDS:
            for model in getattr(made, kind):
                session.add(model(id=1, tenant=1, email="old", phone="old", title="old"))
        session.commit()
    return made


KINDS = ("tenant", "compound", "tenant_compound", "simple")


@pytest.fixture(params=KINDS)
def pair(request: pytest.FixtureRequest, models: SimpleNamespace) -> tuple[type, type]:
    """One kind's plaintext and encrypted model."""
    found: tuple[type, type] = getattr(models, request.param)
    return found
