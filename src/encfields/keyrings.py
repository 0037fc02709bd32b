"""Keyrings: which wrapping keys protect the branch keys.

``keyrings.local(...)`` for development, ``keyrings.aws_kms(arn, *more)`` for production.
"""

from __future__ import annotations

from encfields.keys.keyrings.aws_kms import aws_kms, aws_kms_discovery, aws_kms_mrk
from encfields.keys.keyrings.keyring import Keyring
from encfields.keys.keyrings.local import generate_local_key, local

__all__ = [
    "Keyring",
    "aws_kms",
    "aws_kms_discovery",
    "aws_kms_mrk",
    "generate_local_key",
    "local",
]
