"""Keyrings: which wrapping keys protect the branch keys.

``keyrings.local(...)`` for development, ``keyrings.aws_kms(arn, *more)`` for production.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from encfields.keys.keyrings.keyring import Keyring
from encfields.keys.keyrings.local import generate_local_key, local

if TYPE_CHECKING:
    from encfields.keys.keyrings.aws_kms import aws_kms, aws_kms_discovery, aws_kms_mrk

__all__ = [
    "Keyring",
    "aws_kms",
    "aws_kms_discovery",
    "aws_kms_mrk",
    "generate_local_key",
    "local",
]


def _asked_for(name: str) -> Any:
    """Import an AWS KMS keyring on first use."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from encfields.keys.keyrings import aws_kms

    value = getattr(aws_kms, name)
    globals()[name] = value
    return value


if not TYPE_CHECKING:  # type checkers would accept any name
    __getattr__ = _asked_for


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
