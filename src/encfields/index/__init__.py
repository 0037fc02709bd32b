"""Blind indexes: what makes an encrypted column answer equality.

The transforms are to be imported from here: ``from encfields.index import casefold, last``. Nothing
in this package knows SQLAlchemy; :mod:`encfields.orm` brings the two together.

===============  ======================================
``blind_index``  ``BlindIndex``: the declaration
``definition``   all that decides the bytes of an index
``transforms``   what of a value it is made of
``hashing``      from there to what is stored
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
