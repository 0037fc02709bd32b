"""Fixtures for the tests of what a flush writes."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace

import pytest

from tests.database import Database
from tests.flush.models import twins

KINDS = ("tenant", "compound", "tenant_compound", "simple")


@pytest.fixture
def models(db: Database) -> SimpleNamespace:
    """Each kind of model in its plaintext and its encrypted form; row 1 is of tenant 1."""
    fill(db, KINDS)
    return twins()


@pytest.fixture(params=KINDS)
def pair(request: pytest.FixtureRequest, db: Database) -> tuple[type, type]:
    """One kind's plaintext and encrypted model, with the same row."""
    fill(db, [request.param])
    found: tuple[type, type] = getattr(twins(), request.param)
    return found


def fill(db: Database, kinds: Iterable[str]) -> None:
    """Make some kinds' tables, and a row in each."""
    made = twins()
    chosen = [model for kind in kinds for model in getattr(made, kind)]
    made.metadata.create_all(db.engine, tables=[model.__table__ for model in chosen])
    for tenant in (1, 2):
        db.create_key(f"tenant/{tenant}")
    with db.session() as session:
        session.add_all(
            model(id=1, tenant=1, email="old", phone="old", title="old") for model in chosen
        )
        session.commit()
