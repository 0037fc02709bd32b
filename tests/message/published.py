"""Where AWS's published test vectors lie.

They are AWS's files under the Apache License 2.0 and are not part of this repository: the
``awses-decrypt`` manifests come from the public repository ``aws/aws-encryption-sdk`` and the
static branch key from ``aws/aws-cryptographic-material-providers-library``. The project keeps
them beside the repository, in ``../shared/vectors/esdk``; ``ENCFIELDS_VECTORS`` names another
place.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

BESIDE = Path(__file__).resolve().parents[3] / "shared" / "vectors" / "esdk"


def published(name: str) -> Path:
    """The vector file or folder called `name`.

    Where it is not there the test fails in CI. Elsewhere it is skipped, and says what to fetch.
    """
    path = Path(os.environ.get("ENCFIELDS_VECTORS") or BESIDE) / name
    if not path.exists():
        missing = (
            f"AWS's published vector {name!r} is not there. Set ENCFIELDS_VECTORS to the folder "
            "that holds valid-Net-4.0.0, invalid-Net-4.0.0 (from the public repository "
            "aws/aws-encryption-sdk) and mpl-static-branch-key.json"
        )
        if os.environ.get("CI"):
            pytest.fail(missing, pytrace=False)
        pytest.skip(missing)
    return path
