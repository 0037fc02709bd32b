"""Finds encrypted columns and ``column.blind()`` in an expression, and makes their refusals."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy.sql.elements import BindParameter, Grouping, Label

from encfields.errors import UnsupportedOperationError
from encfields.orm import internals
from encfields.orm.declare.columns import is_encrypted
from encfields.orm.query.comparison import BlindView, viewed
from encfields.orm.read.provenance import column_named, table_named

COLUMN_FIRST = (
    "compare it with a value or an equally indexed column, and write the encrypted column first, "
    "as in column == value"
)
"""The fix for a comparison whose operator the column does not see."""


def ciphertexts_among(elements: Iterable[Any]) -> Iterator[Any]:
    """The `elements` that give ciphertext."""
    for element in elements:
        inner = element
        while isinstance(inner, Grouping | Label) or internals.is_label_reference(inner):
            inner = inner.element
        if is_encrypted(inner) and not isinstance(inner, BindParameter):
            yield inner


def hashes_among(elements: Iterable[Any]) -> Iterator[Any]:
    """The `elements` that are ``column.blind()``."""
    for element in elements:
        inner = element
        while isinstance(inner, Grouping | Label) or internals.is_label_reference(inner):
            inner = inner.element
        if isinstance(getattr(inner, "type", None), BlindView) and not isinstance(
            inner, BindParameter
        ):
            yield inner


def hash_refused(element: Any, what: str, fix: str = COLUMN_FIRST) -> UnsupportedOperationError:
    """The refusal of a hash used as a value.

    :param what: what would get it. :param fix: what to write instead.
    """
    column = viewed(element)
    clause = getattr(column, "clause", None)
    return UnsupportedOperationError(
        f"{what} would be given a hash and not the value: {fix}",
        table=table_named(clause),
        column=column_named(clause),
        reason="usage",
    )


def ciphertext_refused(element: Any, what: str, fix: str) -> UnsupportedOperationError:
    """The refusal of ciphertext used as a value.

    :param what: what would give a wrong answer. :param fix: what to do instead.
    """
    return UnsupportedOperationError(
        f"the database holds ciphertext, no two of which are alike, so {what} would give a wrong "
        f"answer: {fix}",
        table=table_named(element),
        column=column_named(element),
        reason="usage",
    )
