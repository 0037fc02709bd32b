"""What a blind index is the first bits of: HMAC-SHA-256, RFC 2104.

It is part of what a compiled core does, which takes less time than calling OpenSSL does.
"""

from __future__ import annotations

import hashlib

from encfields.message.keys import INNER, INNER_32, OUTER, OUTER_32

_sha256 = hashlib.sha256().copy
"""A new SHA-256."""


def index_code(key: bytes, normalised: bytes) -> bytes:
    """The code of what is indexed.

    It is put together as :func:`encfields.message.keys.derive` does it: the standard library's has
    OpenSSL look up its algorithm again for each value.

    :param key: of the index, 32 bytes.
    :param normalised: the bytes that a value is indexed as.
    :returns: 32 bytes.
    """
    inner, outer = _sha256(), _sha256()
    inner.update(key.translate(INNER) + INNER_32 + normalised)
    outer.update(key.translate(OUTER) + OUTER_32 + inner.digest())
    return outer.digest()
