"""Fixtures for the tests of what a flush writes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tests.database import Database
from tests.flush.models import twins

TENANTS = ("tenant/1", "tenant/2")
KINDS = ("tenant", "compound", "tenant_compound", "simple")


@pytest.fixture
def models(shared_tables: None, db: Database) -> SimpleNamespace:
    """Each kind of model in its plaintext and its encrypted form; row 1 is of tenant 1."""
    db.share(twins().metadata, TENANTS, _fill_all)
    return twins()


@pytest.fixture(params=KINDS)
def pair(request: pytest.FixtureRequest, shared_tables: None, db: Database) -> tuple[type, type]:
    """One kind's plaintext and encrypted model, with the same row; those of others have it too."""
    db.share(twins().metadata, TENANTS, _fill_all)
    found: tuple[type, type] = getattr(twins(), request.param)
    return found


def _fill_all(db: Database) -> None:
    """A row in each table."""
    with db.session() as session:
        session.add_all(
            model(id=1, tenant=1, email="old", phone="old", title="old")
            for kind in KINDS
            for model in getattr(twins(), kind)
        )
        session.commit()
