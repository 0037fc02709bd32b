from __future__ import annotations

import os
import uuid

import pytest

from encfields.branch_key import BranchKey
from encfields.context import serialize
from encfields.errors import KeyNotFoundError

KEY_IDS = ("tenant/42",)
CONTEXT = {"enc:column": "patient.ssn", "enc:row:id": "42"}


@pytest.fixture(scope="session")
def key() -> BranchKey:
    return BranchKey(KEY_IDS[0], str(uuid.uuid4()), os.urandom(32))


@pytest.fixture(scope="session")
def find_key(key):
    """Finds `key` by its id and version, and nothing else."""
    keys = {(key.id, key.version): key}

    def find_key(key_id, version):
        if (key_id, version) not in keys:
            raise KeyNotFoundError("no such key", key_id=key_id)
        return keys[key_id, version]

    return find_key


@pytest.fixture(scope="session")
def context() -> bytes:
    return serialize(CONTEXT)
