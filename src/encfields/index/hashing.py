"""From a beacon key to a stored blind index. Every byte of this is **frozen**.

::

    key   = HKDF-SHA256(beacon key, no salt, info, 32 bytes)               RFC 5869
    info  = "encfields blind index 1" | u16 len | domain | u16 len | transform name
    index = leftmost `bits` bits of HMAC-SHA256(key, normalised value)     RFC 2104

Lengths are big-endian and count bytes of UTF-8. The normalised value is what the transform
makes of a value (:mod:`encfields.index.transforms`); for an index over several columns, each
column's normalised value behind its length, as :func:`compound` writes them.

The number of bits does not enter the derivation: a 16-bit index is the beginning of the 128-bit
one, so storing both reveals no more than the longer one, and the shorter can be made from it.

A **full-length** index has 128 to 256 bits. Two different values have the same one by chance
with probability 2**-128: among 2**32 rows, the chance that any two do is below 2**-64. What it
finds is what was asked for, so no query filters it, and a unique constraint on it is sound.

A **truncated** index has fewer. It is truncated on purpose, so that many values share each
stored bit string, and whoever reads the database cannot tell them apart. What it finds must be
filtered after decryption. Anything below 128 bits counts as truncated: between there and some 40
bits the only effect is that a wrong row turns up once in a very long while, which is the kind
of fault that nobody's tests find.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from encfields.branch_key import BEACON_KEY_BYTES
from encfields.errors import DeclarationError
from encfields.message import core

INFO = b"encfields blind index 1"
"""What the beacon key is used for. Frozen."""

INDEX_KEY_BYTES = 32
"""Length of an index's key. Frozen."""


def index_key(beacon: bytes, domain: str, transform: str) -> bytes:
    """The key of one index.

    :param beacon: the beacon key version's 32 bytes.
    :param domain: what the index is of: a column's logical name, or the name that columns
        share which are to be joined.
    :param transform: name of the transform; for an index over several columns, of the index.
    :returns: 32 bytes. Keep them no longer than the beacon key.
    :raises ValueError: the beacon key has another length, or a name has more than 65,535 bytes.
    """
    if len(beacon) != BEACON_KEY_BYTES:
        raise ValueError(f"a beacon key has {BEACON_KEY_BYTES} bytes, not {len(beacon)}")
    info = INFO + _with_length(domain) + _with_length(transform)
    return HKDF(algorithm=SHA256(), length=INDEX_KEY_BYTES, salt=None, info=info).derive(beacon)


def _with_length(name: str) -> bytes:
    data = name.encode()
    if len(data) > 0xFFFF:
        raise ValueError("a name of a blind index has at most 65,535 bytes")
    return len(data).to_bytes(2, "big") + data


def index_value(key: bytes, normalised: bytes, bits: int) -> bytes:
    """What is stored for a value.

    :param key: of :func:`index_key`.
    :param normalised: what the transform made of the value, or :func:`compound` of several.
    :param bits: length of the index in bits, already checked.
    :returns: ``ceil(bits / 8)`` bytes; the bits of the last byte that are not used, its lowest,
        are zero.
    """
    digest = core.index_code(key, normalised) if len(key) == INDEX_KEY_BYTES else None
    if digest is None:
        digest = hmac.digest(key, normalised, "sha256")
    unused = -bits % 8
    if not unused:
        return digest[: bits // 8]
    last = bits // 8
    return digest[:last] + bytes((digest[last] >> unused << unused,))


def compound(parts: Sequence[bytes]) -> bytes:
    """Several normalised values as one, so that no two sequences of values give the same bytes.

    :returns: for each part, its length as four big-endian bytes, then itself.
    """
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


FULL_BITS = 128
"""Least length of a full-length index in bits, and the default. Frozen."""

MAX_BITS = 256
"""Length of HMAC-SHA256 in bits. Frozen."""

MIN_BITS = 4
"""Least length of an index in bits: with 16 stored values or fewer, a look-up reads a good part
of the table, and reading it all and decrypting it serves better."""


def check_bits(bits: int) -> int:
    """`bits`, if an index can have so many.

    :raises DeclarationError: it is not a whole number from 4 to 256.
    """
    if isinstance(bits, bool) or not isinstance(bits, int):
        raise DeclarationError(
            f"bits= takes a whole number, not {type(bits).__name__}", reason="bits"
        )
    if not MIN_BITS <= bits <= MAX_BITS:
        raise DeclarationError(
            f"a blind index has {MIN_BITS} to {MAX_BITS} bits, not {bits}", reason="bits"
        )
    return bits


def stored_bytes(bits: int) -> int:
    """Length in bytes of a stored index of `bits` bits."""
    return (bits + 7) // 8
