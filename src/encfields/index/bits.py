"""How many bits of a blind index are stored, and what that means for a query.

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

from encfields.errors import DeclarationError

FULL_BITS = 128
"""Least length of a full-length index in bits, and the default. Frozen."""

MAX_BITS = 256
"""Length of HMAC-SHA256 in bits. Frozen."""

MIN_BITS = 4
"""Least length of an index in bits: with 16 stored values or fewer, a lookup reads a good part
of the table, and reading it all and decrypting it serves better."""


def check_bits(bits: int) -> int:
    """`bits`, if an index can have so many.

    :raises DeclarationError: it is not a whole number from 4 to 256.
    """
    if isinstance(bits, bool) or not isinstance(bits, int):
        raise DeclarationError(
            f"bits is a whole number of bits, not {type(bits).__name__}", reason="bits"
        )
    if not MIN_BITS <= bits <= MAX_BITS:
        raise DeclarationError(
            f"a blind index has {MIN_BITS} to {MAX_BITS} bits, not {bits}", reason="bits"
        )
    return bits


def is_truncated(bits: int) -> bool:
    """Whether an index of `bits` bits finds rows that were not asked for."""
    return bits < FULL_BITS


def stored_bytes(bits: int) -> int:
    """Length in bytes of a stored index of `bits` bits."""
    return (bits + 7) // 8
