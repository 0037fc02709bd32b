"""Blind indexes, which make an encrypted column answer equality.

Import transforms from here: ``from encfields.index import casefold, last``. Nothing in this package
depends on SQLAlchemy; :mod:`encfields.orm` connects the two.

===============  ======================================
``blind_index``  ``BlindIndex``: the declaration
``definition``   everything that determines an index's bytes
``transforms``   the part of a value to index
``hashing``      from that part to the stored bytes
``leakage``      what it gives away
===============  ======================================
"""

from __future__ import annotations

from encfields.index.transforms import (
    Transform,
    casefold,
    digits,
    exact,
    first,
    first_letter,
    last,
    transform_named,
    year,
)

__all__ = [
    "Transform",
    "casefold",
    "digits",
    "exact",
    "first",
    "first_letter",
    "last",
    "transform_named",
    "year",
]
