"""What seals and opens values of this library's own form: the one place that chooses it.

:mod:`encfields.message.compiled` says whether there is a compiled one that may be used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from encfields.branch_key import BranchKey
from encfields.message.compiled import status
from encfields.message.one_pass import FindKey

if TYPE_CHECKING or not status().is_native:
    from encfields.message.one_pass import CellReader, open_, seal, seal_many

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
    from encfields_native import CellReader, open_, reseal_many, seal, seal_many

__all__ = ["CellReader", "FindKey", "open_", "reseal_many", "seal", "seal_many"]
