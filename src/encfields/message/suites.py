"""The algorithm suites of the AWS Encryption SDK, and what is missing in messages of others.

The specification's ``framework/algorithm-suites.md`` lists them. Ours is ``0x0478``.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from contextlib import suppress

SUITE_NAME = "ALG_AES_256_GCM_HKDF_SHA512_COMMIT_KEY"
JAVASCRIPT_SUITE_NAME = "ALG_AES256_GCM_IV12_TAG16_HKDF_SHA512_COMMIT_KEY"
"""The name of suite 0x0478 in AWS's SDKs."""

_VERSION_1 = (0x0014, 0x0046, 0x0078, 0x0114, 0x0146, 0x0178, 0x0214, 0x0346, 0x0378)
_VERSION_2 = (0x0478, 0x0578)
_SIGNING = (0x0214, 0x0346, 0x0378, 0x0578)
_START_BYTES = 4
_STANDARD = bytes.maketrans(b"-_", b"+/")
"""Converts the alphabet of URL-safe base64 to the standard one."""


def suite_of(start: bytes) -> tuple[int, int] | None:
    """Format version and algorithm suite of any message, from its first bytes.

    :param start: its first four bytes, or more.
    :returns: ``None`` if it is not a message of the AWS Encryption SDK.
    """
    if len(start) < _START_BYTES:
        return None
    if start[:2] == b"\x01\x80":
        suite = int.from_bytes(start[2:4], "big")
        return (1, suite) if suite in _VERSION_1 else None
    suite = int.from_bytes(start[1:3], "big")
    return (2, suite) if start[:1] == b"\x02" and suite in _VERSION_2 else None


def other_suite(suite: int) -> str:
    """What is wrong with a suite that is not ours, and how its writer must configure the SDK."""
    wrong = []
    if suite not in _VERSION_2:
        wrong.append(
            "does not commit to its key (the client's commitment policy was "
            "ForbidEncryptAllowDecrypt; it has to be RequireEncryptRequireDecrypt)"
        )
    if suite in _SIGNING:
        wrong.append("signs its messages, as every SDK does by default")
    return (
        f"algorithm suite 0x{suite:04x}, not 0x0478: it {', and it '.join(wrong)}. Whatever writes "
        f"to this column must name the suite: {SUITE_NAME}, in JavaScript "
        f"{JAVASCRIPT_SUITE_NAME}"
    )


def text_form(data: bytes) -> str | None:
    """The text encoding in which a message was stored: ``"base64"``, ``"hex"``, or ``None``."""
    digits = data[2:10] if data[:2] in (b"\\x", b"0x") else data[:8]
    forms: dict[str, Callable[[], bytes]] = {
        "base64": lambda: base64.b64decode(data[:8].translate(_STANDARD), validate=True),
        "hex": lambda: bytes.fromhex(digits.decode("ascii")),
    }
    for form, decode in forms.items():
        with suppress(ValueError):
            if suite_of(decode()):
                return form
    return None
