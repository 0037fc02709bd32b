"""What a blind index is the first bits of: HMAC-SHA-256, RFC 2104.

It is part of what a compiled core does, which takes less time than calling OpenSSL does.
"""

from __future__ import annotations

import hashlib

_sha256 = hashlib.sha256().copy
"""A new SHA-256."""

# A key of 32 bytes, filled up to a block of 64 with zeros, XOR 0x36 and XOR 0x5c.
_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))
_INNER_32, _OUTER_32 = b"\x36" * 32, b"\x5c" * 32


def index_code(key: bytes, normalised: bytes) -> bytes:
    """The code of what is indexed.

    It is put together as :func:`encfields.message.keys.derive` does it: the standard library's has
    OpenSSL look up its algorithm again for each value.

    :param key: of the index, 32 bytes.
    :returns: 32 bytes.
    """
    inner, outer = _sha256(), _sha256()
    inner.update(key.translate(_INNER) + _INNER_32 + normalised)
    outer.update(key.translate(_OUTER) + _OUTER_32 + inner.digest())
    return outer.digest()
