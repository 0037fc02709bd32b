"""What seals and opens values of this library's own form: the one place that chooses it.

:mod:`encfields.message.compiled` says whether there is a compiled one that may be used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from encfields.branch_key import BranchKey, FindKey
from encfields.message.compiled import status

if TYPE_CHECKING or not status().is_native:
    from encfields.message.cell import OpenedCell
    from encfields.message.one_pass import CellReader, open_, seal, seal_many

    Column = tuple[int, CellReader, Callable[[bytes], object] | None]
    """An encrypted column of a result: where it stands in a row, what reads its cells, and what
    makes a value of a plaintext, ``None`` for a text."""

    OpenRows = Callable[[list[Any], Sequence[Column], FindKey], tuple[list[Any], int]]

    open_rows: OpenRows | None = None
    """The rows with an :class:`OpenedCell` in the place of each cell of the columns that opens,
    and how many do. Every other cell stays as it is, and so does one whose key is not found; of
    what `find_key` and the columns raise, only what is no ``Exception`` passes. In Python there is
    no such thing, because opening one cell after another takes as long."""

    def reseal_many(
        messages: list[bytes],
        contexts: list[bytes],
        new_contexts: list[bytes],
        key: BranchKey,
        find_key: FindKey,
    ) -> list[bytes | None]:
        """Messages of the key id of `key`, each opened for a context and sealed for a new one,
        while other threads run; ``None`` for each that is to be dealt with by itself: in Python
        that is all of them.

        :param find_key: asked once for each version; what it raises passes.
        """
        return [None] * len(messages)

else:
    from encfields_native import (
        CellReader,
        OpenedCell,
        open_,
        open_rows,
        reseal_many,
        seal,
        seal_many,
    )

__all__ = [
    "CellReader",
    "FindKey",
    "OpenedCell",
    "open_",
    "open_rows",
    "reseal_many",
    "seal",
    "seal_many",
]
