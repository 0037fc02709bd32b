"""The compiled core, where it is built: see scripts/build_native.py."""

from __future__ import annotations

import importlib
import os
import uuid
from types import ModuleType

import pytest
from sqlalchemy import StaticPool, create_engine

from encfields.branch_key import BranchKey

REQUIRED = os.environ.get("ENCFIELDS_NATIVE") == "require"


def compiled_core() -> ModuleType:
    """Skips the test where there is none of these sources."""
    if not REQUIRED:
        pytest.importorskip("encfields_native", reason="the compiled core is not built here")
    core = importlib.import_module("encfields_native")
    if not REQUIRED and not hasattr(core, "index_code"):
        pytest.skip("the compiled core is older than its sources: make native")
    return core


@pytest.fixture(scope="session")
def native() -> ModuleType:
    return compiled_core()


@pytest.fixture
def key() -> BranchKey:
    """One that nothing was derived from."""
    return BranchKey("tenant/42", str(uuid.uuid4()), os.urandom(32))


@pytest.fixture
def find_key(key):
    keys = {(key.id, key.version): key}
    return lambda key_id, version: keys[key_id, version]


@pytest.fixture
def engine():
    engine = create_engine("sqlite://", poolclass=StaticPool)
    yield engine
    engine.dispose()
