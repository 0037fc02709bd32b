"""Which columns of a result hold encrypted cells."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from encfields.orm import internals
from encfields.orm.adoption.reads import AdoptingReader
from encfields.orm.read.packed import RowReader
from encfields.orm.read.union_reads import UnionReader

_READERS = tuple(f"{reader.__name__}." for reader in (RowReader, AdoptingReader, UnionReader))
"""How the names of what opens a cell begin."""


def encrypted_columns(result: Any) -> list[tuple[int, Callable[[Any], Any]]]:
    """Positions of encrypted columns in the rows of a result, and what opens their cells."""
    return [
        (position, processor)
        for position, processor in enumerate(internals.result_processors(result))
        if getattr(processor, "__qualname__", "").startswith(_READERS)
    ]
